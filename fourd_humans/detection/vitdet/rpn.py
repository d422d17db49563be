"""The region proposal network (Ren et al., Faster R-CNN, section 3.1): where there might be anything at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms

from fourd_humans.detection.vitdet.boxes import ASPECT_RATIOS, anchors, apply_deltas, clip

PER_LEVEL = 1000  # proposals of each level that enter non-maximum suppression
PER_IMAGE = 1000  # proposals kept after it
NMS_THRESHOLD = 0.7


class RegionProposals(nn.Module):
    """The head of `RPNHead` on every level, and the choice of the best boxes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rpn_head = RPNHead(channels)

    def forward(self, features: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
        """At most 1000 boxes (N, 4) for each picture, clipped to its (height, width), with logits (N,), best first.

        features: p2 to p6 of all pictures, padded; sizes: of the pictures without padding.
        """
        boxes, logits, levels = [], [], []
        for level, (feature, level_anchors) in enumerate(zip(features, anchors(features), strict=True)):
            level_logits, deltas = self.rpn_head(feature)
            level_logits, best = level_logits.float().topk(min(PER_LEVEL, level_logits.shape[1]))
            deltas = deltas.float().gather(1, best[..., None].expand(-1, -1, 4))
            boxes.append(apply_deltas(deltas, level_anchors[best]))
            logits.append(level_logits)
            levels.append(torch.full_like(best[0], level))
        all_boxes, all_logits, all_levels = torch.cat(boxes, 1), torch.cat(logits, 1), torch.cat(levels)
        return [_best(*row, all_levels) for row in zip(all_boxes, all_logits, sizes, strict=True)]


class RPNHead(nn.Module):
    """Two convolutions, then for each anchor of a place a logit of there being something and four deltas to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(channels, channels, 3, padding=1),
                relu0=nn.ReLU(),
                conv1=nn.Conv2d(channels, channels, 3, padding=1),
                relu1=nn.ReLU(),
            )
        )
        self.objectness_logits = nn.Conv2d(channels, len(ASPECT_RATIOS), 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * len(ASPECT_RATIOS), 1)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to logits (B, H·W·3) and deltas (B, H·W·3, 4), in the order of `anchors`."""
        x = self.conv(feature)
        logits = self.objectness_logits(x).permute(0, 2, 3, 1).flatten(1)
        deltas = self.anchor_deltas(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        return logits, deltas


def _best(boxes: Tensor, logits: Tensor, size: tuple[int, int], levels: Tensor) -> tuple[Tensor, Tensor]:
    boxes = clip(boxes, size)
    sound = (boxes[:, 2:] > boxes[:, :2]).all(1) & boxes.isfinite().all(1) & logits.isfinite()
    boxes, logits, levels = boxes[sound], logits[sound], levels[sound]
    kept = batched_nms(boxes, logits, levels, NMS_THRESHOLD)[:PER_IMAGE]
    return boxes[kept], logits[kept]
