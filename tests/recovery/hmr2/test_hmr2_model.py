"""The network against what the released code computes, and checkpoints that fit, do not fit, or are hostile."""

import os
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from small_hmr2 import SMALL

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.camera import Intrinsics, full_image_camera, project
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.model import HMR2

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "bin" / "make_random_checkpoint.py"))


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng([0, 7]).standard_normal((2, 3, 256, 256)).astype(np.float32))


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))


@pytest.fixture
def small_checkpoint(small_model, fill_weights, tmp_path):
    weights = {f"discriminator.{name}": value for name, value in Discriminator().state_dict().items()}
    path = tmp_path / "small.ckpt"
    SCRIPT["save_as_lightning"](small_model.state_dict() | fill_weights(weights) | SCRIPT["beside_the_network"](), path)
    return path


def shapes(state_dict):
    return {name: list(tensor.shape) for name, tensor in state_dict.items()}


def with_discriminator(model):
    return shapes(model.state_dict()) | shapes(
        {f"discriminator.{n}": t for n, t in Discriminator().state_dict().items()}
    )


def assert_close(ours, reference, tolerance):
    """tolerance: about ten times the largest error measured, on CPUs with SSE4.1 and AVX2."""
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=0, atol=tolerance)


def test_names_and_shapes_are_the_released_ones(manifests):
    with torch.device("meta"):
        assert with_discriminator(HMR2()) == manifests["released"]
        assert with_discriminator(HMR2(**SMALL)) == manifests["small"]


def test_sizes_are_arguments():
    """Those of the paper's supplement, section A, which the released weights do not have."""
    with torch.device("meta"):
        weights = HMR2(encoder_depth=50, decoder_dim=2048).state_dict()
    assert "backbone.blocks.49.norm1.weight" in weights
    assert "backbone.blocks.50.norm1.weight" not in weights
    assert weights["smpl_head.transformer.pos_embedding"].shape == (1, 1, 2048)


@torch.no_grad()
def test_computes_what_the_released_code_does(small_model, reference, images):
    tokens = small_model.backbone(images[..., 32:-32])
    assert_close(tokens.transpose(1, 2).reshape(2, 64, 16, 12), reference["features"], 9e-6)
    result = small_model(images)
    assert_close(result.global_orient, reference["global_orient"], 2e-6)
    assert_close(result.body_pose, reference["body_pose"], 4e-5)
    assert_close(result.betas, reference["betas"], 2e-7)
    assert_close(result.camera_crop, reference["pred_cam"], 2e-7)
    assert result.vertices is None


def test_layer_norms_have_the_released_eps(small_model):
    """ViT: 1e-6, as in ViTPose; decoder: PyTorch's default. The figures above hardly depend on a single one."""
    for part, eps in ((small_model.backbone, 1e-6), (small_model.smpl_head, 1e-5)):
        norms = [module for module in part.modules() if isinstance(module, torch.nn.LayerNorm)]
        assert len(norms) > 5
        assert {norm.eps for norm in norms} == {eps}


@torch.no_grad()
def test_the_crop_camera_is_the_released_one(small_model, reference, images):
    camera_crop = small_model(images).camera_crop.numpy()
    middle, whole = np.full((2, 2), 128.0), np.full(2, 256.0)
    camera = full_image_camera(camera_crop, middle, whole, Intrinsics(5000.0, (128.0, 128.0)))
    np.testing.assert_allclose(camera, reference["pred_cam_t"], rtol=1e-4)
    projected = project(reference["points"], reference["pred_cam_t"], Intrinsics(5000 / 256, (0.0, 0.0)))
    np.testing.assert_allclose(projected, reference["projected"], atol=1e-6)


@torch.no_grad()
def test_discriminator(fill_weights, reference):
    discriminator = Discriminator()
    weights = fill_weights({f"discriminator.{name}": value for name, value in discriminator.state_dict().items()})
    discriminator.load_state_dict({name.removeprefix("discriminator."): value for name, value in weights.items()})
    scores = discriminator(torch.from_numpy(reference["body_pose"]), torch.from_numpy(reference["betas"]))
    assert_close(scores, reference["discriminator"], 2e-6)


@torch.no_grad()
def test_an_untrained_network_answers_with_nearly_the_means(images):
    torch.manual_seed(0)
    result = HMR2(**SMALL).eval()(images)
    assert (result.body_pose - torch.eye(3)).abs().max() < 0.3
    assert (result.camera_crop - torch.tensor([0.9, 0, 0])).abs().max() < 0.3


