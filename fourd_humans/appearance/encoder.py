"""The texture autoencoder released with PHALP: what a person's texture map looks like, in 4096 numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly

RELEASED_PREFIX = "encoding_head."  # where the released file, which holds all of HMAR, keeps the autoencoder


class TextureAutoencoder(nn.Module):
    """Convolutional autoencoder of (N, 4, 256, 256) textures, with the released checkpoint's names and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1x = _conv(4, 16)
        self.conv2 = _conv(16, 64)
        self.conv3 = _conv(64, 128)
        self.conv4 = _conv(128, 256)
        self.conv5 = _conv(256, 256)
        self.conv5_1 = _conv(256, 16)

        self.t_conv5_1, self.t_bn_5_1 = _conv(16, 256), nn.BatchNorm2d(256)
        self.t_conv5, self.t_bn_5 = _conv(256, 256), nn.BatchNorm2d(256)
        self.t_conv4, self.t_bn_4 = _conv(256, 128), nn.BatchNorm2d(128)
        self.t_conv3, self.t_bn_3 = _conv(128, 64), nn.BatchNorm2d(64)
        self.t_conv2, self.t_bn_2 = _conv(64, 16), nn.BatchNorm2d(16)
        self.t_conv1x, self.t_bn_1x = _conv(16, 4), nn.BatchNorm2d(4)
        self.t_conv1_1x = _conv(4, 4)

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> Self:
        """The autoencoder of HMAR's released weights, or of a file that holds it alone.

        Raises: FourDHumansError, naming the file, where it cannot be read or holds another network.
        """
        state = load_state_dict(path)
        # every name of the released file has five more letters in front
        parts = {
            name.partition(RELEASED_PREFIX)[2]: tensor for name, tensor in state.items() if RELEASED_PREFIX in name
        }
        autoencoder = cls()
        load_strictly(autoencoder, parts or state, path)
        return autoencoder.eval()

    def encode(self, texture: Tensor) -> Tensor:
        """(N, 4, 256, 256) to the embedding (N, 16, 16, 16)."""
        x = texture
        for conv in (self.conv1x, self.conv2, self.conv3, self.conv4):
            x = functional.max_pool2d(functional.relu(conv(x)), 2)
        return functional.relu(self.conv5_1(functional.relu(self.conv5(x))))

    def decode(self, embedding: Tensor) -> Tensor:
        """(N, 16, 16, 16) to a texture (N, 4, 256, 256) with all texels filled in."""
        x = functional.relu(self.t_bn_5_1(self.t_conv5_1(embedding)))
        x = functional.relu(self.t_bn_5(self.t_conv5(x)))
        for conv, norm in (
            (self.t_conv4, self.t_bn_4),
            (self.t_conv3, self.t_bn_3),
            (self.t_conv2, self.t_bn_2),
            (self.t_conv1x, self.t_bn_1x),
        ):
            x = functional.interpolate(functional.relu(norm(conv(x))), scale_factor=2, mode="bilinear")
        return self.t_conv1_1x(x).tanh()

    def forward(self, texture: Tensor) -> Tensor:
        return self.decode(self.encode(texture))


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
