"""Which people's landmarks need not be read: of those who hardly move, they are interpolated between two frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.keypoints import match_people
from fourd_humans.people import Detections, Float, Frame
from fourd_humans.recovery.landmarks.regions import MIN_BONE_SCORE

LIMIT = 0.5  # of the movement within which the detector's keypoints are interpolated: depth is measured here alone

Person = tuple[int, int]  # the number of a frame in the batch, and of a person in it


def interpolated_people(
    frames: Sequence[Frame], detections: Sequence[Detections]
) -> dict[Person, tuple[Person, Person]]:
    """People between two frames of a batch, with the same people in the frame before and in the frame after.

    As in `detection.interpolation`, it begins with the first and the last frame of the batch; for those who move too
    much in between, the two halves are tried again. All others are to be read. So is who overlaps with one of these:
    where a person is read again, masks of the others are needed.
    """
    between: dict[Person, tuple[Person, Person]] = {}
    stretches = [(0, len(frames) - 1)]
    while stretches:
        start, end = stretches.pop(0)
        if end - start < 2 or any(detections[i].keypoints is None for i in (start, end)):
            continue
        stretches += [(start, (start + end) // 2), ((start + end) // 2, end)]
        if frames[end].index - frames[start].index != end - start:
            continue
        last = _hardly_moved(detections[start], detections[end])
        for i in range(start + 1, end):
            for first, row in _hardly_moved(detections[start], detections[i]).items():
                if first in last:
                    between.setdefault((i, row), ((start, first), (end, last[first])))
    return _without_overlaps(between, detections)


def _hardly_moved(before: Detections, after: Detections) -> dict[int, int]:
    if after.keypoints is None:
        return {}
    pairs, still = match_people(before, after, LIMIT)
    return dict(pairs[still].tolist())


def _without_overlaps(
    between: dict[Person, tuple[Person, Person]], detections: Sequence[Detections]
) -> dict[Person, tuple[Person, Person]]:
    read = [
        np.array([(i, row) not in between for row in range(len(found))], bool) for i, found in enumerate(detections)
    ]
    for found, chosen in zip(detections, read, strict=True):
        if found.keypoints is None or chosen.all():
            continue
        overlaps = reaches_into(found.boxes, found.keypoints)
        overlaps |= overlaps.T
        while (more := overlaps[chosen].any(0) & ~chosen).any():
            chosen |= more
    return {(i, row): ends for (i, row), ends in between.items() if not read[i][row]}


def reaches_into(boxes: Float, keypoints: Float) -> NDArray[np.bool_]:
    """(N, N) whether a keypoint of person j lies in the box of person i; boxes (N, 4), keypoints (N, 17, 3)."""
    points, detected = keypoints[None, ..., :2], keypoints[..., 2] > MIN_BONE_SCORE
    inside = ((points > boxes[:, None, None, :2]) & (points < boxes[:, None, None, 2:])).all(3)
    reaches = np.asarray((inside & detected).any(2))
    np.fill_diagonal(reaches, False)
    return reaches