@torch.no_grad()
def test_bodies_on_request(small_model, images):
    result = small_model(images, BodyModel.open_body())
    assert result.vertices.shape == (2, 6890, 3)
    assert result.joints.shape == (2, 45, 3)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_moves_joints_by_less_than_a_millimetre(small_model, images, dtype):
    # A real mean pose: the filled one's 6D numbers have a length of 0.1, not 1, which multiplies every error by ten.
    small_model.smpl_head.init_body_pose.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(24))
    body = BodyModel.open_body()
    exact = small_model(images, body).joints
    with torch.autocast("cpu", dtype):
        rough = small_model(images, body).joints
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).norm(dim=-1).max() < 0.001


@torch.no_grad()
def test_loads_a_lightning_checkpoint(small_checkpoint, reference, images):
    model = HMR2.from_checkpoint(small_checkpoint, **SMALL)
    assert_close(model(images).body_pose, reference["body_pose"], 4e-5)
    assert not model.training
    assert not any(tensor.is_meta for tensor in model.state_dict().values())


class RunsSomething:
    def __reduce__(self):
        return os.system, ("touch ran",)


def change(path, **changes):
    """Replace (or with None remove) entries of the state_dict in a checkpoint."""
    weights = torch.load(path, weights_only=False)["state_dict"] if path.suffix == ".pth" else None
    weights = {name: value for name, value in (weights | changes).items() if value is not None}
    torch.save({"state_dict": weights}, path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone.pos_embed": None}, "no 'backbone.pos_embed'"),
        ({"backbone.cls_token": torch.zeros(1)}, "unknown 'backbone.cls_token'"),
        ({"backbone.pos_embed": torch.zeros(1, 5, 64)}, "'backbone.pos_embed' is (1, 5, 64), not (1, 193, 64)"),
        ({"backbone.pos_embed": "text"}, "'backbone.pos_embed' is a str"),
        ({"backbone.pos_embed": RunsSomething()}, "nothing was run"),
    ],
)
def test_refuses_other_entries(small_model, tmp_path, monkeypatch, changes, said):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "changed.pth"
    torch.save({"state_dict": small_model.state_dict()}, path)
    change(path, **changes)
    with pytest.raises(FourDHumansError) as caught:
        HMR2.from_checkpoint(path, **SMALL)
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message
    assert not Path("ran").exists()


def test_names_only_the_first_differences(small_checkpoint):
    with pytest.raises(FourDHumansError, match=r"does not fit HMR2: .*;.*;.* and \d+ more") as caught:
        HMR2.from_checkpoint(small_checkpoint)  # the released sizes
    assert len(str(caught.value)) < 500


def test_refuses_what_is_cut_short(small_checkpoint):
    whole = small_checkpoint.read_bytes()
    for length in (0, 100, len(whole) // 2, len(whole) - 1000):
        small_checkpoint.write_bytes(whole[:length])
        with pytest.raises(FourDHumansError, match="cut short"):
            HMR2.from_checkpoint(small_checkpoint, **SMALL)


def test_refuses_a_pickle_with_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("evil.pkl", "evil.ckpt"):
        Path(name).write_bytes(pickle.dumps({"state_dict": {"backbone.pos_embed": RunsSomething()}}, protocol=2))
        with pytest.raises(FourDHumansError, match=f"{name} refused: it asks for '.*system'"):
            HMR2.from_checkpoint(name)
    assert not Path("ran").exists()


@pytest.mark.slow
def test_loads_a_checkpoint_of_full_size(manifests, tmp_path, reference_crops):
    """2.7 GB on disk."""
    rng = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=rng) * 0.02 for name, shape in manifests["released"].items()}
    path = tmp_path / "epoch=35-step=1000000.ckpt"
    SCRIPT["save_as_lightning"](weights | SCRIPT["beside_the_network"](), path)
    crops = torch.from_numpy(reference_crops["crops"][:1].astype(np.float32))
    try:
        model = HMR2.from_checkpoint(path)
        expected = {name: tensor for name, tensor in weights.items() if not name.startswith("discriminator.")}
        assert model.state_dict().keys() == expected.keys()
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, expected[name]), name
        with torch.no_grad():
            result = model(crops, BodyModel.open_body())
        assert torch.isfinite(result.joints).all()
    finally:
        path.unlink()
