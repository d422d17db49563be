"""Bodies as the 229 numbers a frame that the pose transformer works on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.rotations import nearest_rotation
from fourd_humans.people import Bodies

DEPTH_UNIT = 200.0  # what the released code divides depths by
TOLERANCE = 1e-2  # largest entry of RRᵀ - I of what passes for a rotation: half precision is good to 1e-3


@dataclass(frozen=True)
class Numbers:
    """T bodies, checked.

    values: (T, 229) float32: global orientation 9, body pose 207, betas 10, full-image translation with depth / 200.
    usable: (T,) bool, False where a body has numbers that are not finite; its values are 0.
    mended: how many matrices were no rotations and were replaced by the nearest ones.
    """

    values: NDArray[np.float32]
    usable: NDArray[np.bool_]
    mended: int


def numbers_of(bodies: Bodies) -> Numbers:
    """The numbers of all bodies."""
    count = len(bodies)
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], axis=1).astype(np.float32)
    rest = np.concatenate([bodies.betas, bodies.camera[:, :2], bodies.camera[:, 2:] / DEPTH_UNIT], axis=1)
    usable = np.isfinite(rotations).all((1, 2, 3)) & np.isfinite(rest).all(1)
    rotations = np.where(usable[:, None, None, None], rotations, np.eye(3, dtype=np.float32))
    rotations, mended = as_rotations(rotations)
    values = np.concatenate([rotations.reshape(count, 216), rest], axis=1)
    return Numbers(np.where(usable[:, None], values, 0).astype(np.float32), usable, mended)


def as_rotations(matrices: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Matrices (..., 3, 3) with those that are no rotations replaced by the nearest ones, and how many these were."""
    product = matrices @ matrices.swapaxes(-1, -2)
    wrong = (np.abs(product - np.eye(3)).max((-1, -2)) > TOLERANCE) | (np.linalg.det(matrices) < 0)
    if not wrong.any():
        return matrices, 0
    mended = matrices.copy()
    mended[wrong] = nearest_rotation(torch.from_numpy(matrices[wrong])).numpy()
    return mended, int(wrong.sum())
