"""Crop cameras, full-image cameras and pixels agree."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import (
    Intrinsics,
    assumed_intrinsics,
    crop_camera,
    full_image_camera,
    intrinsics_from,
    look_at_rotations,
    project,
    released_intrinsics,
)

DATA = Path(__file__).parents[1] / "data"
SIZE = (720, 1280)


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    n = 6
    camera_crop = np.stack([rng.uniform(0.6, 1.1, n), *rng.uniform(-0.2, 0.2, (2, n))], 1)
    return camera_crop, rng.uniform(0, 700, (n, 2)), rng.uniform(100, 600, n)


def crop_pixels(points, camera_crop, center, size):
    """Projection in the crop of 256 pixels with a focal length of 5000, placed in the full image."""
    s, tx, ty = camera_crop.T
    placed = points + np.stack([tx, ty, 2 * 5000 / (256 * s)], 1)[:, None]
    in_crop = 5000 * placed[..., :2] / placed[..., 2:]
    return center[:, None] + in_crop * (size / 256)[:, None, None]


def test_released_convention():
    """The released tracker's figures: image padded to a square and scaled to 256, focal length 5000 there."""
    with np.load(DATA / "released_cameras.npz") as released:
        size = tuple(released["image_size"].tolist())
        corners = released["padded"]
        center, side = (corners[:, :2] + corners[:, 2:]) / 2, (corners[:, 2:] - corners[:, :2]).max(1)
        intrinsics = released_intrinsics(size)
        camera = full_image_camera(released["pred_cam"], center, side, intrinsics)
        np.testing.assert_allclose(camera, released["camera"], atol=1e-3)
        pixels = project(released["joints"], camera, intrinsics)
        padding = (max(size) - np.array(size[::-1])) / 2
        np.testing.assert_allclose((pixels + padding) * 256 / max(size), released["joints_2d_256"], atol=1e-3)


@pytest.mark.parametrize("focal_length", [600.0, 5000 / 256 * 1280])
def test_all_cameras_agree_at_the_depth_of_the_origin(people, focal_length):
    points = np.random.default_rng(1).normal(0, 0.5, (6, 45, 3)) * [1, 1, 0]
    intrinsics = Intrinsics(focal_length, (610.0, 380.0))
    pixels = project(points, full_image_camera(*people, intrinsics), intrinsics)
    np.testing.assert_allclose(pixels, crop_pixels(points, *people), atol=1e-3)


def test_beside_that_depth_they_differ_by_perspective_only(people):
    """To first order: a point's distance from the principal point shrinks by the share z / tz."""
    z = 0.2
    points = np.random.default_rng(1).normal(0, 0.5, (6, 45, 3)) * [1, 1, 0] + [0, 0, z]
    intrinsics = released_intrinsics(SIZE)
    camera = full_image_camera(*people, intrinsics)
    flat = project(points * [1, 1, 0], camera, intrinsics)
    expected = flat - (flat - np.array(intrinsics.principal_point)) * (z / camera[:, None, 2:])
    np.testing.assert_allclose(project(points, camera, intrinsics), expected, atol=0.05)


def test_a_centred_crop_at_its_own_focal_length_is_the_full_camera(people):
    camera_crop, _, sizes = people
    points = np.random.default_rng(1).normal(0, 0.5, (6, 45, 3))
    for i, size in enumerate(sizes):
        intrinsics = Intrinsics(5000 / 256 * size, (640.0, 360.0))
        one = camera_crop[i : i + 1], np.array([[640.0, 360.0]]), np.array([size])
        pixels = project(points[i : i + 1], full_image_camera(*one, intrinsics), intrinsics)
        np.testing.assert_allclose(pixels, crop_pixels(points[i : i + 1], *one), atol=1e-3)


def test_distance_follows_the_focal_length(people):
    near = full_image_camera(*people, Intrinsics(1000, (640, 360)))
    far = full_image_camera(*people, Intrinsics(3000, (640, 360)))
    np.testing.assert_allclose(far, near * [1, 1, 3], rtol=1e-6)


def test_crop_camera_is_the_inverse(people):
    intrinsics = Intrinsics(1500, (610.0, 380.0))
    camera = full_image_camera(*people, intrinsics)
    np.testing.assert_allclose(crop_camera(camera, *people[1:], intrinsics), people[0], atol=1e-5)


def test_nobody_and_points_behind_the_camera():
    intrinsics = released_intrinsics(SIZE)
    empty = full_image_camera(np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0), intrinsics)
    assert empty.shape == (0, 3)
    assert project(np.zeros((0, 45, 3)), empty, intrinsics).shape == (0, 45, 2)
    behind = project(np.array([[[0.1, 0.2, -5.0]]]), np.array([[0, 0, 3.0]]), intrinsics)
    assert np.isfinite(behind).all()


def test_intrinsics_from_what_the_user_knows():
    assert intrinsics_from(SIZE) == Intrinsics(25000, (640, 360))
    assert intrinsics_from(SIZE, focal_length=900) == Intrinsics(900, (640, 360))
    assert intrinsics_from(SIZE, field_of_view=90).focal_length == pytest.approx(640)
    assert intrinsics_from(SIZE[::-1], field_of_view=90).focal_length == pytest.approx(640)
    rows = (900, 0, 600, 0, 902, 350, 0, 0, 1)
    assert intrinsics_from(SIZE, matrix=rows) == Intrinsics(901, (600, 350))
    assert intrinsics_from(SIZE, matrix=np.reshape(rows, (3, 3))) == Intrinsics(901, (600, 350))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"focal_length": 0}, "focal length"),
        ({"focal_length": float("nan")}, "focal length"),
        ({"field_of_view": 180}, "field of view"),
        ({"focal_length": 900, "field_of_view": 60}, "not several"),
        ({"matrix": (1, 2, 3)}, "nine finite"),
        ({"matrix": (900, 0, 600, 0, 1200, 350, 0, 0, 1)}, "square pixels"),
        ({"matrix": (-900, 0, 600, 0, -900, 350, 0, 0, 1)}, "positive fx"),
        ({"matrix": (900, 0, 0, 0, 900, 0, 600, 350, 1)}, "form fx 0 cx"),  # transposed
    ],
)
def test_impossible_cameras(known, message):
    with pytest.raises(UsageError, match=message):
        intrinsics_from(SIZE, **known)


def test_look_at_rotations_turn_the_optical_axis_to_the_pixel():
    camera = Intrinsics(800.0, (320.0, 240.0))
    pixels = np.array([[320.0, 240.0], [1120.0, 240.0], [20.0, 470.0]])
    rotations = look_at_rotations(pixels, camera)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.broadcast_to(np.eye(3), (3, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    np.testing.assert_allclose(rotations[0], np.eye(3), atol=1e-12)
    axis = rotations[:, :, 2]
    np.testing.assert_allclose(axis[:, :2] / axis[:, 2:] * 800 + (320, 240), pixels)
    np.testing.assert_allclose(rotations[1], Rotation.from_euler("y", 45, degrees=True).as_matrix(), atol=1e-12)


def test_a_real_focal_length_is_used_and_the_released_one_is_not():
    real = Intrinsics(900.0, (320.0, 240.0))
    assert assumed_intrinsics(real, (480, 640)) == real
    assert assumed_intrinsics(released_intrinsics((480, 640)), (480, 640)) == Intrinsics(800.0, (320.0, 240.0))
