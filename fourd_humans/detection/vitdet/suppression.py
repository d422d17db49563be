"""Non-maximum suppression on tensors of fixed size and, on a GPU, in a fixed number of steps, so that nothing waits."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor


def suppress(
    boxes: Tensor, threshold: float, groups: Tensor | None = None, rounds: int | None = None
) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression: a box is removed if its IoU with a better one that is kept is above `threshold`.

    boxes: (..., N, 4) xyxy, best first; those without area neither remove nor are removed. groups: (..., N), each of
    which is suppressed by itself.
    rounds: the greedy order is replaced by rounds, in which all boxes are decided at once by the answer of the round
    before. Where a round changes nothing, the answer is the greedy one. None: until then, which asks the device every
    time; a number: so many, without asking, which is enough if no longer chain of boxes removes one another.
    Returns which boxes are kept (..., N), and whether that is certain (...).
    """
    removes = (overlaps(boxes) > threshold).triu(1)  # (..., i, j): if it is kept, i removes j
    if groups is not None:
        removes &= groups[..., :, None] == groups[..., None, :]
    before = torch.ones_like(removes[..., 0])
    for done in count(1):
        kept = ~(removes & before[..., None]).any(-2)
        if done == rounds or (rounds is None and torch.equal(kept, before)):
            break
        before = kept
    return kept, (before == kept).all(-1)


def overlaps(boxes: Tensor) -> Tensor:
    """IoU (..., N, N) of every pair of boxes (..., N, 4) xyxy; not a number where neither has an area."""
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(-1))
    width = (right.minimum(right.mT) - left.maximum(left.mT)).clamp(min=0)
    shared = width * (bottom.minimum(bottom.mT) - top.maximum(top.mT)).clamp(min=0)
    area = (right - left) * (bottom - top)
    return shared / (area + area.mT - shared)
