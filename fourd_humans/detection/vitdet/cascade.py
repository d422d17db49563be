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

    def forward(
        self, features: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Run the stages on all pictures' proposals (N, 4).

        Returns for each picture the refined boxes (N, 4), clipped to its (height, width), and the class probabilities
        (N, classes), averaged over the stages.
        """
        counts = [len(p) for p in proposals]
        boxes = list(proposals)
        probabilities = []
        for head, predictor, weights in zip(self.box_head, self.box_predictor, DELTA_WEIGHTS, strict=True):
            logits, deltas = predictor(head(pool(features, boxes, POOLED_SIZE)))
            moved = apply_deltas(deltas.float(), torch.cat(boxes), weights)
            boxes = [clip(b, size) for b, size in zip(moved.split(counts), sizes, strict=True)]
            probabilities.append(logits.float().softmax(-1)[:, :-1])
        mean = torch.stack(probabilities).mean(0)
        return list(zip(boxes, mean.split(counts), strict=True))
