"""What region proposal, cascade and masks have in common: anchors, box regression, clipping, pooling from the pyramid.

Boxes are (N, 4) xyxy in pixels of the network's input. The conventions are those the weights were trained with
(corners are points, not pixels: a box from 0 to 8 is 8 wide).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from fourd_humans.devices import constant

STRIDES = (4, 8, 16, 32, 64)  # of p2 to p6
ANCHOR_SIZES = (32, 64, 128, 256, 512)  # square root of an anchor's area, one for each of p2 to p6
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width
LARGEST_GROWTH = math.log(1000 / 16)  # of a side, in one regression step, as a logarithm


def anchors(features: Sequence[Tensor]) -> list[Tensor]:
    """For each map (B, C, H, W) of p2 to p6 its (H·W·3, 4) anchors, ordered by row, column, aspect ratio."""
    return [
        _anchors_of_level(level, stride, size)
        for level, stride, size in zip(features, STRIDES, ANCHOR_SIZES, strict=True)
    ]


def _anchors_of_level(level: Tensor, stride: int, size: int) -> Tensor:
    height, width = level.shape[-2:]
    half = constant(
        [(size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for ratio in ASPECT_RATIOS], level.device
    )
    y = torch.arange(height, device=level.device) * float(stride)
    x = torch.arange(width, device=level.device) * float(stride)
    corners = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).view(-1, 1, 2)
    return torch.cat([corners - half, corners + half], dim=-1).view(-1, 4)


def apply_deltas(deltas: Tensor, boxes: Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Move and stretch boxes (..., 4) by regressed deltas (..., 4): shifts in units of the size, logarithms of growth.

    weights: what the network's shifts and growths are divided by (Ren et al., Faster R-CNN, equation 2).
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size
    centre = centre + deltas[..., :2] / weights[0] * size
    half = 0.5 * size * torch.exp((deltas[..., 2:] / weights[1]).clamp(max=LARGEST_GROWTH))
    return torch.cat([centre - half, centre + half], dim=-1)


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (B, N, 4) cut to pictures of (height, width), (B, 2)."""
    return boxes.clamp(min=0).minimum(sizes.flip(1).repeat(1, 2)[:, None])


def pool(features: Sequence[Tensor], boxes: Tensor, pictures: Tensor, output_size: int) -> Tensor:
    """(R, C, output_size, output_size) features of regions: boxes (R, 4), each of the picture (R,) with that number.

    features: float32, since box corners would lose whole pixels in half precision. Each box is read from the one of p2
    to p5 that suits its size: p4 at 224 pixels, one level finer for each halving (Lin et al., Feature Pyramid
    Networks, equation 1).
    """
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    chosen = (4 + torch.log2(side / 224 + 1e-8)).floor().clamp(2, 5)
    pooled = None
    for level, (feature, stride) in enumerate(zip(features, STRIDES[:4], strict=False), start=2):
        # All regions on every level, so that their number is known; on the wrong one without area, which reads nothing.
        here = boxes.masked_fill((chosen != level)[:, None], 0)
        regions = torch.cat([pictures[:, None].to(boxes.dtype), here], dim=1)
        read = roi_align(feature, regions, output_size, spatial_scale=1 / stride, aligned=True)
        pooled = read if pooled is None else pooled.add_(read)
    assert pooled is not None
    return pooled
