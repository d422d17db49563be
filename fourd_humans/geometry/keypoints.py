"""How people move from one frame to another, by their keypoints."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.people import Detections, Float

MIN_KEYPOINT_SCORE = 0.3  # in both frames, of the keypoints whose movement is looked at
MAX_MEAN_MOVEMENT = 0.06  # of a person's keypoints, over half the box's longer side
MAX_MOVEMENT = 0.15  # of any one of them
FARTHEST = 0.5  # mean movement from which on two detections are not taken to be the same person


def match_people(before: Detections, after: Detections) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The people of two frames matched by their keypoints, which both must have.

    Returns: (P, 2) the index of each matched person in both frames, and (P,) whether they are near enough to be the
    same person.
    """
    assert before.keypoints is not None
    assert after.keypoints is not None
    mean, _ = _movement(before.keypoints[:, None], after.keypoints[None], _size(before.boxes)[:, None])
    pairs = np.stack(linear_sum_assignment(mean), 1)
    return pairs, mean[pairs[:, 0], pairs[:, 1]] <= FARTHEST


def is_near(first: Float, second: Float, boxes: Float, limit: float = 1.0) -> NDArray[np.bool_]:
    """(N,) whether the keypoints (N, 17, 3) of people with boxes (N, 4) lie near other ones.

    limit: factor on how far apart they may be.
    """
    mean, largest = _movement(first, second, _size(boxes))
    return np.asarray((mean <= limit * MAX_MEAN_MOVEMENT) & (largest <= limit * MAX_MOVEMENT))


def interpolate_keypoints(before: Float, after: Float, share: float) -> Float:
    """Keypoints (N, 17, 3) at a share of the way from one frame to another; scores are the lower of the two."""
    keypoints = (1 - share) * before + share * after
    keypoints[..., 2] = np.minimum(before[..., 2], after[..., 2])
    return np.asarray(keypoints, np.float32)


def _size(boxes: Float) -> Float:
    """(N,) half the longer side."""
    return np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0), 1) / 2


def _movement(before: Float, after: Float, size: Float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The mean and the largest movement of keypoints (..., 17, 3), over the people's size (...).

    People without a common keypoint move infinitely far.
    """
    moved = np.linalg.norm(before[..., :2] - after[..., :2], axis=-1) / size[..., None]
    common = np.minimum(before[..., 2], after[..., 2]) > MIN_KEYPOINT_SCORE
    count = common.sum(-1)
    mean = np.where(count > 0, (moved * common).sum(-1) / np.maximum(count, 1), 1e6)
    return mean, np.where(common, moved, 0).max(-1, initial=0)
