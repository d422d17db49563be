"""How the lite chain errs: its bodies against those that were drawn, put upon other movements.

The file holds, for synthetic people who were drawn, detected and recovered (`benchmarks/actions.py errors`), the
rotation from each true joint rotation to the recovered one, ten times a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.actions.tracks import RATE
from fourd_humans.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from fourd_humans.pose_features import ROTATIONS

FILE = Path(str(files(__package__) / "data" / "recovery_errors.npz"))
ERRORS_RATE = 10.0  # a second
SAME_ACTION = 0.7  # share of the people whose errors come from one who does the same
STRENGTH = (0.7, 1.2)


@dataclass(frozen=True)
class RecoveryErrors:
    """Errors of N drawn people. rotations: (N, T, 24, 3) axis-angle. actions: (N,) which action each was drawn for."""

    rotations: NDArray[np.float32]
    actions: NDArray[np.int64]

    def apply(self, poses: NDArray[np.float32], action: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Pose features (n, 229) at `RATE` with the errors of one of the people, as often as they last."""
        same = np.flatnonzero(self.actions == action)
        chosen = same if len(same) and rng.random() < SAME_ACTION else np.arange(len(self.actions))
        errors = self.rotations[rng.choice(chosen)]
        last = len(errors) - 1
        clock = np.arange(len(poses)) * (ERRORS_RATE / RATE) + rng.uniform(0, 2 * last)
        place = last - np.abs(np.mod(clock, 2 * last) - last)  # to and fro
        before = np.minimum(place.astype(int), last - 1)
        share = (place - before)[:, None, None]
        error = (errors[before] * (1 - share) + errors[before + 1] * share) * rng.uniform(*STRENGTH)
        turned = axis_angle_to_matrix(torch.from_numpy(error.astype(np.float32))).numpy()
        result = poses.copy()
        rotations = poses[:, ROTATIONS].reshape(-1, 24, 3, 3) @ turned
        result[:, ROTATIONS] = rotations.reshape(len(poses), -1)
        return result


def errors_between(true: NDArray[np.float32], recovered: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T, 24, 3) axis-angle from true to recovered rotations, both (T, 24, 3, 3)."""
    difference = torch.from_numpy(np.ascontiguousarray(true)).mT @ torch.from_numpy(np.ascontiguousarray(recovered))
    return matrix_to_axis_angle(difference).numpy().astype(np.float32)


def load_recovery_errors(path: Path = FILE) -> RecoveryErrors:
    with np.load(path, allow_pickle=False) as stored:
        return RecoveryErrors(stored["rotations"].astype(np.float32), stored["actions"].astype(np.int64))
