"""Bodies averaged over time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.geometry.crops import with_camera
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
    smooth = replace(
        bodies,
        global_orient=rotations[:, :1],
        body_pose=rotations[:, 1:],
        betas=np.repeat(bodies.betas.mean(0, keepdims=True), len(bodies), axis=0),
        crop_center=None if bodies.crop_center is None else _mean(weights, bodies.crop_center),
        crop_size=None if bodies.crop_size is None else _mean(weights, bodies.crop_size),
    )
    return with_camera(smooth, camera)


def _mean(weights: Float, values: NDArray) -> Float:
    return np.tensordot(weights, values, 1).astype(np.float32)
