"""People put into a level world stand upright on a floor at y = 0."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import project, released_intrinsics
from fourd_humans.motion.level import level_axes, level_scene
from fourd_humans.motion.shots import ShotEstimator
from fourd_humans.people import Gravity, Shot
from fourd_humans.tracklets import Tracklets

from .test_gravity import SIZE, true_up, walking


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def tracklets(body_model):
    frames, estimator = list(walking(body_model, 20, -5, 2.6)), ShotEstimator()
    for frame in frames:
        estimator.update(frame)
    return Tracklets(frames, shots=estimator.finish())


def known(frames, up, confidence=1.0, **changes):
    gravity = Gravity(tuple(up), -1.0, confidence, 1000.0)
    return Tracklets(frames, shots=[replace(Shot(0, frames[-1].index, gravity), **changes)])


def test_people_stand_on_the_floor(tracklets, body_model):
    level = level_scene(tracklets, body_model)
    assert not level.notes
    lowest, leans = [], []
    for frame in level.tracklets:
        joints = frame.bodies.joints_3d + frame.bodies.camera[:, None]
        lowest += joints[:, 19:25, 1].max(1).tolist()
        body = joints[:, [33, 34]].mean(1) - joints[:, [25, 30]].mean(1)
        leans += np.degrees(np.arccos(-body[:, 1] / np.linalg.norm(body, axis=1))).tolist()
    assert np.median(leans) < 6.5  # walking leans by 5 degrees; unlevelled they would by 20
    assert np.median(lowest) == pytest.approx(0, abs=0.05)
    assert level.camera_height[0] == pytest.approx(2.6, abs=0.2)


def test_the_level_world_is_the_real_one_moved_rigidly(tracklets, body_model):
    """With the true direction up and a real focal length nothing but a rotation and a shift is left."""
    level = level_scene(known(tracklets.frames, true_up(20, -5)), body_model)
    own, moved = tracklets.frames[10].bodies, level.tracklets.frames[10].bodies
    rotation = level_axes(tuple(true_up(20, -5)))
    body = [i for i in range(45) if i != 44]
    before = (own.joints_3d + own.camera[:, None])[:, body] @ rotation.T
    after = (moved.joints_3d + moved.camera[:, None])[:, body]
    np.testing.assert_allclose(after, before - [0, level.camera_height[10], 0], atol=1e-5)
    posed = body_model.joints_of_arrays(moved.global_orient, moved.body_pose, moved.betas)
    np.testing.assert_allclose(posed, moved.joints_3d, atol=1e-5)


def test_the_released_focal_length_becomes_an_ordinary_one(tracklets, body_model):
    frames = list(tracklets.frames)
    released = released_intrinsics(SIZE)
    bodies = frames[0].bodies
    far = bodies.camera * [1, 1, released.focal_length / bodies.focal_length]
    frames[0] = replace(
        frames[0],
        bodies=replace(
            bodies, camera=far.astype(np.float32), joints_2d=project(bodies.joints_3d, far, released),
            focal_length=released.focal_length, principal_point=released.principal_point,
        ),
    )  # fmt: skip
    level = level_scene(Tracklets(frames[:1]), body_model).tracklets.frames[0].bodies
    assert level.focal_length == pytest.approx(np.hypot(*SIZE))
    assert level.camera[:, 2].max() < 12


def test_what_is_uncertain_stays_as_it_is_and_is_said(tracklets, body_model):
    level = level_scene(known(tracklets.frames, true_up(20, -5), 0.1), body_model)
    assert "not certain" in level.notes[0]
    np.testing.assert_array_equal(level.camera_rotation[0], np.eye(3))
    level = level_scene(known(tracklets.frames, true_up(20, -5), camera_motion="moving"), body_model)
    assert "not supported" in level.notes[0]


def test_a_given_pitch_and_none(tracklets, body_model):
    level = level_scene(tracklets, body_model, 20.0)
    np.testing.assert_allclose(level.camera_rotation[0], Rotation.from_euler("x", -20, True).as_matrix(), atol=1e-9)
    assert level_scene(tracklets, body_model, "none").tracklets is tracklets
    with pytest.raises(UsageError, match="between -90 and 90"):
        level_scene(tracklets, body_model, 90.0)


def test_people_of_a_rotating_camera_are_in_the_first_frames_directions(body_model):
    frames = list(walking(body_model, 10, 0, 1.6, turning=0.5))
    turn = Rotation.from_euler("y", 48 * 0.5, True).as_matrix()
    shot = Shot(0, 59, Gravity(tuple(true_up(10, 0)), -1.6, 1.0, 1000.0), "rotating", ((48, tuple(map(tuple, turn))),))
    still = list(walking(body_model, 10, 0, 1.6))
    moved = level_scene(Tracklets(frames, shots=[shot]), body_model).tracklets.frames[48].bodies
    wanted = level_scene(known(still, true_up(10, 0)), body_model).tracklets.frames[48].bodies
    np.testing.assert_allclose(moved.camera, wanted.camera, atol=0.02)
    np.testing.assert_allclose(moved.global_orient, wanted.global_orient, atol=0.01)


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (0.1, -0.9, -0.4), (0.0, 0.0, -1.0)], ids=str)
def test_level_axes_are_a_rotation_that_turns_up_to_minus_y(up):
    up = np.array(up) / np.linalg.norm(up)
    axes = level_axes(tuple(up))
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(axes @ up, [0, -1, 0], atol=1e-6)
