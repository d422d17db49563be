"""What joints of a body can do and mostly do, as rotation vectors (axis times angle, radians) in their parents' frames.

SMPL's rest pose is a T: arms out to the sides, x to the body's left, y up, z forward. Wide on purpose: acrobats bend.
"""

from __future__ import annotations

import numpy as np

from fourd_humans.body.joints import SMPL_NAMES

# spread: how far from the mean is usual. limit: how far from 0 is possible. Three numbers are for x, y and z.
_USUAL: dict[str, tuple[float | tuple[float, float, float], ...]] = {
    "hip": (1.0, 2.4),
    "knee": ((1.5, 0.15, 0.15), (2.7, 0.3, 0.3)),
    "spine": (0.25, 0.7),
    "ankle": (0.35, 0.9),
    "foot": (0.1, 0.4),
    "neck": (0.3, 0.8),
    "head": (0.3, 0.8),
    "collar": (0.2, 0.5),
    "shoulder": (1.2, 2.6),
    "elbow": ((0.5, 1.5, 0.2), (1.5, 2.7, 0.4)),
    "wrist": (0.3, 1.2),
    "hand": (0.05, 0.2),
}


def _rows(column: int) -> np.ndarray:
    rows = np.zeros((len(SMPL_NAMES) - 1, 3))
    for row, name in enumerate(SMPL_NAMES[1:]):
        part = name.removeprefix("left_").removeprefix("right_").rstrip("123")
        rows[row] = _USUAL[part][column]
    return rows


def _joint(name: str) -> int:
    return SMPL_NAMES.index(name) - 1


SPREAD = _rows(0)
HIGHEST = _rows(1)
LOWEST = -HIGHEST
MEAN = np.zeros_like(SPREAD)
MEAN[_joint("left_shoulder"), 2], MEAN[_joint("right_shoulder"), 2] = -1.0, 1.0  # arms hang
for _side in ("left", "right"):
    LOWEST[_joint(f"{_side}_knee"), 0] = -0.1  # knees and elbows bend one way
HIGHEST[_joint("left_elbow"), 1], LOWEST[_joint("right_elbow"), 1] = 0.1, -0.1
SPREAD, MEAN, LOWEST, HIGHEST = (array.reshape(-1) for array in (SPREAD, MEAN, LOWEST, HIGHEST))  # (69,)
