from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.errors import FourDHumansError

DATA = Path(__file__).parents[1] / "data"


def released_state() -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of the released autoencoder."""
    manifest = json.loads((DATA / "appearance_encoder_manifest.json").read_text())
    return {name: torch.rand(shape) for name, shape in manifest.items()}


def test_has_the_released_names_and_shapes_but_for_the_decoder() -> None:
    state = TextureEncoder().state_dict()
    released = {name: tensor.shape for name, tensor in released_state().items() if not name.startswith("t_")}
    assert {name: tensor.shape for name, tensor in state.items()} == released


def test_encodes_textures() -> None:
    with torch.no_grad():
        assert TextureEncoder().eval()(torch.zeros(1, 4, 256, 256)).shape == (1, 16, 16, 16)


@pytest.mark.parametrize("prefix", ["hmar.encoding_head.", ""])
@pytest.mark.parametrize("decoder", [True, False])
def test_reads_the_released_layout_and_its_own(tmp_path: Path, prefix: str, decoder: bool) -> None:
    original = {name: tensor for name, tensor in released_state().items() if decoder or not name.startswith("t_")}
    state = {prefix + name: tensor for name, tensor in original.items()}
    if prefix:
        state |= {"hmar.texture_head.weight": torch.zeros(3), "hmar.backbone.conv1.weight": torch.zeros(3)}
    torch.save({"model": state}, tmp_path / "weights.pth")
    loaded = TextureEncoder.from_checkpoint(tmp_path / "weights.pth")
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, original[name])


def test_refuses_a_file_with_something_missing(tmp_path: Path) -> None:
    state = TextureEncoder().state_dict()
    del state["conv3.bias"]
    torch.save({"model": {f"hmar.encoding_head.{name}": tensor for name, tensor in state.items()}}, tmp_path / "w.pth")
    with pytest.raises(FourDHumansError, match=r"w\.pth.*conv3\.bias"):
        TextureEncoder.from_checkpoint(tmp_path / "w.pth")
