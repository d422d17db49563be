"""Gravity from people whose poses are known, seen by cameras of known pitch and roll."""

import math
from dataclasses import replace

import numpy as np
import pytest
from demo_scene.scene import FOCAL_SHARE, LENGTH, STANDING, WALKS, _place, _walk
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.motion import gravity
from fourd_humans.motion.gravity import GravityEstimator, up_direction, uprightness, weighted_median
from fourd_humans.people import Bodies, Detections, TrackedFrame

SIZE = (540, 960)
COUNT = 60


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


def walking(body_model, pitch, roll, height, people=3, seed=0, turning=0.0):
    """Frames with the true bodies of people who walk; `turning` degrees a frame, the camera pans to the right."""
    rng = np.random.default_rng(seed)
    betas = rng.normal(0, 0.5, (people, 10)).astype(np.float32)
    level_to_camera = (Rotation.from_euler("z", roll, True) * Rotation.from_euler("x", pitch, True)).as_matrix()
    times = LENGTH * np.arange(COUNT) / COUNT
    motions = [_walk(np.array(w), s, times, rng) for w, s in list(zip(WALKS, STANDING, strict=True))[:people]]
    camera = Intrinsics(FOCAL_SHARE * SIZE[1], (SIZE[1] / 2, SIZE[0] / 2))
    for t in range(COUNT):
        to_camera = Rotation.from_euler("y", -turning * t, True).as_matrix() @ level_to_camera
        placed = _place(body_model, [motion.at(t) for motion in motions], betas, to_camera, height)
        points = project(placed["joints_3d"], placed["camera"], camera)
        boxes = np.concatenate([points.min(1), points.max(1)], axis=1).astype(np.float32)
        bodies = Bodies(
            global_orient=placed["global_orient"],
            body_pose=placed["body_pose"],
            betas=betas,
            camera=placed["camera"],
            joints_3d=placed["joints_3d"],
            joints_2d=points,
            focal_length=camera.focal_length,
            principal_point=camera.principal_point,
            shape_space="open_body",
        )
        seen = np.zeros(people, np.int64)
        detections = Detections(boxes, np.ones(people, np.float32))
        yield TrackedFrame(t, times[t], f"{t:06d}", SIZE, np.arange(1, people + 1), seen, detections, bodies)


def true_up(pitch, roll):
    to_camera = (Rotation.from_euler("z", roll, True) * Rotation.from_euler("x", pitch, True)).as_matrix()
    return -to_camera[:, 1]


def degrees_apart(a, b):
    return math.degrees(math.acos(float(np.clip(np.dot(a, b), -1, 1))))


@pytest.mark.parametrize(("pitch", "roll", "height"), [(0, 0, 1.4), (10, 5, 1.6), (20, -5, 2.6), (35, 5, 4.2)], ids=str)
def test_up_and_floor_of_people_who_walk(body_model, pitch, roll, height):
    estimator = GravityEstimator()
    for frame in walking(body_model, pitch, roll, height):
        estimator.update(frame)
    found = estimator.estimate()
    assert degrees_apart(found.up, true_up(pitch, roll)) < 2.5
    assert found.floor == pytest.approx(-height, abs=0.15)
    assert found.confidence > 0.35


def test_up_direction_is_that_of_the_pitch_and_roll():
    for pitch, roll in ((0.0, 0.0), (0.3, 0.0), (0.2, -0.4)):
        np.testing.assert_allclose(
            up_direction(pitch, roll), true_up(math.degrees(pitch), math.degrees(roll)), atol=1e-12
        )


def test_people_who_crouch_tell_nothing(body_model):
    pose = np.tile(np.eye(3, dtype=np.float32), (1, 23, 1, 1))
    orient = np.tile(Rotation.from_euler("x", 180, True).as_matrix().astype(np.float32), (1, 1, 1, 1))
    standing = body_model.joints_of_arrays(orient, pose, np.zeros((1, 10), np.float32))[0]
    assert uprightness(standing) > 0.9
    bent = Rotation.from_euler("x", [[-90], [-90], [90], [90]], True).as_matrix().astype(np.float32)
    pose[0, [0, 1, 3, 4]] = bent  # hips and knees
    crouching = body_model.joints_of_arrays(orient, pose, np.zeros((1, 10), np.float32))[0]
    assert uprightness(crouching) < 0.02


def test_without_people_there_is_no_answer(body_model):
    estimator = GravityEstimator()
    frame = next(walking(body_model, 0, 0, 1.4))
    frame.time_since_seen = np.ones(3, np.int64)  # hidden
    estimator.update(frame)
    assert estimator.estimate() is None


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_bodies_without_size_are_left_out(body_model, value):
    estimator = GravityEstimator()
    for frame in walking(body_model, 10, 0, 1.6):
        frame.bodies.joints_3d[0] = value
        frame.bodies.joints_2d[0] = value
        estimator.update(frame)
    assert degrees_apart(estimator.estimate().up, true_up(10, 0)) < 4


def test_one_person_in_one_place_is_less_certain_than_three_who_walk(body_model):
    frames = list(walking(body_model, 10, 0, 1.6))
    everybody, one = GravityEstimator(), GravityEstimator()
    for frame in frames:
        everybody.update(frame)
    for frame in frames[:5]:
        one.update(frame)
    assert one.estimate().confidence < everybody.estimate().confidence


def test_weighted_median():
    assert weighted_median(np.array([5.0, 1.0, 3.0]), np.array([1.0, 1.0, 1.0])) == 3
    assert weighted_median(np.array([5.0, 1.0, 3.0]), np.array([5.0, 1.0, 1.0])) == 5


def test_a_long_shot_with_many_people_takes_no_more_memory_and_has_the_same_answer(body_model, monkeypatch):
    frames = list(walking(body_model, 10, 0, 1.6))
    short, long = GravityEstimator(), GravityEstimator()
    monkeypatch.setattr(gravity, "MAX_IN_ALL", 400)
    monkeypatch.setattr(gravity, "MAX_PEOPLE", 8)
    for frame in frames:
        short.update(frame)
    kept = []
    for visit in range(20):
        for frame in frames:
            frame = replace(frame, index=60 * visit + frame.index, ids=frame.ids + 3 * visit)
            long.update(frame)
            kept.append(sum(len(person.observations) for person in long._people.values()))
            assert len(long._people) <= 16
    assert max(kept) <= 400
    assert degrees_apart(long.estimate().up, short.estimate().up) < 1
    assert degrees_apart(long.estimate().up, true_up(10, 0)) < 3
