"""How far people move from one frame to another, by their keypoints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.people import Detections, Float

MIN_KEYPOINT_SCORE = 0.3  # in both frames, of the keypoints whose movement is looked at
MAX_MEAN_MOVEMENT = 0.06  # of a person's keypoints, over half the box's longer side
MAX_MOVEMENT = 0.15  # of any one of them


def match_people(
    before: Detections, after: Detections, limit: float = 1.0
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The people of two frames matched by their keypoints, which both must have.

    limit: factor on how far people may move.
    Returns: (P, 2) the index of each matched person in both frames, and (P,) whether they hardly move.
    """
    assert before.keypoints is not None
    assert after.keypoints is not None
    mean, largest = _movement(before.keypoints, after.keypoints, before.boxes)
    pairs = np.stack(linear_sum_assignment(mean), 1)
    of_pairs = pairs[:, 0], pairs[:, 1]
    return pairs, (mean[of_pairs] <= limit * MAX_MEAN_MOVEMENT) & (largest[of_pairs] <= limit * MAX_MOVEMENT)


def _movement(before: Float, after: Float, boxes: Float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(N, M) each: the mean and the largest movement of keypoints (N, 17, 3) to (M, 17, 3), relative to the size of
    people with boxes (N, 4). A pair without a common keypoint moves infinitely far."""
    size = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 1) / 2
    moved = np.linalg.norm(before[:, None, :, :2] - after[None, :, :, :2], axis=3) / size[:, None, None]
    common = np.minimum(before[:, None, :, 2], after[None, :, :, 2]) > MIN_KEYPOINT_SCORE
    count = common.sum(2)
    mean = np.where(count > 0, (moved * common).sum(2) / np.maximum(count, 1), 1e6)
    return mean, np.where(common, moved, 0).max(2, initial=0)
