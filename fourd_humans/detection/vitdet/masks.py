"""The mask head (He et al., Mask R-CNN, section 3) and the way from its small grid back to the frame's pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.detection.vitdet.boxes import pool
from fourd_humans.detection.vitdet.pyramid import NormedConv
from fourd_humans.people import Mask

POOLED_SIZE = 14


class MaskHead(nn.Module):
    """Normed 3x3 convolutions, one doubling, and a map for every class."""

    def __init__(self, channels: int, convolutions: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.depth = len(convolutions)
        for i, width in enumerate(convolutions, start=1):
            self.add_module(f"mask_fcn{i}", NormedConv(channels, width, 3))
            channels = width
        self.deconv = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.predictor = nn.Conv2d(channels, classes, 1)

    def forward(self, features: Sequence[Tensor], boxes: Tensor, pictures: Tensor, classes: Tensor) -> Tensor:
        """Boxes (R, 4) of classes (R,), each in the picture of that number (R,), to probabilities (R, 28, 28)."""
        x = pool(features, boxes, pictures, POOLED_SIZE)
        for i in range(1, self.depth + 1):
            x = functional.relu(self.get_submodule(f"mask_fcn{i}")(x))
        logits = self.predictor(functional.relu(self.deconv(x)))
        return logits.take_along_dim(classes[:, None, None, None], 1)[:, 0].float().sigmoid()


def paste(
    probabilities: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int], threshold: float = 0.5
) -> Mask:
    """The pixels of a frame of (H, W) whose centre has a probability of at least `threshold`.

    probabilities: (n, n) at the centres of the cells of `box` (4,) xyxy, read bilinearly and taken as 0 outside the
    grid. Only pixels in the box are looked at. Bilinear reading is separable, so it is two small matrix products.
    """
    height, width = size
    left, top = (int(n) for n in np.floor(box[:2]).clip(0))
    right, bottom = (int(n) for n in np.ceil(box[2:]).clip(max=(width, height)))
    if right <= left or bottom <= top:
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    n = len(probabilities)
    along_y = _reading(np.arange(top, bottom) + 0.5, box[1], box[3], n)
    along_x = _reading(np.arange(left, right) + 0.5, box[0], box[2], n)
    return Mask(along_y @ probabilities @ along_x.T >= threshold, left, top, size)


def _reading(places: NDArray[np.floating], start: float, end: float, n: int) -> NDArray[np.float32]:
    """(len(places), n) weights that read n cells between `start` and `end` linearly at the given places."""
    cells = (places - start) / (end - start) * n - 0.5
    return np.maximum(0, 1 - np.abs(cells[:, None] - np.arange(n))).astype(np.float32)
