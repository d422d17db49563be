from dataclasses import replace

import numpy as np
import pytest
import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.motion.completion import complete, fill_in
from fourd_humans.people import Bodies


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture
def turning_person(body_model):
    """Frames 0..39 of somebody who raises an arm at a steady pace and walks across, K rows."""
    count = 40
    angles = torch.zeros(count, 24, 3)
    angles[:, 16, 2] = torch.linspace(-1, 1, count)
    rotations = axis_angle_to_matrix(angles).numpy()
    zeros = np.zeros((count, 10), np.float32)
    camera = np.stack([np.linspace(-1, 1, count), np.zeros(count), np.full(count, 40.0)], 1).astype(np.float32)
    empty = Bodies.empty("open", 5000.0, (640.0, 360.0))
    joints = np.zeros((count, 45, 3), np.float32)
    crops = {"crop_center": camera[:, :2] * 125 + (640, 360), "crop_size": np.full(count, 300, np.float32)}
    return replace(
        empty, global_orient=rotations[:, :1], body_pose=rotations[:, 1:], betas=zeros, camera=camera, **crops,
        camera_crop=np.ones((count, 3), np.float32), joints_3d=joints, joints_2d=joints[..., :2],
        confidence=np.ones(count, np.float32),
    )  # fmt: skip


@torch.no_grad()
def test_windows_agree_with_the_released_post_processing(small_network, reference):
    known = reference.gap_has.flatten().numpy() > 0
    filled, answered = fill_in(small_network, reference.gap_pose[:, 0].numpy()[None], known)
    assert answered.all()
    np.testing.assert_allclose(filled[0], reference.gap_out[:, 0].numpy(), rtol=1e-4, atol=1e-5)


def test_without_a_network_joints_turn_evenly_and_people_go_straight(turning_person, body_model):
    missing = np.arange(10, 30)
    seen = np.setdiff1d(np.arange(40), missing)
    filled = complete(seen, turning_person[seen], missing, body_model)
    truth = turning_person[missing]
    np.testing.assert_allclose(filled.body_pose, truth.body_pose, atol=1e-5)
    np.testing.assert_allclose(filled.camera, truth.camera, atol=1e-5)
    assert len(filled) == len(missing)
    np.testing.assert_array_equal(filled.confidence, np.zeros(len(missing)))


@pytest.mark.parametrize("which", [None, "lite_network", "small_network"])
def test_joints_and_crop_fit_the_filled_in_bodies(which, request, turning_person, body_model):
    network = request.getfixturevalue(which) if which else None
    missing = np.array([7, 8, 20])
    seen = np.setdiff1d(np.arange(40), missing)
    filled = complete(seen, turning_person[seen], missing, body_model, network)
    intrinsics = Intrinsics(filled.focal_length, filled.principal_point)
    np.testing.assert_allclose(filled.joints_2d, project(filled.joints_3d, filled.camera, intrinsics), rtol=1e-5)
    posed = body_model.joints(*(torch.from_numpy(a) for a in (filled.global_orient, filled.body_pose, filled.betas)))
    np.testing.assert_allclose(filled.joints_3d, posed, atol=1e-5)
    centre = filled.camera_crop[:, 1:] * filled.focal_length / filled.camera[:, 2:]
    origin = filled.camera[:, :2] * filled.focal_length / filled.camera[:, 2:] + filled.principal_point
    np.testing.assert_allclose(filled.crop_center + centre, origin, atol=1e-2)
    assert filled.texture is None
    assert filled.shape_space == turning_person.shape_space


def test_a_gap_longer_than_the_network_can_span_is_turned_through_evenly(turning_person, lite_network, body_model):
    ends = np.array([0, 500])
    missing = np.arange(1, 500)
    filled = complete(ends, turning_person[[0, 39]], missing, body_model, lite_network)
    plain = complete(ends, turning_person[[0, 39]], missing, body_model)
    np.testing.assert_array_equal(filled.body_pose, plain.body_pose)


def test_one_sighting_is_enough(turning_person, lite_network, body_model):
    filled = complete(np.array([5]), turning_person[5], np.array([3, 4, 6]), body_model, lite_network)
    np.testing.assert_allclose(filled.camera, np.repeat(turning_person.camera[5:6], 3, axis=0), rtol=1e-6)
    assert np.isfinite(filled.body_pose).all()


def test_sightings_with_nan_are_passed_over(turning_person, body_model):
    spoilt = replace(turning_person, body_pose=turning_person.body_pose.copy(), camera=turning_person.camera.copy())
    spoilt.body_pose[10, 3] = np.nan
    spoilt.camera[12, 2] = np.inf
    seen, missing = np.setdiff1d(np.arange(40), [11]), np.array([11])
    filled = complete(seen, spoilt[seen], missing, body_model)
    np.testing.assert_allclose(filled.body_pose, turning_person[missing].body_pose, atol=1e-5)


def test_nobody_seen_at_all_is_refused(turning_person, body_model):
    spoilt = replace(turning_person, betas=np.full_like(turning_person.betas, np.nan))
    with pytest.raises(FourDHumansError, match="not seen in any frame"):
        complete(np.arange(40), spoilt, np.array([50]), body_model)
