"""Fits to 2D keypoints: their derivatives, what they reach, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up_people import SIZE, detect, frame, place
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17, MIRRORED_SMPL, SMPL_NAMES
from fourd_humans.body.tensor_points import TensorBodyPoints
from fourd_humans.evaluation.datasets.people import COMMON_14
from fourd_humans.evaluation.pose import pa_mpjpe
from fourd_humans.training.pseudo_gt.fitting import (
    NUM_PARAMETERS,
    FitSettings,
    FittedBodies,
    Keypoints,
    _moved,
    _Problem,
)
from fourd_humans.training.pseudo_gt.people import PeopleFitter

MIRRORED_COCO = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
FLIP = np.diag([-1.0, 1.0, 1.0])


def pa(bodies, truth):
    joints = np.concatenate([each.joints_3d for each in bodies])[:, COMMON_14]
    return np.asarray(pa_mpjpe(joints, np.concatenate([each.joints_3d for each in truth])[:, COMMON_14]))


def test_gradient_is_that_of_the_cost(body):
    """All terms at once; the robust ones and the limits are differentiable where nothing lies on their edge."""
    rng = np.random.default_rng(1)
    points = TensorBodyPoints(body, np.array(COCO_17), torch.device("cpu"), torch.float64)

    def some(scale):
        vectors = rng.normal(0, scale, (2 * 24, 3))
        return torch.from_numpy(Rotation.from_rotvec(vectors).as_matrix().reshape(2, 24, 3, 3))

    here = torch.tensor([[0.1, 0.2, 4.0], [0.0, -0.3, 5.0]], dtype=torch.float64)
    start = FittedBodies(some(0.4), torch.from_numpy(rng.normal(size=(2, 10))), here + 0.3)
    bodies = FittedBodies(some(0.4) @ start.rotations, torch.from_numpy(rng.normal(size=(2, 10))), here)
    keypoints = Keypoints(
        torch.from_numpy(rng.normal(0, 0.1, (2, 17, 2))), torch.from_numpy(rng.uniform(size=(2, 17))),
        torch.tensor([0.4, 0.5], dtype=torch.float64),
    )  # fmt: skip
    problem = _Problem(points, keypoints, start, FitSettings())
    _, _, gradient = problem.linearised(bodies)
    for parameter in range(NUM_PARAMETERS):
        step = torch.zeros(2, NUM_PARAMETERS, dtype=torch.float64)
        step[:, parameter] = 1e-6
        ahead, behind = (problem.linearised(_moved(bodies, sign * step))[0] for sign in (1, -1))
        numeric = (ahead - behind) / 4e-6  # the gradient is half the derivative
        torch.testing.assert_close(gradient[:, parameter], numeric, rtol=1e-5, atol=1e-4)


def test_errors_fall_at_every_stage(body, scene):
    stages = {}
    fitter = PeopleFitter(body)
    fits = fitter(scene.frames, scene.found, scene.start, lambda name, bodies: stages.update({name: bodies}))
    assert list(stages) == ["root", "pose", "shape"]
    start, end = pa(scene.start, scene.truth), pa([fit.bodies for fit in fits], scene.truth)
    joints = [
        body.joints(b.rotations[:, :1].float(), b.rotations[:, 1:].float(), b.betas.float())[:, COMMON_14].numpy()
        for b in stages.values()
    ]
    truth = np.concatenate([each.joints_3d for each in scene.truth])[:, COMMON_14]
    means = [start.mean(), *(float(np.mean(pa_mpjpe(each, truth))) for each in joints)]
    assert means[1] == pytest.approx(means[0], rel=0.02)  # the root and the camera alone do not change the pose
    assert means[2] < 0.6 * means[1]
    assert means[3] < means[2]
    assert np.median(end) < 40
    errors, before = (np.concatenate([getattr(f, name) for f in fits]) for name in ("errors", "start_errors"))
    assert (errors < before).all()
    assert errors.max() < 0.012


def test_an_impossible_knee_is_refused(body, scene):
    """Keypoints of a knee bent forwards by 60 degrees are not followed beyond the joint's limits."""
    truth = scene.truth[0]
    rotations = np.concatenate([truth.global_orient, truth.body_pose], 1)
    knee = SMPL_NAMES.index("left_knee")
    rotations[0, 0] = Rotation.from_euler("yx", [90, 180], degrees=True).as_matrix()  # seen from the side
    straight = rotations.copy()
    straight[0, knee] = np.eye(3)
    bent = rotations.copy()
    bent[0, knee] = Rotation.from_rotvec([-np.radians(60), 0, 0]).as_matrix()
    wrong, start = place(body, bent, truth.betas, truth.camera), place(body, straight, truth.betas, truth.camera)

    def bend(settings):
        (fit,) = PeopleFitter(body, settings=settings)([frame()], [detect(wrong)], [start])
        return Rotation.from_matrix(fit.bodies.body_pose[0, knee - 1]).as_rotvec(degrees=True)[0]

    assert bend(FitSettings()) > -20
    assert bend(FitSettings(limit_std=100)) < -30


def test_a_flipped_picture_gives_the_flipped_fit(body, scene):
    """But for the body, whose sides differ by millimetres."""
    width = SIZE[1]

    def flipped(bodies):
        rotations = np.concatenate([bodies.global_orient, bodies.body_pose], 1)
        return place(body, FLIP @ rotations[:, MIRRORED_SMPL] @ FLIP, bodies.betas, bodies.camera * [-1, 1, 1])

    def flipped_keypoints(found):
        keypoints = found.keypoints[:, MIRRORED_COCO].copy()
        keypoints[..., 0] = width - keypoints[..., 0]
        boxes = np.stack(
            [width - found.boxes[:, 2], found.boxes[:, 1], width - found.boxes[:, 0], found.boxes[:, 3]], 1
        )
        return replace(found, keypoints=keypoints, boxes=boxes)

    fitter = PeopleFitter(body)
    fits = fitter(scene.frames[:6], scene.found[:6], scene.start[:6])
    mirrored = fitter(
        scene.frames[:6],
        [flipped_keypoints(found) for found in scene.found[:6]],
        [flipped(start) for start in scene.start[:6]],
    )
    for fit, other in zip(fits, mirrored, strict=True):
        back = flipped(other.bodies)
        angles = Rotation.from_matrix((fit.bodies.body_pose @ back.body_pose.swapaxes(2, 3)).reshape(-1, 3, 3))
        assert np.degrees(angles.magnitude()).max() < 3
        assert np.linalg.norm(fit.bodies.joints_3d - back.joints_3d, axis=2).max() < 0.02


def test_without_keypoints_the_start_stays(body, scene):
    keypoints = scene.found[0].keypoints.copy()
    keypoints[..., 2] = 0
    start = scene.truth[0]
    (fit,) = PeopleFitter(body)([frame()], [replace(scene.found[0], keypoints=keypoints)], [start])
    angles = Rotation.from_matrix((fit.bodies.body_pose @ start.body_pose.swapaxes(2, 3)).reshape(-1, 3, 3)).magnitude()
    assert np.degrees(angles).max() < 25  # the weak pull to the mean pose moves it a little
    assert np.isfinite(fit.bodies.camera).all()
