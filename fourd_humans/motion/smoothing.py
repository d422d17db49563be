"""Bodies averaged over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics, crop_camera
from fourd_humans.geometry.rotations import nearest_rotation
from fourd_humans.motion.interpolation import from_picture, to_picture
from fourd_humans.people import Bodies, Float


def smooth_bodies(frames: NDArray[np.integer], bodies: Bodies, sigma: float) -> Bodies:
    """The bodies of one person (T rows, in `frames` (T,)) averaged with a Gaussian of `sigma` frames over time.

    Rotations by the chordal mean, the rotation nearest to the weighted mean of the matrices; the place as seen in the
    picture, with depth by its logarithm. A person has one shape: betas become their mean over all rows.
    Joints are the caller's to compute anew (`completion.with_joints`).
    """
    apart = (frames[:, None] - frames[None]) / sigma
    weights = np.exp(-0.5 * apart**2)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    rotations = _mean(weights, np.concatenate([bodies.global_orient, bodies.body_pose], axis=1))
    rotations = nearest_rotation(torch.from_numpy(rotations)).numpy()
    camera = from_picture(_mean(weights, to_picture(bodies.camera)))
    crop_center, crop_size = _mean(weights, bodies.crop_center), _mean(weights, bodies.crop_size)
    intrinsics = Intrinsics(bodies.focal_length, bodies.principal_point)
    return replace(
        bodies,
        global_orient=rotations[:, :1],
        body_pose=rotations[:, 1:],
        betas=np.repeat(bodies.betas.mean(0, keepdims=True), len(bodies), axis=0),
        camera_crop=crop_camera(camera, crop_center, crop_size, intrinsics),
        crop_center=crop_center,
        crop_size=crop_size,
        camera=camera,
    )


def _mean(weights: Float, values: NDArray) -> Float:
    return np.tensordot(weights, values, 1).astype(np.float32)
