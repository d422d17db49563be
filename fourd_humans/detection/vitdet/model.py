"""ViTDet (Li et al., ECCV 2022) with cascade box heads and masks, as it was trained on COCO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fourd_humans.detection.vitdet.backbone import ViT
from fourd_humans.detection.vitdet.cascade import RegionHeads
from fourd_humans.detection.vitdet.pyramid import SimpleFeaturePyramid
from fourd_humans.detection.vitdet.rpn import RegionProposals
from fourd_humans.detection.vitdet.suppression import suppress
from fourd_humans.devices import constant

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
MOST_CANDIDATES = 4000  # pairs of box and class of a picture that enter the last suppression, best first


@dataclass
class Instances:
    """What was found in B pictures, best first, in tensors of fixed size.

    boxes: (B, N, 4) xyxy in pixels of the network's input. scores: (B, N), 0 where nothing more was found.
    classes: (B, N) of COCO. certain: (B,) whether the suppression was, see `suppression.suppress`.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    certain: Tensor


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
        sizes: Tensor,
        *,
        score_threshold: float,
        nms_threshold: float = 0.5,
        classes: Sequence[int] | None = None,
        max_detections: int = 100,
        rounds: int | None = None,
    ) -> Instances:
        """What is in each picture, given float32 maps and (B, 2) heights and widths, of the same type.

        score_threshold: scores are above it. nms_threshold: overlap (IoU) from which the lesser of two boxes of a class
        is taken for a repetition. classes: the only ones looked for, or None for all. rounds: of suppression, see
        `suppression.suppress`; with a number of them nothing in here waits for the device.
        """
        proposals, logits, certain = self.proposal_generator(features, sizes, rounds)
        boxes, scores = self.roi_heads(features, proposals, sizes)
        sound = logits.isfinite() & boxes.isfinite().all(-1) & scores.isfinite().all(-1)
        wanted = constant(range(self.classes) if classes is None else classes, boxes.device).long()
        scores = scores[..., wanted].masked_fill(~sound[..., None], 0)
        scores = scores.masked_fill(scores <= score_threshold, 0).flatten(1)  # by box, then class
        scores, best = scores.topk(min(MOST_CANDIDATES, scores.shape[1]))
        boxes = boxes.gather(1, (best // len(wanted))[..., None].expand(-1, -1, 4)).masked_fill(
            (scores <= 0)[..., None], 0
        )
        found = wanted[best % len(wanted)]
        kept, nms_certain = suppress(boxes, nms_threshold, found, rounds)
        scores, best = scores.masked_fill(~kept, 0).topk(min(max_detections, scores.shape[1]))
        boxes = boxes.gather(1, best[..., None].expand(-1, -1, 4))
        return Instances(boxes, scores, found.gather(1, best), certain & nms_certain)

    def masks(self, features: Sequence[Tensor], boxes: Tensor, pictures: Tensor, classes: Tensor) -> Tensor:
        """Probabilities (R, 28, 28) of what lies in boxes (R, 4) belonging to an object of the class (R,).

        features: float32. pictures: (R,) number of the one that each box lies in.
        """
        masks: Tensor = self.roi_heads.mask_head(features, boxes, pictures, classes)
        return masks


def vitdet_h() -> ViTDet:
    """The network of the released COCO checkpoint: ViT-H, every eighth block global."""
    return ViTDet(width=1280, depth=32, heads=16, window_blocks=tuple(i for i in range(32) if i % 8 != 7))


def padded(image: Tensor, size: int) -> Tensor:
    """Normalised, with zeros at the right and below: (3, h, w) to (3, size, size)."""
    mean, std = (constant(values, image.device)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    height, width = image.shape[1:]
    return functional.pad((image - mean) / std, (0, size - width, 0, size - height))
