"""The ranges of SMPL's joints: left and right alike, and everyday movements within the limits of fits."""

import numpy as np

from fourd_humans.body.joint_limits import POSE_MAX, POSE_MEAN, POSE_MIN, POSE_STD, STANDING_POSE, USUAL_MAX, USUAL_MIN
from fourd_humans.body.joints import MIRRORED_SMPL, SMPL_NAMES

TWINS = np.array(MIRRORED_SMPL[1:]) - 1


def mirrored(values):
    """(69,) rotation vectors as they are on the other side of the body."""
    return (values.reshape(23, 3)[TWINS] * [1, -1, -1]).ravel()


def test_each_joint_has_its_twin():
    assert SMPL_NAMES[MIRRORED_SMPL[SMPL_NAMES.index("left_wrist")]] == "right_wrist"
    assert MIRRORED_SMPL[0] == 0
    assert [MIRRORED_SMPL[i] for i in MIRRORED_SMPL] == list(range(24))
    assert sum(i == twin for i, twin in enumerate(MIRRORED_SMPL)) == 6  # pelvis, spine, neck and head


def test_both_sides_are_alike():
    for low, high in ((POSE_MIN, POSE_MAX), (USUAL_MIN, USUAL_MAX)):
        ends = np.stack([mirrored(low), mirrored(high)])
        np.testing.assert_allclose(ends.min(0), low)
        np.testing.assert_allclose(ends.max(0), high)
    np.testing.assert_allclose(mirrored(STANDING_POSE), STANDING_POSE)
    np.testing.assert_allclose(mirrored(POSE_MEAN), POSE_MEAN)
    np.testing.assert_allclose(np.abs(mirrored(POSE_STD)), POSE_STD)


def test_everyday_movements_and_standing_lie_within_the_limits():
    assert (np.radians(USUAL_MIN) >= POSE_MIN).all()
    assert (np.radians(USUAL_MAX) <= POSE_MAX).all()
    assert ((USUAL_MIN <= STANDING_POSE) & (STANDING_POSE <= USUAL_MAX)).all()
    assert (POSE_MIN < POSE_MEAN).all()
    assert (POSE_MEAN < POSE_MAX).all()
