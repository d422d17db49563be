"""Which detections are kept, and why the others are rejected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_humans.people import Float, Rejected


@dataclass(frozen=True)
class Limits:
    """Least score, and least width and height of a box in pixels of the frame."""

    score: float = 0.0
    width: float = 0.0
    height: float = 0.0

    def filter(self, boxes: Float, scores: Float) -> tuple[NDArray[np.int64], list[Rejected]]:
        """Indices of the boxes (N, 4) xyxy with scores (N,) that are kept, and the rejected ones with the reason."""
        width, height = (boxes[:, 2:] - boxes[:, :2]).T
        unsure = scores < self.score
        empty = (width <= 0) | (height <= 0)
        small = (width < self.width) | (height < self.height)
        out = unsure | empty | small
        rejected = []
        for i in np.flatnonzero(out):
            reason = f"smaller than {self.width:g}x{self.height:g} pixels"
            if unsure[i]:
                reason = f"score below {self.score:g}"
            elif empty[i]:
                reason = "box without area"
            x1, y1, x2, y2 = (float(number) for number in boxes[i])
            rejected.append(Rejected((x1, y1, x2, y2), float(scores[i]), reason))
        return np.flatnonzero(~out), rejected
