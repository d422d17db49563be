"""ViTDet (Li et al., ECCV 2022) with cascade box heads and masks, as it was trained on COCO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from fourd_humans.detection.vitdet.backbone import ViT
from fourd_humans.detection.vitdet.cascade import RegionHeads
from fourd_humans.detection.vitdet.pyramid import SimpleFeaturePyramid
from fourd_humans.detection.vitdet.rpn import RegionProposals

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)


@dataclass
class Instances:
    """What was found in one picture, best first: boxes (N, 4) xyxy in its pixels, scores (N,), COCO classes (N,)."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor

    def __getitem__(self, rows: Tensor) -> Instances:
        return Instances(self.boxes[rows], self.scores[rows], self.classes[rows])


class ViTDet(nn.Module):
    """Pictures in, boxes with classes and scores out; masks for those of them that are asked for.

    image_size: side in pixels of the square pictures it is trained with. box_convolutions, box_hidden: widths of the
    box heads; mask_convolutions: of the mask head.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        window_blocks: tuple[int, ...],
        window_size: int = 14,
        image_size: int = 1024,
        pretraining_size: int = 224,
        channels: int = 256,
        box_convolutions: tuple[int, ...] = (256, 256, 256, 256),
        box_hidden: int = 1024,
        mask_convolutions: tuple[int, ...] = (256, 256, 256, 256),
        classes: int = 80,
    ) -> None:
        super().__init__()
        net = ViT(
            width=width,
            depth=depth,
            heads=heads,
            window_size=window_size,
            window_blocks=window_blocks,
            image_size=image_size,
            pretraining_size=pretraining_size,
        )
        self.image_size = image_size
        self.classes = classes
        self.backbone = SimpleFeaturePyramid(net, width, channels)
        self.proposal_generator = RegionProposals(channels)
        self.roi_heads = RegionHeads(channels, classes, box_convolutions, box_hidden, mask_convolutions)

    def features(self, images: Sequence[Tensor], size: int | None = None) -> list[Tensor]:
        """RGB pictures (3, h, w) in 0..255 to their maps p2 to p6, each (B, channels, ·, ·).

        size: of the square they are padded to, a multiple of 32; None is the one the network was trained with. For
        other sizes its positions are resampled.
        """
        return self.backbone(torch.stack([padded(image, size or self.image_size) for image in images]))

    def detect(
        self,
        features: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float,
        nms_threshold: float = 0.5,
        classes: Sequence[int] | None = None,
        max_detections: int = 100,
    ) -> list[Instances]:
        """What is in each picture, given its maps and its (height, width).

        score_threshold: lowest score. nms_threshold: overlap (IoU) from which the lesser of two boxes of a class is
        taken for a repetition. classes: the only ones looked for, or None for all.
        """
        proposals = [boxes for boxes, _ in self.proposal_generator(features, sizes)]
        return [
            _choose(boxes, scores, score_threshold, nms_threshold, classes, max_detections)
            for boxes, scores in self.roi_heads(features, proposals, sizes)
        ]

    def masks(self, features: Sequence[Tensor], found: Sequence[Instances]) -> list[Tensor]:
        """For each picture the probabilities (N, 28, 28) of what lies in its boxes belonging to the object."""
        return self.roi_heads.mask_head(features, [f.boxes for f in found], [f.classes for f in found])


def vitdet_h() -> ViTDet:
    """The network of the released COCO checkpoint: ViT-H, every eighth block global."""
    return ViTDet(width=1280, depth=32, heads=16, window_blocks=tuple(i for i in range(32) if i % 8 != 7))


def padded(image: Tensor, size: int) -> Tensor:
    """Normalised, with zeros at the right and below: (3, h, w) to (3, size, size)."""
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    height, width = image.shape[1:]
    return functional.pad((image - mean) / std, (0, size - width, 0, size - height))


def _choose(
    boxes: Tensor,
    scores: Tensor,
    score_threshold: float,
    nms_threshold: float,
    classes: Sequence[int] | None,
    max_detections: int,
) -> Instances:
    """Boxes (N, 4) with scores (N, C) above the threshold, without repetitions within a class."""
    sound = boxes.isfinite().all(1) & scores.isfinite().all(1)
    above = (scores > score_threshold) & sound[:, None]
    if classes is not None:
        wanted = torch.zeros_like(above[0])
        wanted[list(classes)] = True
        above &= wanted
    row, category = above.nonzero(as_tuple=True)
    boxes, best = boxes[row], scores[row, category]
    kept = batched_nms(boxes, best, category, nms_threshold)[:max_detections]
    return Instances(boxes[kept], best[kept], category[kept])
