"""Cameras: from the weak-perspective camera of a crop to a place in the full image's camera frame, and to pixels.

A crop of side b pixels, centred at (cx, cy), has the camera (s, tx, ty): seen through a focal length of 5000 pixels in
the crop scaled to 256, the body stands at (tx, ty, 2·5000 / (256 s)). In the full image, with focal length f and
principal point (px, py), it stands at

    tz = 2 f / (s b),   x = tx + 2 (cx − px) / (s b),   y = ty + 2 (cy − py) / (s b).

In the plane through the body's origin parallel to the image, both cameras give the same pixels, exactly and for every
f: one metre there is s b / 2 pixels. Another f changes tz alone, in proportion. Before and behind that plane the two
differ in perspective: a point at distance z from it lies by about the share z / tz nearer to, or farther from, the
principal point in the one and the crop's centre in the other. They are one and the same camera where the crop is
centred on the principal point and f = 5000 b / 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourd_humans.errors import UsageError

CROP_SIZE = 256
CROP_FOCAL_LENGTH = 5000.0
NEAREST = 0.01  # metres: nothing is projected from nearer, so that no pixel is infinite


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera with square pixels. focal_length: pixels. principal_point: (x, y) pixels."""

    focal_length: float
    principal_point: tuple[float, float]


def released_intrinsics(size: tuple[int, int]) -> Intrinsics:
    """What the released tracker assumes of a frame of `size` (height, width): 5000 pixels in the square-padded frame
    scaled to 256, that is f = 5000/256 · max(H, W), and the principal point in the middle."""
    height, width = size
    return Intrinsics(CROP_FOCAL_LENGTH / CROP_SIZE * max(height, width), (width / 2, height / 2))


def intrinsics_from(
    size: tuple[int, int],
    focal_length: float | None = None,
    field_of_view: float | None = None,
    matrix: ArrayLike | None = None,
) -> Intrinsics:
    """The camera of a frame of `size` (height, width) from what the user knows of it; nothing: `released_intrinsics`.

    focal_length: pixels. field_of_view: degrees across the longer side. matrix: the 3x3 intrinsic matrix, also as nine
    numbers row by row. At most one of the three.

    Raises: UsageError if more than one is given, or one that no camera has.
    """
    if sum(known is not None for known in (focal_length, field_of_view, matrix)) > 1:
        raise UsageError("give one of focal length, field of view and intrinsic matrix, not several")
    middle = (size[1] / 2, size[0] / 2)
    if focal_length is not None:
        if not (math.isfinite(focal_length) and focal_length > 0):
            raise UsageError(f"the focal length must be a positive number of pixels, not {focal_length}")
        return Intrinsics(float(focal_length), middle)
    if field_of_view is not None:
        if not 0 < field_of_view < 180:
            raise UsageError(f"the field of view must lie between 0 and 180 degrees, not {field_of_view}")
        return Intrinsics(max(size) / 2 / math.tan(math.radians(field_of_view) / 2), middle)
    if matrix is not None:
        return _from_matrix(np.asarray(matrix, dtype=float))
    return released_intrinsics(size)


def frame_intrinsics(camera: Intrinsics, size: tuple[int, int], focal_length: float | None) -> Intrinsics:
    """`camera`, unless it is the released convention and the frame's own `focal_length` in pixels is known."""
    if focal_length is None or camera != released_intrinsics(size):
        return camera
    return Intrinsics(focal_length, camera.principal_point)


