"""Points of the body: those of the body model itself, and derivatives that agree with small changes."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import LEFT_HAND, RIGHT_HAND, BodyPoints

POINTS = np.array([*range(45), LEFT_HAND, RIGHT_HAND])


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def points(body_model):
    return BodyPoints(body_model, POINTS)


def some_pose(seed, count=4):
    rng = np.random.default_rng(seed)
    rotations = Rotation.from_rotvec(rng.normal(0, 0.2, (count * 24, 3))).as_matrix().reshape(count, 24, 3, 3)
    return rotations, rng.normal(0, 0.5, (count, 10))


def test_points_are_those_of_the_body_model(body_model, points):
    rotations, betas = some_pose(0)
    turns = torch.from_numpy(rotations).float()
    output = body_model(turns[:, :1], turns[:, 1:], torch.from_numpy(betas).float())
    expected = torch.cat([output.joints, output.skeleton[:, 22:24]], 1)[:, POINTS].numpy()
    # all but the pose blend shapes
    assert np.linalg.norm(points.pose(rotations, betas).points - expected, axis=2).mean() < 0.005


def test_derivatives_are_those_of_small_changes(points):
    rotations, betas = some_pose(1, count=1)
    posed, small = points.pose(rotations, betas), 1e-6
    for joint in (0, 4, 9, 18):
        for axis in range(3):
            turned = rotations.copy()
            turned[0, joint] = Rotation.from_rotvec(small * np.eye(3)[axis]).as_matrix() @ turned[0, joint]
            change = (points.pose(turned, betas).points - posed.points) / small
            np.testing.assert_allclose(posed.by_rotation[..., 3 * joint + axis], change, atol=1e-4)
    for beta in range(10):
        change = (points.pose(rotations, betas + small * np.eye(10)[beta]).points - posed.points) / small
        np.testing.assert_allclose(posed.by_betas[..., beta], change, atol=1e-4)
