"""Crop squares, and crop cameras that a recovery gives or that follow from the translation and the detection's box."""

from dataclasses import replace

import numpy as np
import pytest

from fourd_humans.geometry.camera import Intrinsics, full_image_camera
from fourd_humans.geometry.crops import crop_cameras, crop_squares, with_camera, with_crop_camera
from fourd_humans.people import Bodies

CAMERA = Intrinsics(900.0, (310.0, 250.0))


@pytest.fixture
def boxes():
    return np.array([[100, 50, 160, 250], [20, 30, 420, 130]], np.float32)


@pytest.fixture
def bodies():
    translation = np.array([[0.5, -0.2, 6], [-1, 0.4, 15]], np.float32)
    empty = Bodies.empty("open_body", CAMERA.focal_length, CAMERA.principal_point)
    return replace(empty, global_orient=np.zeros((2, 1, 3, 3), np.float32), camera=translation)


def test_squares_hold_the_box_enlarged_to_3_to_4(boxes):
    center, size = crop_squares(boxes)
    np.testing.assert_array_equal(center, [[130, 150], [220, 80]])
    np.testing.assert_allclose(size, [200, 400 / 0.75])
    assert center.dtype == size.dtype == np.float32


def test_bodies_without_crop_cameras_get_those_of_their_boxes(bodies, boxes):
    crops = crop_cameras(with_crop_camera(bodies, boxes))
    center, size = crop_squares(boxes)
    np.testing.assert_array_equal(crops.center, center)
    np.testing.assert_array_equal(crops.size, size)
    np.testing.assert_allclose(
        full_image_camera(crops.camera, center, size, CAMERA), bodies.camera, rtol=1e-5, atol=1e-6
    )


def test_crop_cameras_of_the_recovery_are_kept(bodies, boxes):
    given = with_crop_camera(bodies, boxes + 10)
    assert with_crop_camera(given, boxes) is given


def test_the_crop_camera_follows_a_new_translation(bodies, boxes):
    moved = bodies.camera + np.array([1, 0, 2], np.float32)
    crops = crop_cameras(with_camera(with_crop_camera(bodies, boxes), moved))
    np.testing.assert_allclose(
        full_image_camera(crops.camera, crops.center, crops.size, CAMERA), moved, rtol=1e-5, atol=1e-6
    )
    assert with_camera(bodies, moved).camera_crop is None


def test_without_crop_cameras_there_is_an_error(bodies):
    with pytest.raises(ValueError, match="no crop cameras"):
        crop_cameras(bodies)


def test_nobody(boxes):
    assert with_crop_camera(Bodies.empty("open_body"), boxes[:0]).camera_crop.shape == (0, 3)
