"""The fit on known bodies: poses are recovered from their own points, and bad measurements do no harm."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import BodyPoints
from fourd_humans.recovery.landmarks.fitting import Targets, best_translation, fit, initial_rotations
from fourd_humans.recovery.landmarks.measurements import POINT_OF_PIXEL, POINTS

TRANSLATION = np.array([0.2, 0.1, 4.0])


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def points(body_model):
    return BodyPoints(body_model, POINTS)


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


def exact_targets(landmarks_3d, translation=TRANSLATION):
    seen = landmarks_3d[:, POINT_OF_PIXEL] + translation
    one = np.ones(landmarks_3d.shape[:2])
    return Targets(landmarks_3d, one, seen[..., :2] / seen[..., 2:], np.ones(seen.shape[:2]))


def test_poses_are_recovered(points):
    rotations, betas = some_pose(2, count=8)
    landmarks_3d = points.pose(rotations, betas).points
    start = initial_rotations(points, POINTS, landmarks_3d)
    fitted = fit(points, exact_targets(landmarks_3d), POINT_OF_PIXEL, start)
    found = points.pose(fitted.rotations, fitted.betas).points
    away = np.linalg.norm((found + fitted.translation[:, None]) - (landmarks_3d + TRANSLATION), axis=2)
    assert np.median(away) < 0.03
    assert np.abs(fitted.translation[:, 2] - TRANSLATION[2]).max() < 0.4


@pytest.mark.parametrize("spoil", ["nothing seen", "all in one point", "noise", "huge"])
def test_whatever_is_measured_the_fit_is_finite_and_bounded(points, spoil):
    rotations, betas = some_pose(3)
    targets = exact_targets(points.pose(rotations, betas).points)
    rng = np.random.default_rng(0)
    if spoil == "nothing seen":
        targets = replace(targets, confidence_3d=targets.confidence_3d * 0, confidence_2d=targets.confidence_2d * 0)
    elif spoil == "all in one point":
        targets = replace(targets, landmarks_3d=targets.landmarks_3d * 0, image_points=targets.image_points * 0)
    elif spoil == "noise":
        targets = replace(targets, landmarks_3d=rng.normal(size=targets.landmarks_3d.shape))
    else:
        targets = replace(targets, landmarks_3d=targets.landmarks_3d * 1e3, image_points=targets.image_points * 1e3)
    fitted = fit(points, targets, POINT_OF_PIXEL, initial_rotations(points, POINTS, targets.landmarks_3d))
    for array in (fitted.rotations, fitted.betas, fitted.translation):
        assert np.isfinite(array).all()
    assert np.abs(fitted.betas).max() < 5
    assert (fitted.translation[:, 2] > 0).all()
    identity = np.broadcast_to(np.eye(3), fitted.rotations.shape)
    np.testing.assert_allclose(fitted.rotations @ fitted.rotations.swapaxes(-1, -2), identity, atol=1e-6)


def test_a_translation_is_recovered_from_image_points(points):
    rotations, betas = some_pose(4)
    landmarks_3d = points.pose(rotations, betas).points[:, : len(COCO_17)]
    seen = landmarks_3d + TRANSLATION
    start, image_points = np.tile([0.0, 0.0, 3.0], (4, 1)), seen[..., :2] / seen[..., 2:]
    found = best_translation(landmarks_3d, image_points, np.ones(landmarks_3d.shape[:2]), start, 8)
    np.testing.assert_allclose(found, np.tile(TRANSLATION, (4, 1)), atol=1e-3)
