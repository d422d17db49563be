"""The fit on bodies that are known: derivatives, and poses found again from their own points."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.recovery.landmarks.fitting import Targets, fit, moved_to
from fourd_humans.recovery.landmarks.measurements import POINTS, SEEN
from fourd_humans.recovery.landmarks.points import BodyPoints
from fourd_humans.recovery.landmarks.start import first_rotations

PLACE = np.array([0.2, 0.1, 4.0])


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def points(body_model):
    return BodyPoints(body_model, np.array(POINTS))


def some_pose(seed, count=4):
    """Natural enough: knees and elbows bent their way, arms hanging, the whole upright in a y-down camera."""
    rng = np.random.default_rng(seed)
    turns = rng.normal(0, 0.1, (count, 24, 3))
    turns[:, 4:6, 0] += rng.uniform(0, 1.2, (count, 2))
    turns[:, 1:3, 0] -= rng.uniform(0, 0.8, (count, 2))
    turns[:, 16, 2] -= 1.0
    turns[:, 17, 2] += 1.0
    turns[:, 18, 1] -= rng.uniform(0, 1.2, count)
    turns[:, 19, 1] += rng.uniform(0, 1.2, count)
    rotations = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)
    upright = Rotation.from_euler("xy", [[np.pi, angle] for angle in rng.uniform(-3, 3, count)]).as_matrix()
    rotations[:, 0] = upright @ rotations[:, 0]
    return rotations, rng.normal(0, 0.5, (count, 10))


def exact_targets(metres, place=PLACE):
    seen = metres[:, SEEN] + place
    one = np.ones(metres.shape[:2])
    return Targets(metres, one, seen[..., :2] / seen[..., 2:], np.ones(seen.shape[:2]))


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
            np.testing.assert_allclose(posed.by_turn[..., 3 * joint + axis], change, atol=1e-4)
    for beta in range(10):
        change = (points.pose(rotations, betas + small * np.eye(10)[beta]).points - posed.points) / small
        np.testing.assert_allclose(posed.by_betas[..., beta], change, atol=1e-4)


def test_poses_are_found_again(points):
    rotations, betas = some_pose(2, count=8)
    metres = points.pose(rotations, betas).points
    start = first_rotations(points, POINTS, metres)
    fitted = fit(points, exact_targets(metres), SEEN, start)
    found = points.pose(fitted.rotations, fitted.betas).points
    away = np.linalg.norm((found + fitted.place[:, None]) - (metres + PLACE), axis=2)
    assert np.median(away) < 0.03
    assert np.abs(fitted.place[:, 2] - PLACE[2]).max() < 0.4


@pytest.mark.parametrize("spoil", ["nothing seen", "all one place", "noise", "huge"])
def test_whatever_is_measured_the_fit_is_finite_and_bounded(points, spoil):
    rotations, betas = some_pose(3)
    targets = exact_targets(points.pose(rotations, betas).points)
    rng = np.random.default_rng(0)
    if spoil == "nothing seen":
        targets = Targets(targets.metres, targets.surety_3d * 0, targets.rays, targets.surety_2d * 0)
    elif spoil == "all one place":
        targets = Targets(targets.metres * 0, targets.surety_3d, targets.rays * 0, targets.surety_2d)
    elif spoil == "noise":
        targets = Targets(rng.normal(size=targets.metres.shape), targets.surety_3d, targets.rays, targets.surety_2d)
    else:
        targets = Targets(targets.metres * 1e3, targets.surety_3d, targets.rays * 1e3, targets.surety_2d)
    fitted = fit(points, targets, SEEN, first_rotations(points, POINTS, targets.metres))
    for array in (fitted.rotations, fitted.betas, fitted.place):
        assert np.isfinite(array).all()
    assert np.abs(fitted.betas).max() < 5
    assert (fitted.place[:, 2] > 0).all()
    identity = np.broadcast_to(np.eye(3), fitted.rotations.shape)
    np.testing.assert_allclose(fitted.rotations @ fitted.rotations.swapaxes(-1, -2), identity, atol=1e-6)


def test_a_place_is_found_from_what_is_seen(points):
    rotations, betas = some_pose(4)
    metres = points.pose(rotations, betas).points[:, : len(COCO_17)]
    seen = metres + PLACE
    found = moved_to(
        metres, seen[..., :2] / seen[..., 2:], np.ones(metres.shape[:2]), np.tile([0.0, 0.0, 3.0], (4, 1)), 8
    )
    np.testing.assert_allclose(found, np.tile(PLACE, (4, 1)), atol=1e-3)
