"""Poses and shapes of real people, unpaired with any picture: what the discriminator learns to recognise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.npz import read_npz
from fourd_humans.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from fourd_humans.motion.synthetic import synthesise
from fourd_humans.people import Float


@dataclass(frozen=True)
class MotionCapture:
    """body_pose: (N, 69) axis-angle of SMPL's joints but for the root. betas: (N, 10)."""

    body_pose: Float
    betas: Float

    def draw(self, seed: tuple[int, ...], count: int, part: int = 0, parts: int = 1) -> tuple[Tensor, Tensor]:
        """Rotations (M, 23, 3, 3) and betas (M, 10) of `count` random bodies, or of every `parts`-th of these."""
        rows = np.random.default_rng(seed).integers(len(self.betas), size=count)[part::parts]
        pose = torch.from_numpy(self.body_pose[rows]).unflatten(1, (23, 3))
        return axis_angle_to_matrix(pose), torch.from_numpy(self.betas[rows])


def read_mocap(path: Path) -> MotionCapture:
    """``cmu_mocap.npz`` of the released training data, or another npz of that layout.

    It has ``body_pose`` (N, 72, the root first, or N, 69) and ``betas`` (N, 10).
    Raises: FourDHumansError naming the file and what is wrong with it.
    """
    arrays = read_npz(path, ("body_pose", "betas"))
    if missing := {"body_pose", "betas"} - set(arrays):
        raise FourDHumansError(f"{path} lacks {', '.join(sorted(missing))}")
    pose, betas = arrays["body_pose"], arrays["betas"]
    if pose.ndim != 2 or pose.shape[1] not in (69, 72) or betas.shape != (len(pose), 10) or not len(pose):
        raise FourDHumansError(f"{path}: body_pose {pose.shape} and betas {betas.shape} are not (N, 72) and (N, 10)")
    pose, betas = pose[:, -69:].astype(np.float32), betas.astype(np.float32)
    if not (np.isfinite(pose).all() and np.isfinite(betas).all()):
        raise FourDHumansError(f"{path} holds numbers that are not finite")
    return MotionCapture(pose, betas)


def synthetic_mocap(people: int, seed: int) -> MotionCapture:
    """Made-up poses (see `fourd_humans.motion.synthetic`), and betas of a standard normal distribution, as the open
    body's are."""
    features = synthesise(people, 2, seed).poses[:, 1]
    rotations = torch.from_numpy(features[:, 9:216]).unflatten(1, (23, 3, 3))
    return MotionCapture(matrix_to_axis_angle(rotations).flatten(1).numpy(), features[:, 216:226].copy())
