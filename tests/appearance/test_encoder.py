from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fourd_humans.appearance.encoder import TextureAutoencoder
from fourd_humans.errors import FourDHumansError

DATA = Path(__file__).parents[1] / "data"


def test_has_the_released_names_and_shapes() -> None:
    manifest = json.loads((DATA / "appearance_encoder_manifest.json").read_text())
    state = TextureAutoencoder().state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == manifest


def test_codes_and_decodes_textures() -> None:
    autoencoder = TextureAutoencoder().eval()
    with torch.no_grad():
        assert autoencoder.encode(torch.zeros(1, 4, 256, 256)).shape == (1, 16, 16, 16)
        decoded = autoencoder(torch.zeros(1, 4, 256, 256))
    assert decoded.shape == (1, 4, 256, 256)
    assert decoded.abs().max() <= 1


@pytest.mark.parametrize("prefix", ["hmar.encoding_head.", ""])
def test_reads_the_released_layout_and_its_own(tmp_path: Path, prefix: str) -> None:
    original = TextureAutoencoder()
    state = {prefix + name: tensor for name, tensor in original.state_dict().items()}
    if prefix:
        state |= {"hmar.texture_head.weight": torch.zeros(3), "hmar.backbone.conv1.weight": torch.zeros(3)}
    torch.save({"model": state}, tmp_path / "weights.pth")
    loaded = TextureAutoencoder.from_checkpoint(tmp_path / "weights.pth")
    assert not loaded.training
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor)


def test_refuses_a_file_with_something_missing(tmp_path: Path) -> None:
    state = TextureAutoencoder().state_dict()
    del state["conv3.bias"]
    torch.save({"model": {f"hmar.encoding_head.{name}": tensor for name, tensor in state.items()}}, tmp_path / "w.pth")
    with pytest.raises(FourDHumansError, match=r"w\.pth.*conv3\.bias"):
        TextureAutoencoder.from_checkpoint(tmp_path / "w.pth")
