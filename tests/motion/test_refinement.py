"""Refinement on made movements whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17, LIMB_12
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.crops import with_crop_camera
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.motion.completion import with_joints
from fourd_humans.motion.refinement import Refinement, Window
from fourd_humans.people import Bodies, Mask

SIZE = (480, 640)
CAMERA = Intrinsics(800.0, (320.0, 240.0))
FACING = Rotation.from_rotvec([np.pi, 0, 0]).as_matrix()


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def refinement(body_model):
    return Refinement(body_model)


def movement(body_model, count=30, rate=60.0, betas=None, confidence=1.0):
    """Somebody who swings arms and legs and turns a little, in `count` frames."""
    t = np.arange(count) / rate
    vectors = np.zeros((count, 24, 3))
    swing = np.sin(2 * np.pi * 1.0 * t)
    vectors[:, 16, 2], vectors[:, 17, 2] = -1.0, 1.0  # arms hang
    vectors[:, 1, 0], vectors[:, 2, 0] = 0.5 * swing, -0.5 * swing
    vectors[:, 16, 1], vectors[:, 17, 1] = 0.6 * swing, 0.6 * swing
    vectors[:, 18, 1], vectors[:, 19, 1] = -0.5 - 0.3 * swing, 0.5 + 0.3 * swing
    rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)
    rotations[:, 0] = Rotation.from_rotvec(np.outer(0.3 * swing, [0, 1, 0])).as_matrix() @ FACING
    shape = np.zeros(10) if betas is None else betas
    nobody = Bodies.empty(body_model.shape_space, CAMERA.focal_length, CAMERA.principal_point)
    bodies = replace(
        nobody,
        global_orient=rotations[:, :1].astype(np.float32),
        body_pose=rotations[:, 1:].astype(np.float32),
        betas=np.tile(shape, (count, 1)).astype(np.float32),
        camera=np.stack([0.3 * t, 0 * t - 0.2, 4 + 0.2 * t], 1).astype(np.float32),
        confidence=None if confidence is None else np.full(count, confidence, np.float32),
    )
    return with_joints(bodies, body_model)


def noisy(bodies, body_model, seed=0):
    """What a recovery makes of them, frame by frame."""
    rng = np.random.default_rng(seed)

    def shake(rotations):
        noise = Rotation.from_rotvec(rng.normal(0, 0.12, (rotations.size // 9, 3))).as_matrix()
        return (noise.reshape(rotations.shape) @ rotations).astype(np.float32)

    camera = bodies.camera + rng.normal(0, 0.02, bodies.camera.shape).astype(np.float32)
    betas = bodies.betas + rng.normal(0, 0.3, bodies.betas.shape).astype(np.float32)
    shaken = replace(
        bodies, global_orient=shake(bodies.global_orient), body_pose=shake(bodies.body_pose), betas=betas, camera=camera
    )
    return with_joints(shaken, body_model)


def window(bodies, observed=None, **given):
    count = len(bodies)
    return Window(np.arange(100, 100 + count), bodies, np.ones(count, bool) if observed is None else observed, **given)


def distance(bodies, truth):
    """Metres between limb joints, from the hips."""
    return np.linalg.norm(_limbs(bodies) - _limbs(truth), axis=2).mean(1)


def jitter(bodies, truth):
    return np.linalg.norm(np.diff(_limbs(bodies) - _limbs(truth), n=2, axis=0), axis=2).mean()


def _limbs(bodies):
    hips = bodies.joints_3d[:, [27, 28]].mean(1, keepdims=True)
    return bodies.joints_3d[:, list(LIMB_12)] - hips


def keypoints(bodies):
    return np.concatenate([bodies.joints_2d[:, COCO_17], np.ones((len(bodies), 17, 1), np.float32)], 2)


@pytest.mark.parametrize("rate", [12.0, 30.0, 60.0])
def test_is_smoother_and_nearer_at_any_frame_rate(body_model, refinement, rate):
    truth = movement(body_model, int(rate), rate)
    recovered = noisy(truth, body_model)
    refined = refinement(window(recovered), rate)
    assert distance(refined, truth).mean() < 0.8 * distance(recovered, truth).mean()
    assert jitter(refined, truth) < 0.5 * jitter(recovered, truth)


def test_a_second_is_smoothed_the_more_the_more_frames_it_has(body_model, refinement):
    left = []
    for rate in (12.0, 30.0, 60.0):
        truth = movement(body_model, int(rate), rate)
        recovered = noisy(truth, body_model)
        left.append(distance(refinement(window(recovered), rate), truth).mean())
    assert left[0] > left[1] > left[2]


def test_one_shape_and_joints_and_cameras_that_agree(body_model, refinement):
    recovered = noisy(movement(body_model), body_model)
    boxes = np.concatenate([recovered.joints_2d.min(1), recovered.joints_2d.max(1)], 1)
    recovered = with_crop_camera(recovered, boxes)
    refined = refinement(window(recovered), 60.0)
    assert np.ptp(refined.betas, axis=0).max() == 0
    joints = body_model.joints_of_arrays(refined.global_orient, refined.body_pose, refined.betas)
    np.testing.assert_allclose(refined.joints_3d, joints, atol=1e-5)
    np.testing.assert_allclose(refined.joints_2d, project(joints, refined.camera, CAMERA), atol=1e-2)
    again = with_crop_camera(replace(refined, camera_crop=None, crop_center=None, crop_size=None), boxes)
    np.testing.assert_allclose(refined.camera_crop, again.camera_crop, atol=1e-4)
    identity = refined.body_pose @ refined.body_pose.swapaxes(2, 3)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-4)


def test_doubtful_bodies_that_face_the_wrong_way_turn_round(body_model, refinement):
    truth = movement(body_model)
    recovered = noisy(truth, body_model)
    wrong = slice(12, 18)
    recovered.global_orient[wrong] = recovered.global_orient[wrong] @ np.diag([-1, 1, -1]).astype(np.float32)
    recovered.confidence[wrong] = 0.02
    recovered = with_joints(recovered, body_model)
    refined = refinement(window(recovered, keypoints=keypoints(truth)), 60.0)
    assert distance(recovered, truth)[wrong].min() > 0.15
    assert distance(refined, truth)[wrong].max() < 0.05


def test_unobserved_frames_are_filled_in(body_model, refinement):
    truth = movement(body_model)
    recovered = noisy(truth, body_model)
    observed = np.ones(30, bool)
    observed[14:18] = False
    recovered.camera[14:18] += 0.5
    refined = refinement(window(with_joints(recovered, body_model), observed), 60.0)
    assert np.linalg.norm(refined.camera - truth.camera, axis=1)[14:18].max() < 0.06
    assert distance(refined, truth)[14:18].max() < 0.06


def test_frames_without_a_body_are_passed_over(body_model, refinement):
    truth = movement(body_model)
    recovered = noisy(truth, body_model)
    kept = np.delete(np.arange(30), [14, 15])
    refined = refinement(Window(kept, recovered[kept], np.ones(28, bool)), 60.0)
    assert len(refined) == 28
    assert jitter(refined[12:16], truth[kept[12:16]]) < 0.5 * jitter(recovered, truth)


def test_a_window_continues_the_one_before(body_model, refinement):
    truth = movement(body_model, 40)
    recovered = noisy(truth, body_model)
    first = refinement(window(recovered[:26]), 60.0)[:20]
    before = Window(np.arange(100, 120), first, np.ones(20, bool))
    rest = Window(np.arange(120, 140), recovered[20:], np.ones(20, bool))
    second = refinement(rest, 60.0, betas=first.betas[0], previous=before)
    np.testing.assert_array_equal(second.betas, np.tile(first.betas[0], (20, 1)))
    seam = np.concatenate([_limbs(first)[-2:], _limbs(second)[:2]])
    acceleration = np.linalg.norm(np.diff(seam, n=2, axis=0), axis=2).mean()
    assert acceleration < 0.006  # metres a frame²; 0.003 measured, and 0.1 in the recovered bodies
    assert np.abs(np.diff(np.concatenate([first.camera[-2:], second.camera[:2]]), n=2, axis=0)).max() < 0.02


def test_without_confidence_poses_stay_and_keypoints_and_masks_are_not_looked_at(body_model, refinement):
    truth = movement(body_model, confidence=None)
    refined = refinement(window(truth, keypoints=keypoints(truth) + 50, masks=masks(truth, body_model)), 60.0)
    assert np.median(distance(refined, truth)) < 0.01
    assert distance(refined, truth).max() < 0.03  # at the ends, where the swing is cut off
    np.testing.assert_allclose(refined.betas, 0, atol=1e-6)


def masks(bodies, body_model):
    import torch

    with torch.inference_mode():
        arrays = (bodies.global_orient, bodies.body_pose, bodies.betas)
        vertices = body_model(*map(torch.from_numpy, arrays)).vertices.numpy() + bodies.camera[:, None]
    return [Mask.from_full(rasterise(each[None], body_model.faces, CAMERA, SIZE)[1] >= 0) for each in vertices]


def test_girth_comes_from_the_masks(body_model, refinement):
    stout = np.zeros(10)
    stout[[2, 3, 5]] = 2.0
    truth = movement(body_model, betas=stout)
    recovered = with_joints(replace(truth, betas=np.zeros_like(truth.betas)), body_model)
    given = {"keypoints": keypoints(truth)}
    by_points = refinement(window(recovered, **given), 60.0)
    by_masks = refinement(window(recovered, masks=masks(truth, body_model), **given), 60.0)

    def overlap(bodies):
        pairs = zip(masks(bodies, body_model)[::7], masks(truth, body_model)[::7], strict=True)
        both = [(a.full(), b.full()) for a, b in pairs]
        return np.mean([(a & b).sum() / (a | b).sum() for a, b in both])

    assert overlap(by_masks) > 0.93
    assert overlap(by_masks) > overlap(by_points) + 0.02


def test_bodies_that_are_not_finite_count_as_unobserved(body_model, refinement):
    truth = movement(body_model)
    recovered = noisy(truth, body_model)
    recovered.betas[10], recovered.camera[11], recovered.body_pose[12] = np.nan, np.inf, np.nan
    refined = refinement(window(recovered), 60.0)
    assert np.isfinite(refined.joints_2d).all()
    assert distance(refined, truth)[10:13].max() < 0.08
    recovered.camera[:] = np.nan
    with pytest.raises(np.linalg.LinAlgError):
        refinement(window(recovered), 60.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_tracks(body_model, refinement, count):
    truth = movement(body_model, count)
    assert distance(refinement(window(truth), 30.0), truth).max() < 0.01
