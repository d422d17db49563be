"""The encoder of the texture autoencoder released with PHALP: a person's texture map as 4096 numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly

RELEASED_PREFIX = "encoding_head."  # where the released file, which holds all of HMAR, keeps the autoencoder
DECODER_PREFIX = "t_"  # of the decoder's layers, which tracking has no use for


class TextureEncoder(nn.Module):
    """Convolutional encoder of (N, 4, 256, 256) textures, with the released checkpoint's names and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1x = _conv(4, 16)
        self.conv2 = _conv(16, 64)
        self.conv3 = _conv(64, 128)
        self.conv4 = _conv(128, 256)
        self.conv5 = _conv(256, 256)
        self.conv5_1 = _conv(256, 16)

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> Self:
        """The encoder of HMAR's released weights, or of a file that holds the autoencoder or the encoder alone.

        Raises: FourDHumansError, naming the file, where it cannot be read or holds another network.
        """
        state = load_state_dict(path)
        # every name of the released file has five more letters in front
        parts = {
            name.partition(RELEASED_PREFIX)[2]: tensor for name, tensor in state.items() if RELEASED_PREFIX in name
        }
        encoder = cls()
        kept = {name: tensor for name, tensor in (parts or state).items() if not name.startswith(DECODER_PREFIX)}
        load_strictly(encoder, kept, path)
        return encoder.eval()

    def forward(self, texture: Tensor) -> Tensor:
        """(N, 4, 256, 256) to the embedding (N, 16, 16, 16)."""
        x = texture
        for conv in (self.conv1x, self.conv2, self.conv3, self.conv4):
            x = functional.max_pool2d(functional.relu(conv(x)), 2)
        return functional.relu(self.conv5_1(functional.relu(self.conv5(x))))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
