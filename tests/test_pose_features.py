from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.people import Bodies
from fourd_humans.pose_features import motion_features, repair_rotations


@pytest.fixture
def bodies(random_poses):
    poses = random_poses(4)
    rotations, zeros = poses[:, :216].reshape(4, 24, 3, 3), np.zeros((4, 45, 3), np.float32)
    return Bodies(
        rotations[:, :1], rotations[:, 1:], poses[:, 216:226], np.tile(np.float32([1, 2, 100]), (4, 1)),
        zeros, zeros[..., :2], 1000.0, (0.0, 0.0), "open_body",
    )  # fmt: skip


def test_order_and_units(bodies):
    numbers = motion_features(bodies)
    np.testing.assert_array_equal(numbers.values[:, :9], bodies.global_orient.reshape(4, 9))
    np.testing.assert_array_equal(numbers.values[:, 9:216], bodies.body_pose.reshape(4, 207))
    np.testing.assert_array_equal(numbers.values[:, 216:226], bodies.betas)
    np.testing.assert_array_equal(numbers.values[:, 226:], [[1, 2, 0.5]] * 4)
    assert numbers.usable.all()
    assert numbers.repaired == 0


def test_matrices_that_are_no_rotations_are_mended_and_counted(bodies):
    spoilt = replace(bodies, body_pose=bodies.body_pose.copy())
    spoilt.body_pose[1, 5] *= 1.5  # the nearest rotation is the one it was
    spoilt.body_pose[2, 6, :, 0] *= -1  # a reflection
    numbers = motion_features(spoilt)
    assert numbers.repaired == 2
    repaired = numbers.values[:, :216].reshape(4, 24, 3, 3)
    np.testing.assert_allclose(repaired[1], np.concatenate([bodies.global_orient, bodies.body_pose], 1)[1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(repaired), 1, atol=1e-5)


def test_bodies_with_nan_are_not_usable(bodies):
    spoilt = replace(bodies, betas=bodies.betas.copy(), global_orient=bodies.global_orient.copy())
    spoilt.betas[0, 2] = np.nan
    spoilt.global_orient[3, 0, 1, 1] = np.inf
    numbers = motion_features(spoilt)
    assert numbers.usable.tolist() == [False, True, True, False]
    assert np.isfinite(numbers.values).all()


def test_half_precision_rotations_pass(random_poses):
    matrices = random_poses(3)[:, :216].reshape(3, 24, 3, 3).astype(np.float16).astype(np.float32)
    assert repair_rotations(matrices)[1] == 0
