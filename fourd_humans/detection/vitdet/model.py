"""ViTDet (Li et al., ECCV 2022) with cascade box heads and masks, as it was trained on COCO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms

from fourd_humans.detection.vitdet.backbone import ViT
from fourd_humans.detection.vitdet.cascade import BoxHead, BoxPredictor, refine
from fourd_humans.detection.vitdet.masks import MaskHead
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


class ViTDet(nn.Module):
    """Pictures in, boxes with classes and scores out; masks for those of them that are asked for.

    image_size: side in pixels of the square that pictures are padded to. box_convolutions, box_hidden: widths of the
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
        self.backbone = SimpleFeaturePyramid(net, width, channels)
        self.proposal_generator = RegionProposals(channels)
        self.roi_heads = nn.ModuleDict(
            {
                "box_head": nn.ModuleList(BoxHead(channels, box_convolutions, box_hidden) for _ in range(3)),
                "box_predictor": nn.ModuleList(BoxPredictor(box_hidden, classes) for _ in range(3)),
                "mask_head": MaskHead(channels, mask_convolutions, classes),
            }
        )

    def features(self, images: Sequence[Tensor]) -> list[Tensor]:
        """RGB pictures (3, h, w) in 0..255, no side longer than `image_size`, to their maps p2 to p6."""
        return self.backbone(torch.stack([self._padded(image) for image in images]))

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
        refined = refine(self.roi_heads["box_head"], self.roi_heads["box_predictor"], features, proposals, sizes)
        return [
            _choose(boxes, scores, score_threshold, nms_threshold, classes, max_detections) for boxes, scores in refined
        ]

    def masks(self, features: Sequence[Tensor], found: Sequence[Instances]) -> list[Tensor]:
        """For each picture the probabilities (N, 28, 28) of what lies in its boxes belonging to the object."""
        return self.roi_heads["mask_head"](features, [f.boxes for f in found], [f.classes for f in found])

    def _padded(self, image: Tensor) -> Tensor:
        mean, std = (image.new_tensor(values, dtype=torch.float32)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
        height, width = image.shape[1:]
        return functional.pad((image - mean) / std, (0, self.image_size - width, 0, self.image_size - height))


def vitdet_h(image_size: int = 1024) -> ViTDet:
    """The network of the released COCO checkpoint: ViT-H, every eighth block global."""
    return ViTDet(
        width=1280,
        depth=32,
        heads=16,
        window_blocks=tuple(i for i in range(32) if i % 8 != 7),
        image_size=image_size,
    )


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
