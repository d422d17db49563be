"""The cascade of box heads (Cai and Vasconcelos, Cascade R-CNN, CVPR 2018): each refines the boxes of the last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fourd_humans.detection.vitdet.boxes import apply_deltas, clip, pool
from fourd_humans.detection.vitdet.masks import MaskHead
from fourd_humans.detection.vitdet.pyramid import NormedConv

POOLED_SIZE = 7
DELTA_WEIGHTS = ((10.0, 5.0), (20.0, 10.0), (30.0, 15.0))  # of the stages, see `apply_deltas`


class BoxHead(nn.Sequential):
    """Normed 3x3 convolutions with ReLU and one linear layer: (R, C, 7, 7) to (R, hidden)."""

    def __init__(self, channels: int, convolutions: tuple[int, ...], hidden: int) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, width in enumerate(convolutions, start=1):
            layers[f"conv{i}"] = NormedConv(channels, width, 3)
            layers[f"relu{i}"] = nn.ReLU()
            channels = width
        layers["flatten"] = nn.Flatten()
        layers["fc1"] = nn.Linear(channels * POOLED_SIZE**2, hidden)
        layers["relu"] = nn.ReLU()
        super().__init__(layers)


class BoxPredictor(nn.Module):
    """Class logits, the last of which says that there is nothing, and one set of deltas for all classes."""

    def __init__(self, hidden: int, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(hidden, classes + 1)
        self.bbox_pred = nn.Linear(hidden, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class RegionHeads(nn.Module):
    """What is done with regions: the stages of the cascade, and the mask head that is run on their result."""

    def __init__(
        self,
        channels: int,
        classes: int,
        box_convolutions: tuple[int, ...],
        box_hidden: int,
        mask_convolutions: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.box_head = nn.ModuleList(BoxHead(channels, box_convolutions, box_hidden) for _ in DELTA_WEIGHTS)
        self.box_predictor = nn.ModuleList(BoxPredictor(box_hidden, classes) for _ in DELTA_WEIGHTS)
        self.mask_head = MaskHead(channels, mask_convolutions, classes)

    def forward(self, features: Sequence[Tensor], proposals: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Run the stages on all pictures' proposals (B, N, 4). sizes: (B, 2) height and width of the pictures.

        Returns the refined boxes (B, N, 4), clipped, and the class probabilities (B, N, classes), averaged over the
        stages.
        """
        count, per_picture = proposals.shape[:2]
        pictures = torch.arange(count, device=proposals.device).repeat_interleave(per_picture)
        boxes = proposals
        probabilities = []
        for head, predictor, weights in zip(self.box_head, self.box_predictor, DELTA_WEIGHTS, strict=True):
            logits, deltas = predictor(head(pool(features, boxes.flatten(0, 1), pictures, POOLED_SIZE)))
            boxes = clip(apply_deltas(deltas.float().view_as(boxes), boxes, weights), sizes)
            probabilities.append(logits.float().softmax(-1)[:, :-1])
        return boxes, torch.stack(probabilities).mean(0).unflatten(0, (count, per_picture))
