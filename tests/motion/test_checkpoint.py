import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fourd_humans.errors import FourDHumansError
from fourd_humans.motion.checkpoint import BUILT_IN, load_pose_transformer, save_pose_transformer

LITE = {
    "frames": 128, "width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16, "bottleneck": None,
    "readout_width": 16, "readout_steps": 1, "start": "seen", "actions": 0,
}  # fmt: skip


def test_the_built_in_network_is_small_and_in_half_precision():
    assert BUILT_IN.stat().st_size < 10 * 2**20
    assert {tensor.dtype for tensor in load_file(BUILT_IN).values()} == {torch.float16}
    network = load_pose_transformer()
    assert (network.std > 0).all()
    assert not network.training


@torch.no_grad()
def test_what_is_saved_comes_back(lite_network, random_poses, tmp_path):
    lite_network.mean = torch.randn(229).half().float()
    save_pose_transformer(lite_network, LITE, tmp_path / "lite.safetensors")
    loaded = load_pose_transformer(tmp_path / "lite.safetensors")
    poses, masked = torch.from_numpy(random_poses(1, 9)), torch.arange(9)[None] > 6
    torch.testing.assert_close(loaded(poses, masked), lite_network(poses, masked), rtol=0.01, atol=0.01)
    torch.testing.assert_close(loaded.mean, lite_network.mean)


@torch.no_grad()
def test_the_released_checkpoint_with_its_statistics_and_configuration(small_network, reference, tmp_path):
    path = tmp_path / "pose_predictor_40006.ckpt"
    state = {f"encoder.{name}": tensor for name, tensor in small_network.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": torch.ones(1)}}, path)
    statistics = np.empty(2, object)
    statistics[:] = [reference.mean.numpy().reshape(1, 229)[:, :226], reference.std.numpy().reshape(1, 229)[:, :226]]
    np.save(tmp_path / "mean_std.npy", statistics, allow_pickle=True)
    config = {"configs": {"transformer": {"heads": 4, "conv": {"pad": 1, "stride": 5}}}}
    (tmp_path / "config_40006.yaml").write_text(yaml.safe_dump(config))
    network = load_pose_transformer(path)
    small_network.mean[226:], small_network.std[226:] = 0, 1  # not in the released statistics
    poses, masked = reference.in_pose[:, :, 0], reference.in_has[:, :, 0, 0] == 0
    torch.testing.assert_close(network(poses, masked), small_network(poses, masked))

    (tmp_path / "mean_std.npy").unlink()
    with pytest.raises(FourDHumansError, match=r"mean_std\.npy is missing"):
        load_pose_transformer(path)


def test_a_checkpoint_of_another_size_is_refused(lite_network, tmp_path):
    path = tmp_path / "other.safetensors"
    save_pose_transformer(lite_network, LITE | {"width": 32}, path)
    with pytest.raises(FourDHumansError, match=r"other\.safetensors does not fit PoseTransformer"):
        load_pose_transformer(path)
    save_pose_transformer(lite_network, LITE | {"layers": 3}, path)
    with pytest.raises(FourDHumansError, match=r"other\.safetensors describes no pose transformer"):
        load_pose_transformer(path)


@pytest.mark.parametrize("missing", ["mean", "std"])
def test_a_checkpoint_without_statistics_is_refused(missing, lite_network, tmp_path):
    path = tmp_path / "bare.safetensors"
    tensors = {**lite_network.state_dict(), "mean": torch.zeros(229), "std": torch.ones(229)}
    del tensors[missing]
    save_file(tensors, path, {"pose_transformer": json.dumps(LITE)})
    with pytest.raises(FourDHumansError, match=r"bare\.safetensors lacks the mean and std"):
        load_pose_transformer(path)


def test_some_other_network_is_refused(tmp_path):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"backbone.weight": torch.ones(3)}}, path)
    with pytest.raises(FourDHumansError, match=r"other\.ckpt is not a pose transformer"):
        load_pose_transformer(path)
