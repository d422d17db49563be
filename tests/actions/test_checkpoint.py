import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.checkpoint import SETTINGS, ActionModel, load_action_model, save_action_model
from fourd_humans.actions.classes import ActionClasses, ava_classes
from fourd_humans.errors import FourDHumansError

DATA = Path(__file__).parents[1] / "data"
SMALL = {"width": 8, "depth": 2, "heads": 1, "head_width": 64, "mlp_width": 12, "kinetics": 5}
OWN = {"actions": 3, "width": 8, "depth": 1, "heads": 2, "head_width": 4, "mlp_width": 8, "frames": 30, "people": 2,
       "relative_location": True, "kinetics": 0}  # fmt: skip


def released(folder, arguments, fill, name="lart.ckpt"):
    """A file as Lightning writes it, with the body model's buffers beside."""
    network = ActionTransformer(**arguments)
    state = {f"encoder.{key}": value for key, value in fill(network).items()}
    torch.save({"state_dict": state | {"smpl.betas": torch.zeros(1, 10)}, "epoch": 2}, folder / name)
    statistics = np.random.default_rng(0).random((2, 1, 226)).astype(np.float32)
    np.save(folder / "mean_std.npy", statistics)
    return statistics


@pytest.mark.parametrize(
    "inputs", [{}, {"joints": [6, 6, 4]}, {"joints": [6, 6, 4], "appearance": [20, 7, 7, 8]}], ids=len
)
def test_a_released_file_says_what_network_it_is(tmp_path, fill, inputs):
    statistics = released(tmp_path, SMALL | inputs, fill)
    model = load_action_model(tmp_path / "lart.ckpt")
    assert (
        model.settings
        == SMALL | {"actions": 60, "frames": 250, "people": 10, "joints": None, "appearance": None} | inputs
    )
    assert model.classes == ava_classes()
    assert model.people == 5
    np.testing.assert_array_equal(model.network.mean[:226], statistics[0, 0])
    assert model.network.std[226:].tolist() == [1, 1, 1]  # the location is not normalised
    expected = fill(ActionTransformer(**SMALL, **inputs))
    torch.testing.assert_close(model.network.state_dict()["transformer.layers.1.0.fn.to_qkv.weight"],
                               expected["transformer.layers.1.0.fn.to_qkv.weight"])  # fmt: skip


def test_the_positions_are_those_loaded_last(tmp_path, fill):
    released(tmp_path, SMALL, fill)
    file = torch.load(tmp_path / "lart.ckpt", weights_only=True)
    file["state_dict"]["encoder.pos_embedding"] = torch.zeros(8, 250, 10)
    torch.save(file, tmp_path / "lart.ckpt")
    network = load_action_model(tmp_path / "lart.ckpt").network
    torch.testing.assert_close(network.pos_embedding, file["state_dict"]["encoder.pe"])


def test_missing_statistics_and_other_networks_are_one_line(tmp_path, fill):
    released(tmp_path, SMALL, fill)
    (tmp_path / "mean_std.npy").rename(tmp_path / "elsewhere.npy")
    with pytest.raises(FourDHumansError, match=r"mean_std\.npy is missing"):
        load_action_model(tmp_path / "lart.ckpt")
    load_action_model(tmp_path / "lart.ckpt", statistics=tmp_path / "elsewhere.npy")
    manifest = json.loads((DATA / "motion" / "pose_transformer_small_manifest.json").read_text())
    state = {f"encoder.{name}": torch.zeros(shape) for name, shape in manifest.items()}
    torch.save({"state_dict": state}, tmp_path / "predictor.ckpt")
    with pytest.raises(FourDHumansError, match="is PHALP's pose predictor, not an action transformer"):
        load_action_model(tmp_path / "predictor.ckpt")
    torch.save({"state_dict": {"encoder.mask_token": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(FourDHumansError, match="is not a released action transformer"):
        load_action_model(tmp_path / "other.ckpt")


def own_model():
    torch.manual_seed(0)
    classes = ActionClasses(("stand", "walk", "fall"), (1, 4, 9), {"moving": (4, 9)})
    network = ActionTransformer(**OWN).eval()
    network.mean = torch.linspace(0, 1, 229)
    return ActionModel(network, classes, OWN, 2)


def test_what_is_saved_is_loaded(tmp_path):
    model = own_model()
    save_action_model(model, tmp_path / "own.safetensors", half=False)
    loaded = load_action_model(tmp_path / "own.safetensors")
    assert (loaded.classes, loaded.settings, loaded.people) == (model.classes, OWN, 2)
    for name, tensor in model.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor)
    torch.testing.assert_close(loaded.network.mean, model.network.mean)


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("{}", "describes no action transformer: 'network'"),
        ('{"network": {"depth": 100000}, "people": 1, "classes": {"names": ["a"], "numbers": [1], "groups": {}}}',
         "depth is 100000, beyond 64"),
        ('{"network": {"wings": 2}, "people": 1, "classes": {"names": ["a"], "numbers": [1], "groups": {}}}', "wings"),
        ('{"network": {}, "people": 1, "classes": {"names": ["a", "a"], "numbers": [1, 2], "groups": {}}}', "unique"),
    ],
)  # fmt: skip
def test_files_that_describe_nothing_are_refused(tmp_path, description, reason):
    path = tmp_path / "bad.safetensors"
    save_file({"mean": torch.zeros(229), "std": torch.ones(229)}, path, {SETTINGS: description})
    with pytest.raises(FourDHumansError, match=rf"bad\.safetensors.*{reason}"):
        load_action_model(path)


def test_a_file_of_another_kind(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(FourDHumansError, match="is not an action transformer"):
        load_action_model(tmp_path / "x.safetensors")