def assumed_intrinsics(camera: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """The camera to assume for a frame of `size` (height, width): `camera`, unless it is the released convention.

    The released convention's focal length belongs to no real lens: at 3 degrees of view nothing is foreshortened, and
    people who stand beside one another seem tens of metres apart. Where the real focal length is unknown, that of a 53
    degree view along the diagonal is assumed, as CLIFF does (Li et al., ECCV 2022): the length of the diagonal.
    """
    if camera != released_intrinsics(size):
        return camera
    return Intrinsics(math.hypot(*size), camera.principal_point)


def full_image_camera(
    camera_crop: ArrayLike, crop_center: ArrayLike, crop_size: ArrayLike, intrinsics: Intrinsics
) -> NDArray[np.float32]:
    """Where bodies stand in the full image's camera frame.

    camera_crop: (N, 3) weak-perspective (s, tx, ty). crop_center: (N, 2) and crop_size: (N,), pixels of the full image.
    Returns (N, 3) metres: x right, y down, z away.
    """
    s, t = np.asarray(camera_crop, float)[:, 0], np.asarray(camera_crop, float)[:, 1:]
    metres_per_pixel = 2 / (s * np.asarray(crop_size, float))  # at the body's depth
    offset = np.asarray(crop_center, float) - np.asarray(intrinsics.principal_point)
    camera = np.concatenate(
        [t + offset * metres_per_pixel[:, None], intrinsics.focal_length * metres_per_pixel[:, None]], axis=1
    )
    return camera.astype(np.float32)


def crop_camera(
    camera: ArrayLike, crop_center: ArrayLike, crop_size: ArrayLike, intrinsics: Intrinsics
) -> NDArray[np.float32]:
    """The inverse of `full_image_camera`: (N, 3) places in the full image's camera frame -> (N, 3) crop cameras."""
    place = np.asarray(camera, float)
    metres_per_pixel = place[:, 2] / intrinsics.focal_length
    offset = np.asarray(crop_center, float) - np.asarray(intrinsics.principal_point)
    s = 2 / (metres_per_pixel * np.asarray(crop_size, float))
    t = place[:, :2] - offset * metres_per_pixel[:, None]
    return np.concatenate([s[:, None], t], axis=1).astype(np.float32)


def project(points: ArrayLike, camera: ArrayLike, intrinsics: Intrinsics) -> NDArray[np.float32]:
    """Points of bodies to pixels.

    points: (N, J, 3) metres in each body's own position. camera: (N, 3) where the bodies stand. Returns (N, J, 2).
    What is behind the camera or nearer than 1 cm is taken to be 1 cm away.
    """
    placed = np.asarray(points, float) + np.asarray(camera, float)[:, None]
    depth = np.maximum(placed[..., 2:], NEAREST)
    pixels = intrinsics.focal_length * placed[..., :2] / depth + np.asarray(intrinsics.principal_point)
    return pixels.astype(np.float32)


def ray_directions(pixels: ArrayLike, camera: Intrinsics) -> NDArray[np.float64]:
    """(..., 3) directions, with z = 1, in which `pixels` (..., 2) lie from the camera."""
    flat = (np.asarray(pixels, float) - np.asarray(camera.principal_point)) / camera.focal_length
    return np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], -1)


def look_at_rotations(pixels: ArrayLike, camera: Intrinsics) -> NDArray[np.float64]:
    """(N, 3, 3) from the frames of cameras that look straight at `pixels` (N, 2) to the frame of `camera`.

    The smallest rotations that do so: the optical axis becomes the direction of the pixel.
    """
    directions = ray_directions(pixels, camera)
    x, y, z = (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).T
    share = 1 / (1 + z)
    return np.stack(
        [1 - x * x * share, -x * y * share, x, -x * y * share, 1 - y * y * share, y, -x, -y, z], axis=-1
    ).reshape(-1, 3, 3)


def _from_matrix(matrix: NDArray[np.float64]) -> Intrinsics:
    if matrix.size != 9 or not np.isfinite(matrix).all():
        raise UsageError("the intrinsic matrix must be nine finite numbers: fx 0 cx 0 fy cy 0 0 1")
    (fx, skew, cx), (zero, fy, cy), last = matrix.reshape(3, 3).tolist()
    if min(fx, fy) <= 0 or zero != 0 or last != [0, 0, 1]:
        raise UsageError("the intrinsic matrix must have the form fx 0 cx 0 fy cy 0 0 1, with positive fx and fy")
    if abs(fx - fy) > 0.01 * fx or abs(skew) > 0.01 * fx:
        raise UsageError(f"the camera must have square pixels (fx and fy within 1 %, no skew), not {fx}, {fy}, {skew}")
    return Intrinsics((fx + fy) / 2, (cx, cy))
