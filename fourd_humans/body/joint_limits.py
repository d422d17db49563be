"""The range of motion of SMPL's joints: a normal distribution and limits for fits of poses, and the usual range.

All are of rotation vectors (axis times angle) in the parent joint's frame. SMPL's rest pose is a T: arms out to the
sides, x to the body's left, y up, z forward. `POSE_STD`, `POSE_MIN` and `POSE_MAX` (radians) are wide, so that they
hold for dancers and acrobats; `USUAL_MIN` and `USUAL_MAX` (degrees) lie within them and are those of daily life.
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


# joint -> lowest and highest of x, y and z in daily life, degrees. Of limbs the left; the right mirrors it.
# Joints that are not named (feet, hands) do not move.
_USUAL_RANGES = {
    "left_hip": ((-110, 30), (-30, 30), (-15, 40)),  # raised forward is -x
    "left_knee": ((0, 140), (-8, 8), (-5, 5)),
    "left_ankle": ((-25, 35), (-10, 10), (-10, 10)),
    "spine1": ((-10, 40), (-20, 20), (-15, 15)),
    "spine2": ((-8, 25), (-15, 15), (-12, 12)),
    "spine3": ((-5, 15), (-10, 10), (-8, 8)),
    "neck": ((-20, 25), (-35, 35), (-15, 15)),
    "head": ((-15, 20), (-25, 25), (-12, 12)),
    "left_collar": ((-5, 5), (-15, 10), (-15, 10)),
    "left_shoulder": ((-45, 45), (-95, 30), (-85, 60)),  # hanging down is -z, raised forward is -y
    "left_elbow": ((-45, 45), (-140, 0), (-5, 5)),  # bent is -y
    "left_wrist": ((-35, 35), (-20, 20), (-40, 40)),
}
_STANDING = {"left_shoulder": (5, -5, -72), "left_elbow": (0, -15, 0), "left_knee": (5, 0, 0), "left_hip": (-3, 0, 3)}


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


def _usual() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, highest and standing angles (69,), degrees."""
    low, high, standing = np.zeros((23, 3)), np.zeros((23, 3)), np.zeros((23, 3))
    mirrored = np.array([1, -1, -1])
    for name, ranges in _USUAL_RANGES.items():
        joint = _joint(name)
        low[joint], high[joint] = np.array(ranges).T
        standing[joint] = _STANDING.get(name, (0, 0, 0))
        if name.startswith("left_"):
            twin = _joint(name.replace("left_", "right_"))
            ends = np.stack([low[joint] * mirrored, high[joint] * mirrored])
            low[twin], high[twin], standing[twin] = ends.min(0), ends.max(0), standing[joint] * mirrored
    return low.ravel(), high.ravel(), standing.ravel()


# (69,) each, degrees
USUAL_MIN, USUAL_MAX, STANDING_POSE = _usual()
