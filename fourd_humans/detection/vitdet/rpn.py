"""The region proposal network (Ren et al., Faster R-CNN, section 3.1): where there might be anything at all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.detection.vitdet.boxes import ASPECT_RATIOS, anchors, apply_deltas, clip
from fourd_humans.detection.vitdet.suppression import suppress

PER_LEVEL = 1000  # proposals of each level that enter non-maximum suppression
PER_IMAGE = 1000  # proposals kept after it
NMS_THRESHOLD = 0.7


class RegionProposals(nn.Module):
    """The head of `RPNHead` on every level, and the choice of the best boxes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rpn_head = RPNHead(channels)

    def forward(
        self, features: Sequence[Tensor], sizes: Tensor, rounds: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """At most 1000 boxes for each picture, clipped to its (height, width), best first.

        features: p2 to p6 of all pictures, padded. sizes: (B, 2) of the pictures without padding. rounds: see
        `suppress`.
        Returns boxes (B, N, 4), logits (B, N), and whether the suppression is certain (B,). Where there are fewer boxes
        than N, the rest has no area and a logit of -inf.
        """
        boxes, logits = [], []
        for feature, level_anchors in zip(features, anchors(features), strict=True):
            level_logits, deltas = self.rpn_head(feature)
            level_logits, best = level_logits.float().topk(min(PER_LEVEL, level_logits.shape[1]))
            deltas = deltas.float().gather(1, best[..., None].expand(-1, -1, 4))
            level_boxes = clip(apply_deltas(deltas, level_anchors[best]), sizes)
            usable = (level_boxes[..., 2:] > level_boxes[..., :2]).all(-1)
            usable &= level_boxes.isfinite().all(-1) & level_logits.isfinite()
            boxes.append(level_boxes.masked_fill(~usable[..., None], 0))
            logits.append(level_logits.masked_fill(~usable, -torch.inf))
        most = max(level.shape[1] for level in boxes)
        by_level = torch.stack([functional.pad(level, (0, 0, 0, most - level.shape[1])) for level in boxes], 1)
        kept, certain = suppress(by_level, NMS_THRESHOLD, rounds=rounds)
        kept_logits = torch.cat(
            [
                level.masked_fill(~keep[:, : level.shape[1]], -torch.inf)
                for level, keep in zip(logits, kept.unbind(1), strict=True)
            ],
            1,
        )
        all_boxes = torch.cat(boxes, 1)
        best_logits, best = kept_logits.topk(min(PER_IMAGE, kept_logits.shape[1]))
        found = best_logits.isfinite()
        best_boxes = all_boxes.gather(1, best[..., None].expand(-1, -1, 4)).masked_fill(~found[..., None], 0)
        return best_boxes, best_logits, certain.all(1)


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
