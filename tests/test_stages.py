"""Which stage a configuration chooses, on which device, and what takes the place of files that are not installed."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fourd_humans import stages
from fourd_humans.appearance.distance import ColourDistance, EncoderDistance
from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.body.model import BodyModel
from fourd_humans.checkpoints.store import folder_of, record
from fourd_humans.config import Config, apply_settings, default_config
from fourd_humans.detection.settings import MoveNetSettings, ViTDetSettings
from fourd_humans.errors import UsageError
from fourd_humans.recovery.settings import HMR2Settings
from fourd_humans.weights import weight_files

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))


@pytest.fixture
def built(monkeypatch):
    """The devices that stages are built for, by backend, instead of the stages."""
    devices = {}

    def module(name):
        return SimpleNamespace(build=lambda settings, *rest: devices.update({settings.backend: rest[-1]}))

    monkeypatch.setattr(stages.importlib, "import_module", module)
    return devices


def with_gpus(monkeypatch, *, cuda=False, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device=None: None)


@pytest.mark.parametrize(
    ("config", "gpus", "device"),
    [
        (default_config("lite"), {"cuda": True}, "cpu"),
        (default_config("lite"), {"mps": True}, "cpu"),
        (Config(device="cuda"), {"cuda": True}, "cuda"),
        (default_config("paper"), {"cuda": True, "mps": True}, "cuda"),
        (default_config("paper"), {"mps": True}, "mps"),
        (default_config("paper"), {}, "cpu"),
        (Config(recovery=HMR2Settings()), {"cuda": True}, "cuda"),
    ],
)
def test_auto_is_the_gpu_for_large_networks_only(monkeypatch, config, gpus, device):
    with_gpus(monkeypatch, **gpus)
    assert stages.choose_device(config) == torch.device(device)


@pytest.mark.parametrize(("name", "device"), [("auto", "cpu"), ("cuda", "cuda")])
def test_small_networks_stay_on_the_cpu_beside_large_ones(built, name, device):
    config = Config(model="paper", device=name, detection=MoveNetSettings(), recovery=HMR2Settings())
    stages.make_detector(config, GPU)
    stages.make_recovery(config, BodyModel.open_body(), GPU)
    assert built == {"movenet": device, "hmr2": "cuda"}
    stages.make_detector(Config(device=name, detection=ViTDetSettings()), GPU)
    assert built["vitdet"] == "cuda"


def test_the_motion_network_keeps_off_apples_gpu():
    network = stages.make_motion_network(default_config(), torch.device("mps"))
    assert network.mean.device == CPU


def install(name, *files, content=b"weights"):
    folder = folder_of(name)
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(content)
    record(folder, {})
    return folder


@pytest.fixture
def released(monkeypatch):
    """SMPL's form of the open body, the released layout of its texture, and an encoder."""
    body_model = BodyModel.open_body()
    monkeypatch.setattr(body_model, "shape_space", "smpl")
    folder = install("smpl-texture", "bmap_256.npy", "fmap_256.npy", "texture.npz")
    np.save(folder / "fmap_256.npy", np.zeros((256, 256), np.int32))
    np.save(folder / "bmap_256.npy", np.full((256, 256, 3), 1 / 3, np.float32))
    torch.save(TextureEncoder().state_dict(), install("texture-encoder", "hmar_v2_weights.pth") / "hmar_v2_weights.pth")
    return body_model


def test_the_texture_encoder_works_on_its_own_layout(released):
    assert isinstance(stages.make_texture_distance(default_config("paper"), released, CPU), EncoderDistance)
    assert isinstance(stages.make_texture_distance(default_config("lite"), released, CPU), ColourDistance)


def test_the_texture_encoder_is_not_fed_another_layout(released, caplog):
    with caplog.at_level(logging.WARNING):
        distance = stages.make_texture_distance(default_config("paper"), BodyModel.open_body(), CPU)
    assert isinstance(distance, ColourDistance)
    assert "SMPL (4dhumans models add-smpl FILE)" in caplog.text
    assert "smpl-texture" not in caplog.text
    (folder_of("smpl-texture") / "bmap_256.npy").unlink()
    with caplog.at_level(logging.WARNING):
        distance = stages.make_texture_distance(default_config("paper"), released, CPU)
    assert isinstance(distance, ColourDistance)
    assert "4dhumans models download smpl-texture" in caplog.text


def test_the_weights_of_a_run_are_those_that_it_loads(released, monkeypatch):
    assert "appearance" not in weight_files(default_config("paper")), "there is no SMPL"
    install("smpl", "SMPL_NEUTRAL.npz")
    files = weight_files(default_config("paper"))
    assert files["appearance"].name == "hmar_v2_weights.pth"
    assert files["body"].name == "SMPL_NEUTRAL.npz"
    assert weight_files(default_config("lite")).keys() == {"detection", "recovery", "motion", "body"}


def test_an_encoder_that_is_asked_for_and_cannot_be_used_is_an_error(released):
    for model, body_model, needs in (("paper", BodyModel.open_body(), "SMPL"), ("lite", released, "--model paper")):
        config = apply_settings(default_config(model), ["appearance.encoder=weights.pth"])
        with pytest.raises(UsageError, match=rf"appearance\.encoder needs {needs}"):
            stages.make_texture_distance(config, body_model, CPU)


def test_paper_says_what_takes_the_place_of_what_is_missing(caplog):
    config = default_config("paper")
    with caplog.at_level(logging.WARNING):
        body_model = stages.make_body_model(config, CPU)
        stages.make_motion_network(config, CPU)
        stages.make_texture_distance(config, body_model, CPU)
    for words in ("add-smpl", "built-in pose transformer", "download pose-predictor", "download texture-encoder"):
        assert words in caplog.text
    caplog.clear()
    config = default_config("lite")
    stages.make_motion_network(config, CPU)
    stages.make_texture_distance(config, stages.make_body_model(config, CPU), CPU)
    assert not caplog.text
