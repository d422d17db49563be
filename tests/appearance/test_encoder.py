from __future__ import annotations

import json
from pathlib import Path

import torch

from fourd_humans.appearance.encoder import TextureAutoencoder

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
