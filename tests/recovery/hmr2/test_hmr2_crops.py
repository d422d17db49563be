"""Crops against the released tracker's and image demo's."""

import cv2
import numpy as np
import pytest

from fourd_humans.geometry.camera import full_image_camera, intrinsics_from, project, released_intrinsics
from fourd_humans.recovery.hmr2.crops import MEAN, STD, check_boxes, crop_people, crop_squares


@pytest.fixture
def image(reference_crops):
    height, width = reference_crops["image_size"].tolist()
    return cv2.resize(reference_crops["image_small"], (width, height), interpolation=cv2.INTER_CUBIC)


def test_squares_hold_the_enlarged_boxes(reference_crops):
    center, side = crop_squares(reference_crops["boxes"])
    padded = reference_crops["padded"]
    np.testing.assert_allclose(center, (padded[:, :2] + padded[:, 2:]) / 2, atol=1e-3)
    np.testing.assert_allclose(side, (padded[:, 2:] - padded[:, :2]).max(1), atol=1e-3)


@pytest.mark.parametrize(("antialias", "key"), [(False, "crops"), (True, "crops_antialiased")])
def test_crops_are_the_released_ones(image, reference_crops, antialias, key):
    crops = crop_people(image, *crop_squares(reference_crops["boxes"]), antialias=antialias)
    assert abs(crops.numpy() - reference_crops[key].astype(np.float32)).max() < 0.02


def test_antialiasing_matters_only_where_much_is_shrunk():
    image = np.random.default_rng(0).integers(0, 255, (1600, 1600, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 375, 500], [0, 0, 1600, 1600]], np.float32)  # squares of 500 and 2133 pixels
    plain, smooth = (crop_people(image, *crop_squares(boxes), antialias=antialias) for antialias in (False, True))
    np.testing.assert_allclose(plain[0], smooth[0], atol=1e-2)
    middle = slice(64, 192)
    assert smooth[1, :, middle, middle].std() < 0.3 * plain[1, :, middle, middle].std()


@pytest.mark.parametrize("antialias", [False, True])
def test_far_outside_and_tiny_pictures(antialias):
    black = -np.array(MEAN) / np.array(STD)
    image = np.full((1, 1, 3), 255, np.uint8)
    boxes = np.array([[0, 0, 1, 1], [-900, -900, 900, 900], [500, 500, 2500, 2500]], np.float32)
    crops = crop_people(image, *crop_squares(boxes), antialias=antialias).numpy()
    assert crops.shape == (3, 3, 256, 256)
    assert np.isfinite(crops).all()
    np.testing.assert_allclose(crops[2], np.broadcast_to(black[:, None, None], (3, 256, 256)), atol=1e-5)


def test_cameras_and_joints_are_the_released_ones(reference_crops):
    size = tuple(reference_crops["image_size"].tolist())
    intrinsics = released_intrinsics(size)
    center, side = crop_squares(reference_crops["boxes"])
    camera = full_image_camera(reference_crops["pred_cam"], center, side, intrinsics)
    np.testing.assert_allclose(camera, reference_crops["camera"], atol=1e-3)
    joints = project(reference_crops["joints"], camera, intrinsics)
    longer = max(size)
    padding = np.array([longer - size[1], longer - size[0]]) / 2  # the released figures are in the square-padded frame
    np.testing.assert_allclose((joints + padding) * 256 / longer, reference_crops["joints_2d_256"], atol=1e-3)


@pytest.mark.parametrize("camera", [{"focal_length": 900.0}, {"field_of_view": 60.0}])
def test_reprojection_is_the_same_with_the_users_focal_length(reference_crops, camera):
    """Exactly in the plane of the body's origin; a body's depth of some decimetres shows a little more when nearer."""
    size = tuple(reference_crops["image_size"].tolist())
    center, side = crop_squares(reference_crops["boxes"])
    flat, solid = [], []
    for intrinsics in (released_intrinsics(size), intrinsics_from(size, **camera)):
        place = full_image_camera(reference_crops["pred_cam"], center, side, intrinsics)
        flat.append(project(reference_crops["joints"] * [1, 1, 0], place, intrinsics))
        solid.append(project(reference_crops["joints"], place, intrinsics))
    np.testing.assert_allclose(flat[0], flat[1], atol=0.01)
    assert abs(solid[0] - solid[1]).max() > 0.1


def test_says_which_boxes_cannot_be_cut_out():
    boxes = [[0, 0, 10, 10], [0, 0, np.nan, 10], [5, 5, 5, 10], [10, 10, 5, 5], [100, 0, 120, 10], [-10, -10, 1, 1]]
    assert check_boxes(np.array(boxes, np.float32), (50, 100)) == [
        None, "the box is not finite", "the box is empty", "the box is empty", "the box lies outside the frame", None,
    ]  # fmt: skip
