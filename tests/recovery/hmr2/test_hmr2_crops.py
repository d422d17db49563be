"""Crops against the released tracker's and image demo's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from fourd_humans.geometry.camera import full_image_camera, intrinsics_from, project, released_intrinsics
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.recovery.hmr2.crops import MEAN, STD, check_boxes, crop_people

PICTURE = Path(__file__).parents[2] / "data" / "hmr2" / "crops_picture.webp"


@pytest.fixture(scope="module")
def image():
    """The picture that the reference crops were cut out of: stored, since OpenCV enlarges differently on other CPUs."""
    return np.array(Image.open(PICTURE))


def test_squares_hold_the_enlarged_boxes(reference_crops):
    center, side = crop_squares(reference_crops["boxes"])
    padded = reference_crops["padded"]
    np.testing.assert_allclose(center, (padded[:, :2] + padded[:, 2:]) / 2, atol=1e-3)
    np.testing.assert_allclose(side, (padded[:, 2:] - padded[:, :2]).max(1), atol=1e-3)


@pytest.mark.parametrize(
    ("antialias", "key", "tolerance"), [(False, "crops", 0.012), (True, "crops_antialiased", 0.005)]
)
def test_crops_equal_the_released_ones(image, reference_crops, antialias, key, tolerance):
    """Measured: 0.0097 and 0.001. Without antialiasing the released crops are rounded to grey levels of 0.017."""
    crops = crop_people(image, *crop_squares(reference_crops["boxes"]), antialias=antialias)
    np.testing.assert_allclose(crops.numpy(), reference_crops[key].astype(np.float32), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("side", "blurred"), [(500, False), (560, False), (780, True), (900, True), (1900, True)])
def test_antialiasing_blurs_as_the_released_image_demo(side, blurred):
    """The released demo: a Gaussian of sigma (d - 1)/2, cut off at 4 sigma, where d = side/512 exceeds 1.1.

    Up to d = 1.5 that is weaker than rounding."""
    image = np.random.default_rng(side).integers(0, 256, (700, 1000, 3), dtype=np.uint8)
    center = np.array([[480.0, 350.0]], np.float32)
    crops = crop_people(image, center, np.array([side], np.float32), antialias=True)

    sigma = (side / 256 / 2 - 1) / 2
    smooth = gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4) if blurred else image
    steps = (np.arange(256) - 128) * side / 256
    places = np.meshgrid(center[0, 1] + steps, center[0, 0] + steps, indexing="ij")
    expected = np.stack([map_coordinates(smooth[..., c].astype(float), places, order=1) for c in range(3)])
    inside = np.all([(p > 0) & (p < extent - 1) for p, extent in zip(places, image.shape[:2], strict=True)], axis=0)
    expected = (expected / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(crops[0].numpy()[:, inside], expected[:, inside], rtol=0, atol=2e-3)


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
        None, "box not finite", "box without area", "box without area", "box outside the frame", None,
    ]  # fmt: skip
