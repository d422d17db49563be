"""Detection in every second frame: between two frames in which people hardly move, they are interpolated.

At usual frame rates a person's keypoints move by less from one frame to the next than the detector errs, so most of the
detector's work repeats itself. Whether they do is decided from the detections on both sides, not from the frame rate:
where people move fast, appear or vanish, or where a cut lies between, the detector sees the frame itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.people import Detections, Float, Frame

MIN_KEYPOINT_SCORE = 0.3  # in both frames, of the keypoints whose movement is looked at
MAX_MEAN_MOVEMENT = 0.06  # of a person's keypoints between the two frames, over half the box's longer side
MAX_MOVEMENT = 0.15  # of any one of them

Detect = Callable[[Sequence[Frame]], list[Detections]]


class InterpolatingDetector:
    """A detector with keypoints that sees the first and last frame of each batch, and others where it needs to.

    Frames in between get interpolated people, with `Detections.between` telling which. Where `interpolate` refuses, the
    middle frame is detected, and its two sides are tried again. Batches are independent: this has no state.
    """

    def __init__(self, detect: Detect) -> None:
        self.detect = detect

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        found: dict[int, Detections] = {}
        needed = sorted({0, len(frames) - 1} if frames else ())
        while needed:
            found |= zip(needed, self.detect([frames[i] for i in needed]), strict=True)
            needed = []
            ends = sorted(i for i in found if found[i].between is None)
            for start, end in pairwise(ends):
                consecutive = frames[end].index - frames[start].index == end - start
                for i in range(start + 1, end):
                    people = interpolate(found[start], found[end], (i - start) / (end - start)) if consecutive else None
                    if people is None:
                        needed.append((start + end) // 2)
                        break
                    found[i] = people
        return [found[i] for i in range(len(frames))]


def interpolate(before: Detections, after: Detections, share: float = 0.5) -> Detections | None:
    """The people between two frames, or None where they are not the same or move too much to tell.

    share: of the way from one frame to the other. Scores, of people and keypoints, are the lower of the two.
    """
    if len(before) != len(after) or before.keypoints is None or after.keypoints is None:
        return None
    mean, largest = _movement(before.keypoints, after.keypoints, before.boxes)
    rows, columns = linear_sum_assignment(mean)
    if (mean[rows, columns] > MAX_MEAN_MOVEMENT).any() or (largest[rows, columns] > MAX_MOVEMENT).any():
        return None
    keypoints = (1 - share) * before.keypoints[rows] + share * after.keypoints[columns]
    keypoints[..., 2] = np.minimum(before.keypoints[rows, :, 2], after.keypoints[columns, :, 2])
    return Detections(
        boxes=((1 - share) * before.boxes[rows] + share * after.boxes[columns]).astype(np.float32),
        scores=np.minimum(before.scores[rows], after.scores[columns]),
        keypoints=keypoints.astype(np.float32),
        between=np.stack([rows, columns], 1),
    )


def _movement(before: Float, after: Float, boxes: Float) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(N, M) each: the mean and the largest movement of keypoints (N, 17, 3) to (M, 17, 3), relative to the size of
    people with boxes (N, 4). A pair without a common keypoint moves infinitely far."""
    size = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), 1) / 2
    moved = np.linalg.norm(before[:, None, :, :2] - after[None, :, :, :2], axis=3) / size[:, None, None]
    common = np.minimum(before[:, None, :, 2], after[None, :, :, 2]) > MIN_KEYPOINT_SCORE
    count = common.sum(2)
    mean = np.where(count > 0, (moved * common).sum(2) / np.maximum(count, 1), 1e6)
    return mean, np.where(common, moved, 0).max(2, initial=0)
