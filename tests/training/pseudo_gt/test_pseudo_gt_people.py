"""Fits of a batch of frames: cameras, errors and odd input."""

from dataclasses import replace

import numpy as np
from made_up_people import CAMERA, SIZE, detect, frame

from fourd_humans.body.joints import COCO_17
from fourd_humans.geometry.camera import full_image_camera, project, released_intrinsics
from fourd_humans.geometry.crops import crop_cameras, with_crop_camera
from fourd_humans.people import Bodies, Detections, concatenate
from fourd_humans.training.pseudo_gt.people import PeopleFitter


def in_released_camera(bodies: Bodies, boxes: np.ndarray) -> Bodies:
    crops, camera = crop_cameras(with_crop_camera(bodies, boxes)), released_intrinsics(SIZE)
    place = full_image_camera(crops.camera, crops.center, crops.size, camera)
    return replace(
        bodies, camera=place, joints_2d=project(bodies.joints_3d, place, camera), focal_length=camera.focal_length,
        principal_point=camera.principal_point,
    )  # fmt: skip


def test_bodies_are_where_the_fits_are(body, scene):
    """In the camera in use, known or the released one, which no real camera is."""
    found = [detect(truth) for truth in scene.truth[:4]]
    for starts, pixels in (
        (scene.truth[:4], 4),
        ([in_released_camera(t, d.boxes) for t, d in zip(scene.truth, found, strict=False)][:4], 15),
    ):
        fits = PeopleFitter(body)(scene.frames[:4], found, starts)
        for fit, start, seen in zip(fits, starts, found, strict=True):
            assert fit.bodies.focal_length == start.focal_length
            assert np.abs(fit.bodies.joints_2d[:, list(COCO_17)] - fit.joints_2d).max() < pixels
            assert np.abs(fit.joints_2d - seen.keypoints[..., :2]).max() < 12
            distance = np.linalg.norm(fit.joints_2d - seen.keypoints[..., :2], axis=2).mean()
            side = (seen.boxes[0, 2:] - seen.boxes[0, :2]).max()
            np.testing.assert_allclose(fit.errors, distance / side, rtol=1e-3)


def test_people_do_not_change_one_another(body, scene):
    one = PeopleFitter(body)([frame()], scene.found[1:2], scene.start[1:2])[0]
    both, nobody, _ = PeopleFitter(body)(
        [frame(), frame(), frame()],
        [concatenate(scene.found[:2]), Detections.empty(), scene.found[2]],
        [concatenate(scene.start[:2]), Bodies.empty(body.shape_space, *CAMERA.__dict__.values()), scene.start[2]],
    )
    np.testing.assert_allclose(both.bodies.body_pose[1:], one.bodies.body_pose, atol=1e-5)
    assert len(nobody.bodies) == len(nobody.errors) == 0


def test_what_is_not_finite_stays_apart(body, scene):
    starts, found = list(scene.start[:3]), list(scene.found[:3])
    starts[0] = replace(starts[0], body_pose=np.full_like(starts[0].body_pose, np.nan))
    keypoints = found[1].keypoints.copy()
    keypoints[0, 3] = np.nan
    found[1] = replace(found[1], keypoints=keypoints)
    bad, odd, good = PeopleFitter(body)(scene.frames[:3], found, starts)
    assert np.isnan(bad.bodies.camera).all()
    for fit in (odd, good):
        assert np.isfinite(fit.bodies.camera).all()
        assert fit.errors[0] < 0.012


def test_released_reprojection_loss(body, scene):
    """ProHMR's: confidence squared, Geman and McClure with 100 pixels in a picture of 1000, and no hips."""
    found = detect(scene.truth[0])
    keypoints = found.keypoints.copy()
    keypoints[..., 2] = 0
    (fit,) = PeopleFitter(body)([frame()], [replace(found, keypoints=keypoints)], [scene.truth[0]])
    keypoints = np.concatenate([fit.joints_2d, np.zeros((1, 17, 1), np.float32)], 2)
    keypoints[0, 9, :] += [40 * 0.96, 0, 0.5]  # a wrist; the picture is 960 pixels wide
    keypoints[0, 11, :] += [500, 0, 1]
    (same,) = PeopleFitter(body, settings=replace(PeopleFitter(body).settings, steps=(0, 0, 0)))(
        [frame()], [replace(found, keypoints=keypoints)], [scene.truth[0]]
    )
    wrist = (same.joints_2d[0, 9] - keypoints[0, 9, :2]).astype(float)
    expected = (0.5 / 0.96) ** 2 * (1e4 * wrist**2 / (1e4 + wrist**2)).sum()
    np.testing.assert_allclose(same.reprojection_losses, expected, rtol=1e-4)
