"""The square crops that HMR 2.0 and the released tracker see people in, and the cameras of bodies in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics, crop_camera
from fourd_humans.people import Bodies, Float

ASPECT = 192 / 256  # width to height of what HMR 2.0's encoder sees of the crop


@dataclass(frozen=True)
class CropCameras:
    """camera: (N, 3) weak perspective (s, tx, ty) in crops around `center` (N, 2) of `size` (N,), in pixels."""

    camera: Float
    center: Float
    size: Float


def crop_squares(boxes: NDArray[np.float32]) -> tuple[Float, Float]:
    """Centres (N, 2) and sides (N,) in pixels of the squares to crop for boxes (N, 4) xyxy.

    The box is widened or heightened to 192:256, the part of the square that the encoder looks at.
    """
    size = boxes[:, 2:] - boxes[:, :2]
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return center.astype(np.float32), np.maximum(size[:, 1], size[:, 0] / ASPECT).astype(np.float32)


def with_crop_camera(bodies: Bodies, boxes: Float) -> Bodies:
    """The bodies with crop cameras: those of the recovery, or else those in the squares around `boxes` (N, 4) xyxy."""
    if bodies.camera_crop is not None:
        return bodies
    center, size = crop_squares(boxes)
    return with_camera(replace(bodies, crop_center=center, crop_size=size), bodies.camera)


def with_camera(bodies: Bodies, camera: Float) -> Bodies:
    """The bodies at the translations `camera` (N, 3), with the crop cameras that follow where there are crops."""
    changed = replace(bodies, camera=camera)
    if bodies.crop_center is None or bodies.crop_size is None:
        return changed
    intrinsics = Intrinsics(bodies.focal_length, bodies.principal_point)
    return replace(changed, camera_crop=crop_camera(camera, bodies.crop_center, bodies.crop_size, intrinsics))


def crop_cameras(bodies: Bodies) -> CropCameras:
    """Raises: ValueError for bodies without crop cameras, see `with_crop_camera`."""
    if bodies.camera_crop is None or bodies.crop_center is None or bodies.crop_size is None:
        raise ValueError("the bodies have no crop cameras")
    return CropCameras(bodies.camera_crop, bodies.crop_center, bodies.crop_size)
