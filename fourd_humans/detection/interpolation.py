"""Detection in every second frame: where people move little or evenly, they are interpolated between two frames.

At usual frame rates a person's keypoints move by less from one frame to the next than the detector errs, so most of the
detector's work repeats itself. Whether they do is decided from the detections themselves, not from the frame rate:
where people change their movement fast, appear or vanish, or where a cut lies between, the detector sees the frame
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.keypoints import interpolate_keypoints, is_near, match_people
from fourd_humans.people import Detections, Frame

Detect = Callable[[Sequence[Frame]], list[Detections]]


class InterpolatingDetector:
    """A detector with keypoints that sees the first and last frame of each batch, and others where it needs to.

    Frames in between get interpolated people. Where `interpolate` refuses, the middle frame is detected, and its two
    sides are tried again. Batches are independent: this has no state.
    """

    def __init__(self, detect: Detect) -> None:
        self.detect = detect

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        by_number = {frame.index: frame for frame in frames}
        detected: dict[int, Detections] = {}
        found: dict[int, Detections] = {}
        needed = sorted({min(by_number), max(by_number)} if frames else ())
        while needed:
            detected |= zip(needed, self.detect([by_number[i] for i in needed]), strict=True)
            needed = []
            for start, end in pairwise(sorted(detected)):
                inside = [i for i in by_number if start < i < end]
                people = interpolate(detected, start, end) if len(inside) == end - start - 1 else None
                if people is not None:
                    found |= zip(inside, people, strict=True)
                elif inside:
                    needed.append(inside[(len(inside) - 1) // 2])
        return [detected[i] if i in detected else found[i] for i in by_number]


def interpolate(detected: Mapping[int, Detections], start: int, end: int) -> list[Detections] | None:
    """The people of the frames between `start` and `end`, or None where they are not the same or it is not certain
    how they move.

    detected: frames by number. Everybody must hardly have moved, or move evenly: from the frame as far before, and to
    the one as far behind, where they are detected (one of them must be). The middle of three evenly spaced frames is
    four times as far from the line as the line between two neighbours is from the movement, if that bends evenly.
    """
    before, after = detected[start], detected[end]
    rows = _same_people(before, after)
    if rows is None:
        return None
    assert before.keypoints is not None
    assert after.keypoints is not None
    first, last, boxes = before.keypoints, after.keypoints[rows], after.boxes[rows]
    near = is_near(first, last, before.boxes)
    if not near.all() and not (near | _even(detected, start, end)).all():
        return None
    shares = [(i - start) / (end - start) for i in range(start + 1, end)]
    return [
        Detections(
            boxes=(1 - share) * before.boxes + share * boxes,
            scores=np.minimum(before.scores, after.scores[rows]),
            keypoints=interpolate_keypoints(first, last, share),
        )
        for share in shares
    ]


def _even(detected: Mapping[int, Detections], start: int, end: int) -> NDArray[np.bool_]:
    """(N,) who of those at `start` moves on in the same way as before, and as behind the two frames."""
    step = end - start
    even, compared = np.ones(len(detected[start]), bool), False
    for first, middle, last in ((start - step, start, end), (start, end, end + step)):
        if first not in detected or last not in detected:
            continue
        rows, onwards = (_same_people(detected[i], detected[j]) for i, j in ((first, middle), (middle, last)))
        if rows is None or onwards is None:
            return np.zeros(len(even), bool)
        a, b, c = (detected[i].keypoints for i in (first, middle, last))
        assert a is not None
        assert b is not None
        assert c is not None
        expected = interpolate_keypoints(a, c[onwards[rows]], 0.5)
        at_middle = is_near(b[rows], expected, detected[middle].boxes[rows])
        even &= at_middle[np.argsort(rows)] if middle == start else at_middle
        compared = True
    return even & compared


def _same_people(before: Detections, after: Detections) -> NDArray[np.int64] | None:
    """(N,) the row of each of the people in the other frame; None where they are not certainly the same."""
    if len(before) != len(after) or before.keypoints is None or after.keypoints is None:
        return None
    if before.group is not None or after.group is not None:  # it is not certain who is there
        return None
    pairs, same = match_people(before, after)
    return pairs[:, 1] if same.all() else None
