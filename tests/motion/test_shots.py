"""Shots: cuts, camera motion, and gravity in the first frame's directions of a camera that rotates."""

import time
from dataclasses import replace

import numpy as np
import pytest
from demo_scene.scene import FOCAL_SHARE
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.files.state import load_state, save_state
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.motion.shots import SHOT_CLASSES, ShotEstimator, rotation_function, rotation_of

from .test_gravity import SIZE, degrees_apart, true_up, walking

CAMERA = Intrinsics(FOCAL_SHARE * SIZE[1], (SIZE[1] / 2, SIZE[0] / 2))
K = np.array([[CAMERA.focal_length, 0, SIZE[1] / 2], [0, CAMERA.focal_length, SIZE[0] / 2], [0, 0, 1]])


def homography(degrees, focal_length_factor=1.0):
    """Of a camera that pans to the right by `degrees`."""
    k = K * [[focal_length_factor, 1, 1], [1, focal_length_factor, 1], [1, 1, 1]]
    return k @ Rotation.from_euler("y", -degrees, True).as_matrix() @ np.linalg.inv(k)


@pytest.fixture(scope="module")
def frames():
    return list(walking(BodyModel.open_body(), 10, 0, 1.6))


def shots_of(frames, steps):
    """steps: frame -> homography from the keyframe before."""
    estimator = ShotEstimator()
    for frame in frames:
        frame.camera_homography = steps.get(frame.index)
        estimator.update(frame)
    return estimator.finish()


def test_a_static_camera(frames):
    jitter = np.array([[1, 0, 0.3], [0, 1, -0.2], [0, 0, 1]])
    (shot,) = shots_of(frames, {12: jitter, 24: np.linalg.inv(jitter), 36: np.eye(3), 48: jitter})
    assert (shot.first_frame, shot.last_frame, shot.camera_motion, shot.rotations) == (0, 59, "static", ())
    assert degrees_apart(shot.gravity.up, true_up(10, 0)) < 3


def test_an_hour_of_one_camera_takes_seconds(frames):
    estimator = ShotEstimator()
    for index in range(3000):
        frame = replace(frames[index % 60], index=12 * index)
        frame.camera_homography = np.eye(3)
        estimator.update(frame)
    begin = time.process_time()
    (shot,) = estimator.finish()
    assert shot.camera_motion == "static"
    assert time.process_time() - begin < 10, "multi_dot would take hours"


def test_a_rotating_camera_and_gravity_in_its_first_frame():
    turned = list(walking(BodyModel.open_body(), 10, 0, 1.6, turning=0.2))
    (shot,) = shots_of(turned, {t: homography(12 * 0.2) for t in (12, 24, 36, 48)})
    assert shot.camera_motion == "rotating"
    frame, last = shot.rotations[-1]
    assert frame == 48
    np.testing.assert_allclose(np.array(last), Rotation.from_euler("y", 48 * 0.2, True).as_matrix(), atol=1e-6)
    assert degrees_apart(shot.gravity.up, true_up(10, 0)) < 3


def test_a_travelling_or_zooming_camera_is_moving(frames):
    unknown = np.full((3, 3), np.nan)
    (shot,) = shots_of(frames, {12: homography(3), 24: unknown, 36: unknown, 48: homography(3)})
    assert (shot.camera_motion, shot.gravity) == ("moving", None)
    zoom = np.diag([1.2, 1.2, 1.0])
    (shot,) = shots_of(frames, {12: zoom, 24: zoom, 36: zoom, 48: zoom})
    assert shot.camera_motion == "moving"


def test_too_little_background_is_unknown(frames):
    (shot,) = shots_of(frames, {12: np.full((3, 3), np.nan), 24: np.full((3, 3), np.nan)})
    assert shot.camera_motion == "unknown"
    (shot,) = shots_of(frames, {})
    assert shot.camera_motion == "unknown"


def test_a_cut_begins_a_new_shot(frames):
    frames[20].is_cut = True
    shots = shots_of(frames, {})
    frames[20].is_cut = False
    assert [(shot.first_frame, shot.last_frame) for shot in shots] == [(0, 19), (20, 59)]


def test_the_rotation_of_a_homography_survives_a_wrong_focal_length():
    rotation, error = rotation_of(homography(5), CAMERA)
    np.testing.assert_allclose(rotation, Rotation.from_euler("y", -5, True).as_matrix(), atol=1e-9)
    assert error < 1e-9
    rotation, error = rotation_of(homography(5, 1.2), CAMERA)
    assert error < 0.03
    assert Rotation.from_matrix(rotation).magnitude() == pytest.approx(np.radians(5), rel=0.2)


def test_rotations_between_keyframes_are_interpolated():
    turn = Rotation.from_euler("x", 10, True).as_matrix()
    at = rotation_function(100, [(110, turn)])
    np.testing.assert_allclose(at(105), Rotation.from_euler("x", 5, True).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(at(115), turn, atol=1e-12)
    np.testing.assert_array_equal(rotation_function(100, [])(105), np.eye(3))


def test_goes_on_from_a_saved_state(tmp_path):
    turned = list(walking(BodyModel.open_body(), 10, 0, 1.6, turning=0.2))
    turned[20].is_cut = True
    for t in (12, 32, 44, 56):
        turned[t].camera_homography = homography(12 * 0.2)
    whole, first, second = ShotEstimator(), ShotEstimator(), ShotEstimator()
    for frame in turned:
        whole.update(frame)
    for frame in turned[:40]:
        first.update(frame)
    save_state(tmp_path / "state", first.state(), SHOT_CLASSES)
    second.restore(load_state(tmp_path / "state", SHOT_CLASSES))
    for frame in turned[40:]:
        second.update(frame)
    shots = whole.finish()
    assert shots[1].gravity is not None
    assert shots[1].camera_motion == "rotating"
    assert second.finish() == shots, "number by number"
