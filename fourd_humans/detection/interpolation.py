"""Detection in every second frame: between two frames in which people hardly move, they are interpolated.

At usual frame rates a person's keypoints move by less from one frame to the next than the detector errs, so most of the
detector's work repeats itself. Whether they do is decided from the detections on both sides, not from the frame rate:
where people move fast, appear or vanish, or where a cut lies between, the detector sees the frame itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fourd_humans.geometry.keypoints import match_people
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
        detected: dict[int, Detections] = {}
        between: dict[int, Detections] = {}
        needed = sorted({0, len(frames) - 1} if frames else ())
        while needed:
            detected |= zip(needed, self.detect([frames[i] for i in needed]), strict=True)
            needed = []
            for start, end in pairwise(sorted(detected)):
                consecutive = frames[end].index - frames[start].index == end - start
                for i in range(start + 1, end):
                    share = (i - start) / (end - start)
                    people = interpolate(detected[start], detected[end], share) if consecutive else None
                    if people is None:
                        needed.append((start + end) // 2)
                        break
                    between[i] = people
        return [detected[i] if i in detected else between[i] for i in range(len(frames))]


def interpolate(before: Detections, after: Detections, share: float = 0.5) -> Detections | None:
    """The people between two frames, or None where they are not the same or move too much to tell.

    share: of the way from one frame to the other. Scores, of people and keypoints, are the lower of the two.
    """
    if len(before) != len(after) or before.keypoints is None or after.keypoints is None:
        return None
    if before.group is not None or after.group is not None:  # it is not certain who is there
        return None
    pairs, still = match_people(before, after)
    if not still.all():
        return None
    rows, columns = pairs.T
    keypoints = (1 - share) * before.keypoints[rows] + share * after.keypoints[columns]
    keypoints[..., 2] = np.minimum(before.keypoints[rows, :, 2], after.keypoints[columns, :, 2])
    return Detections(
        boxes=((1 - share) * before.boxes[rows] + share * after.boxes[columns]).astype(np.float32),
        scores=np.minimum(before.scores[rows], after.scores[columns]),
        keypoints=keypoints.astype(np.float32),
    )
