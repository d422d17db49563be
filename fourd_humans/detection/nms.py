"""Overlap between people, by box and by keypoints, and non-maximum suppression on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourd_humans.people import Float

# How far annotators spread around each COCO keypoint, as a fraction of the person's size (COCO's keypoint evaluation).
COCO_SIGMAS = np.array(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float32
) / 1000  # fmt: skip


def keypoint_similarity(keypoints: Float, boxes: Float, minimum_score: float = 0.1) -> Float:
    """Object keypoint similarity of every pair: (N, 17, 3) and the people's (N, 4) boxes to (N, N).

    COCO's measure, exp(-d² / (2 s² k²)) averaged over the keypoints that both have with at least `minimum_score`, with
    s² the smaller of the two boxes' areas. Pairs that share no keypoint have 0.
    """
    places, visible = keypoints[..., :2], keypoints[..., 2] >= minimum_score
    distance = ((places[:, None] - places[None]) ** 2).sum(-1)
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 1, None).prod(-1)
    scale = np.minimum(area[:, None], area[None])[..., None] * (2 * COCO_SIGMAS) ** 2
    both = visible[:, None] & visible[None]
    return (np.exp(-distance / (2 * scale)) * both).sum(-1) / np.maximum(both.sum(-1), 1)


def suppress(scores: Float, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: of people that are the `same` (N, N), keep the best; indices, best first."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if not same[index, kept].any():
            kept.append(int(index))
    return np.array(kept, np.int64)
