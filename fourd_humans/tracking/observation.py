"""From bodies to the numbers that the tracker compares, and from numbers back to bodies.

The tracker's numbers are the released ones whatever camera the bodies are in: places are fractions of the square that
the frame is padded to, translations those of a focal length of 5000 at 256 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.camera import Intrinsics, full_image_camera, project, released_intrinsics
from fourd_humans.motion.location import DEPTH, ROOT
from fourd_humans.people import Bodies, Detections, Float
from fourd_humans.tracking.track import Observation

CAMERA_SCALE = 200.0  # the pose vector's last number is the crop camera's divided by this


def observe(frame: int, size: tuple[int, int], detections: Detections, bodies: Bodies) -> list[Observation]:
    """One observation for each person of a frame of `size` (height, width).

    Raises: ValueError for a body without texture, one that is not finite, or one not in front of the camera.
    """
    if not len(bodies):
        return []
    if bodies.texture is None:
        raise ValueError("the tracker needs bodies with textures")
    poses, locations = pose_vectors(bodies), location_vectors(bodies, size)
    usable = np.isfinite(poses).all(1) & np.isfinite(locations).all(1) & (locations[:, DEPTH] > 0)
    if not usable.all():
        raise ValueError(f"frame {frame}: person {int(np.argmin(usable))} has no finite body in front of the camera")
    annotations = detections.annotations or [None] * len(bodies)
    return [
        Observation(frame, pose, location, texture, float(score), annotated=annotation is not None)
        for pose, location, texture, score, annotation in zip(
            poses, locations, bodies.texture, detections.scores, annotations, strict=True
        )
    ]


def pose_vectors(bodies: Bodies) -> Float:
    """(N, 229): global_orient, body_pose, betas, camera_crop with its last number divided by 200."""
    count = len(bodies)
    camera = bodies.camera_crop / np.array([1, 1, CAMERA_SCALE], np.float32)
    parts = (bodies.global_orient.reshape(count, 9), bodies.body_pose.reshape(count, 207), bodies.betas, camera)
    return np.concatenate(parts, axis=1).astype(np.float32)


def location_vectors(bodies: Bodies, size: tuple[int, int]) -> Float:
    """(N, 99), see `motion.location`, from the crop cameras: the user's focal length plays no part."""
    released = released_intrinsics(size)
    camera = full_image_camera(bodies.camera_crop, bodies.crop_center, bodies.crop_size, released)
    pixels = project(bodies.joints_3d, camera, released)
    fractions = (pixels - np.asarray(released.principal_point)) / max(size) + 0.5
    return np.concatenate([fractions.reshape(len(bodies), -1), np.tile(camera, 3)], axis=1).astype(np.float32)


def split_poses(poses: NDArray) -> tuple[Float, Float, Float]:
    """global_orient (N, 1, 3, 3), body_pose (N, 23, 3, 3) and betas (N, 10) of pose vectors (N, 229)."""
    rotations = poses[:, :216].reshape(-1, 24, 3, 3).astype(np.float32)
    return rotations[:, :1], rotations[:, 1:], poses[:, 216:226].astype(np.float32)


def cameras_at(locations: NDArray, size: tuple[int, int], intrinsics: Intrinsics) -> Float:
    """(N, 3) where bodies stand in the camera frame of `intrinsics` whose location vectors are (N, 99)."""
    released = released_intrinsics(size)
    pixels = (locations[:, ROOT] - 0.5) * max(size) + np.asarray(released.principal_point)
    depth = locations[:, DEPTH, None] * intrinsics.focal_length / released.focal_length
    sideways = (pixels - np.asarray(intrinsics.principal_point)) * depth / intrinsics.focal_length
    return np.concatenate([sideways, depth], axis=1).astype(np.float32)
