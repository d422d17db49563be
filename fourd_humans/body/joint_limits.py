"""The range of motion of SMPL's joints and a normal distribution over it, for fits of poses.

Both are of rotation vectors (axis times angle, radians) in the parent joint's frame. SMPL's rest pose is a T: arms out
to the sides, x to the body's left, y up, z forward. The values are wide, so that they hold for dancers and acrobats.
"""

from __future__ import annotations

import numpy as np

from fourd_humans.body.joints import SMPL_NAMES

# joint -> standard deviation, largest distance from 0; three values are for x, y and z.
_RANGES: dict[str, tuple[float | tuple[float, float, float], ...]] = {
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


def _per_joint(column: int) -> np.ndarray:
    values = np.zeros((len(SMPL_NAMES) - 1, 3))
    for row, name in enumerate(SMPL_NAMES[1:]):
        values[row] = _RANGES[name.removeprefix("left_").removeprefix("right_").rstrip("123")][column]
    return values


def _joint(name: str) -> int:
    return SMPL_NAMES.index(name) - 1


POSE_STD = _per_joint(0)
POSE_MAX = _per_joint(1)
POSE_MIN = -POSE_MAX
POSE_MEAN = np.zeros_like(POSE_STD)
POSE_MEAN[_joint("left_shoulder"), 2], POSE_MEAN[_joint("right_shoulder"), 2] = -1.0, 1.0  # the arms hang
for _side in ("left", "right"):
    POSE_MIN[_joint(f"{_side}_knee"), 0] = -0.1  # knees and elbows bend in one direction
POSE_MAX[_joint("left_elbow"), 1], POSE_MIN[_joint("right_elbow"), 1] = 0.1, -0.1
# (69,) each: three for every joint but the root
POSE_STD, POSE_MEAN, POSE_MIN, POSE_MAX = (a.reshape(-1) for a in (POSE_STD, POSE_MEAN, POSE_MIN, POSE_MAX))
