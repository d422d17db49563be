"""Which people's landmarks need not be read: of those who move evenly, they are interpolated between two frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.keypoints import interpolate_keypoints, is_near, match_people
from fourd_humans.people import Detections, Float, Frame
from fourd_humans.recovery.landmarks.regions import MIN_BONE_SCORE

# Factors on the distance within which keypoints are near, see `geometry.keypoints.is_near`: from the line between two
# frames, and between the frames themselves, where one lies between them and where several do. The detector allows 1 and
# any distance, but depth and masks, in which limbs fade that are not near, come from the landmarks alone.
FROM_LINE, ACROSS_ONE, ACROSS_SEVERAL = 0.5, 1.0, 0.5

Person = tuple[int, int]  # the number of a frame in the batch, and of a person in it


def interpolated_people(
    frames: Sequence[Frame], detections: Sequence[Detections]
) -> dict[Person, tuple[Person, Person]]:
    """People between two frames of a batch, with the same people in the frame before and in the frame after.

    As in `detection.interpolation`, it begins with the first and the last frame of the batch; for those who leave the
    straight line from one to the other, the two halves are tried again. All others are to be read. So is who overlaps
    with one of these: where a person is read again, masks of the others are needed.
    """
    between: dict[Person, tuple[Person, Person]] = {}
    stretches = [(0, len(frames) - 1)]
    while stretches:
        start, end = stretches.pop(0)
        if end - start < 2 or any(found.keypoints is None for found in detections[start : end + 1]):
            continue
        stretches += [(start, (start + end) // 2), ((start + end) // 2, end)]
        if frames[end].index - frames[start].index != end - start:
            continue
        across = ACROSS_ONE if end - start == 2 else ACROSS_SEVERAL
        last = _matched(detections[start], detections[end], across)
        on_line: dict[int, list[int]] = {row: [] for row in last}  # of the people at `start`, in each frame between
        for i in range(start + 1, end):
            share = (i - start) / (end - start)
            rows = {r: m for r, m in _matched(detections[start], detections[i]).items() if r in on_line}
            near = _on_line(detections[start], detections[i], detections[end], rows, last, share)
            on_line = {row: [*on_line[row], rows[row]] for row in near}
        for row, inside in on_line.items():
            if (start, row) in between or (end, last[row]) in between:  # of a longer stretch
                continue
            for i, place in enumerate(inside, start + 1):
                between.setdefault((i, place), ((start, row), (end, last[row])))
    return _without_overlaps(between, detections)


def _matched(before: Detections, after: Detections, limit: float | None = None) -> dict[int, int]:
    """The row in the frame after of each of the people before who is in both, within a limit where there is one."""
    assert before.keypoints is not None
    assert after.keypoints is not None
    pairs, same = match_people(before, after)
    if limit is not None:
        rows, others = pairs.T
        same &= is_near(before.keypoints[rows], after.keypoints[others], before.boxes[rows], limit)
    return dict(pairs[same].tolist())


def _on_line(
    before: Detections, middle: Detections, after: Detections, at: dict[int, int], end: dict[int, int], share: float
) -> list[int]:
    """Those people of the frame before whose keypoints in the middle lie near the straight line to the frame after.

    at, end: their rows in the middle and after.
    """
    assert before.keypoints is not None
    assert middle.keypoints is not None
    assert after.keypoints is not None
    rows = list(at)
    expected = interpolate_keypoints(before.keypoints[rows], after.keypoints[[end[row] for row in rows]], share)
    near = is_near(expected, middle.keypoints[list(at.values())], before.boxes[rows], FROM_LINE)
    return [row for row, is_on_line in zip(rows, near, strict=True) if is_on_line]


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
