"""How boxes lie on one another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def intersection_over_union(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M) of boxes (N, 4) and (M, 4), xyxy. Boxes without area overlap nothing."""
    common = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0.0)


def share_inside(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M): how much of each box of `a` lies inside each of `b`, in 0..1."""
    size = area(a)[:, None]
    return np.where(size > 0, intersection(a, b) / np.where(size > 0, size, 1), 0.0)


def intersection(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M) areas that boxes (N, 4) and (M, 4), xyxy, have in common."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.clip(high - low, 0, None), axis=2, dtype=np.float64)


def area(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) of boxes (N, 4), xyxy; 0 where a corner lies before the other."""
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1, dtype=np.float64)
