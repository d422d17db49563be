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
    half = torch.tensor(
        [(size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for ratio in ASPECT_RATIOS], device=level.device
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


def clip(boxes: Tensor, size: tuple[float, float]) -> Tensor:
    """Boxes (..., 4) cut to a picture of (height, width)."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def pool(features: Sequence[Tensor], boxes: Sequence[Tensor], output_size: int) -> Tensor:
    """(sum of N, C, output_size, output_size) features of each picture's boxes (N, 4), in order.

    Each box is read from the one of p2 to p5 that suits its size: p4 at 224 pixels, one level finer for each halving
    (Lin et al., Feature Pyramid Networks, equation 1).
    """
    features = [feature.float() for feature in features[:4]]  # box corners lose whole pixels in half precision
    picture = torch.cat([b.new_full((len(b), 1), i) for i, b in enumerate(boxes)])
    regions = torch.cat([picture, torch.cat(list(boxes))], dim=1)
    side = ((regions[:, 3] - regions[:, 1]) * (regions[:, 4] - regions[:, 2])).sqrt()
    chosen = (4 + torch.log2(side / 224 + 1e-8)).floor().clamp(2, 5).long() - 2
    pooled = features[0].new_zeros(len(regions), features[0].shape[1], output_size, output_size)
    for level, (feature, stride) in enumerate(zip(features, STRIDES, strict=False)):
        rows = torch.nonzero(chosen == level)[:, 0]
        pooled[rows] = roi_align(feature, regions[rows], output_size, spatial_scale=1 / stride, aligned=True)
    return pooled
