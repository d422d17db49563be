"""Bodies as the vectors that PHALP compares and predicts: 229 pose features and 99 location features a person.

Pose features: global_orient 9 and body_pose 207 as matrices, betas 10, camera 3.

Location features: the 45 joints (x, y) as fractions of the square that the image is padded to, the last joint being the
root; then a 3x3 block whose row 0 is the translation (x, y, z) in the released convention (focal length 5000 at 256
pixels), row 1 the half-widths of the prediction intervals of x, y and z, and row 2 unused. An observed location repeats
its translation in all three rows. The features are the released ones whatever camera the bodies are in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics, full_image_camera, project, released_intrinsics
from fourd_humans.geometry.crops import crop_cameras
from fourd_humans.people import Bodies, Float

NUM_POSE_FEATURES = 229
ROTATIONS = slice(0, 216)
BETAS = slice(216, 226)
CAMERA = slice(226, 229)
DEPTH_SCALE = 200.0  # what the released code divides depths by

ROOT = slice(88, 90)
TRANSLATION = slice(90, 93)
DEPTH = 92  # the translation's z
INTERVAL = slice(93, 96)
UNUSED = slice(96, 99)

ROTATION_TOLERANCE = 1e-2  # largest entry of RRᵀ - I of what passes for a rotation: half precision is good to 1e-3


def pose_features(bodies: Bodies) -> Float:
    """(N, 229): global_orient, body_pose, betas, camera_crop with its last number divided by 200.

    Raises: ValueError for bodies without crop cameras, see `geometry.crops.with_crop_camera`.
    """
    count = len(bodies)
    camera = crop_cameras(bodies).camera / np.array([1, 1, DEPTH_SCALE], np.float32)
    parts = (bodies.global_orient.reshape(count, 9), bodies.body_pose.reshape(count, 207), bodies.betas, camera)
    return np.concatenate(parts, axis=1).astype(np.float32)


def location_features(bodies: Bodies, size: tuple[int, int]) -> Float:
    """(N, 99), see the module, from the crop cameras: the user's focal length plays no part.

    Raises: ValueError for bodies without crop cameras, see `geometry.crops.with_crop_camera`.
    """
    released, crops = released_intrinsics(size), crop_cameras(bodies)
    camera = full_image_camera(crops.camera, crops.center, crops.size, released)
    pixels = project(bodies.joints_3d, camera, released)
    fractions = (pixels - np.asarray(released.principal_point)) / max(size) + 0.5
    return np.concatenate([fractions.reshape(len(bodies), -1), np.tile(camera, 3)], axis=1).astype(np.float32)


def split_pose_features(poses: NDArray) -> tuple[Float, Float, Float]:
    """global_orient (N, 1, 3, 3), body_pose (N, 23, 3, 3) and betas (N, 10) of pose features (N, 229)."""
    rotations = poses[:, ROTATIONS].reshape(-1, 24, 3, 3).astype(np.float32)
    return rotations[:, :1], rotations[:, 1:], poses[:, BETAS].astype(np.float32)


def cameras_from_locations(locations: NDArray, size: tuple[int, int], intrinsics: Intrinsics) -> Float:
    """(N, 3) where bodies stand in the camera frame of `intrinsics` whose location features are (N, 99)."""
    released = released_intrinsics(size)
    pixels = (locations[:, ROOT] - 0.5) * max(size) + np.asarray(released.principal_point)
    depth = locations[:, DEPTH, None] * intrinsics.focal_length / released.focal_length
    sideways = (pixels - np.asarray(intrinsics.principal_point)) * depth / intrinsics.focal_length
    return np.concatenate([sideways, depth], axis=1).astype(np.float32)


@dataclass(frozen=True)
class MotionFeatures:
    """T bodies, checked.

    values: (T, 229) float32: global orientation 9, body pose 207, betas 10, full-image translation with depth / 200.
    usable: (T,) bool, False where a body is not finite; its values are 0.
    repaired: how many matrices were no rotations and were replaced by the nearest ones.
    """

    values: NDArray[np.float32]
    usable: NDArray[np.bool_]
    repaired: int


def motion_features(bodies: Bodies) -> MotionFeatures:
    """The features of all bodies, with the full-image translation as camera, which motion completion works on."""
    count = len(bodies)
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], axis=1).astype(np.float32)
    rest = np.concatenate([bodies.betas, bodies.camera[:, :2], bodies.camera[:, 2:] / DEPTH_SCALE], axis=1)
    usable = np.isfinite(rotations).all((1, 2, 3)) & np.isfinite(rest).all(1)
    rotations = np.where(usable[:, None, None, None], rotations, np.eye(3, dtype=np.float32))
    rotations, repaired = repair_rotations(rotations)
    values = np.concatenate([rotations.reshape(count, 216), rest], axis=1)
    return MotionFeatures(np.where(usable[:, None], values, 0).astype(np.float32), usable, repaired)


def repair_rotations(matrices: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Matrices (..., 3, 3) with those that are no rotations replaced by the nearest ones, and how many these were."""
    product = matrices @ matrices.swapaxes(-1, -2)
    wrong = (np.abs(product - np.eye(3)).max((-1, -2)) > ROTATION_TOLERANCE) | (np.linalg.det(matrices) < 0)
    if not wrong.any():
        return matrices, 0
    repaired = matrices.copy()
    u, _, vt = np.linalg.svd(matrices[wrong].astype(np.float64))
    u[..., 2] *= np.linalg.det(u @ vt)[..., None]
    repaired[wrong] = u @ vt
    return repaired, int(wrong.sum())
