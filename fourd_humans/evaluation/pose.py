"""3D pose errors, in millimetres.

MPJPE, PA-MPJPE and PVE as in Kanazawa et al., "End-to-end Recovery of Human Shape and Pose", CVPR 2018, section 4, and
the acceleration error of Kanazawa et al., "Learning 3D Human Dynamics from Video", CVPR 2019, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MILLIMETRES = 1000.0

Array = NDArray[np.floating]


def mpjpe(predicted: Array, truth: Array, root: int | Sequence[int] | None = None) -> NDArray[np.float64]:
    """Mean per-joint position error of each frame.

    predicted, truth: (..., J, 3) metres. root: the joint, or joints whose midpoint, both are moved to the origin by;
    None leaves them where they are. Returns (...) mm.
    """
    return _mean_distance(_from_root(predicted, root), _from_root(truth, root))


def pa_mpjpe(predicted: Array, truth: Array) -> NDArray[np.float64]:
    """MPJPE after the best rotation, translation and scale of each frame (Procrustes analysis).

    predicted, truth: (..., J, 3) metres. Returns (...) mm.
    """
    return _mean_distance(procrustes(predicted, truth), np.asarray(truth, np.float64))


def procrustes(points: Array, target: Array) -> NDArray[np.float64]:
    """`points` (..., J, 3) brought onto `target` (..., J, 3) by the similarity with the least squared error.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991. Points that all
    coincide are only moved.
    """
    points, target = np.asarray(points, np.float64), np.asarray(target, np.float64)
    target_mean = target.mean(-2, keepdims=True)
    a, b = points - points.mean(-2, keepdims=True), target - target_mean
    u, singular, vt = np.linalg.svd(np.swapaxes(a, -1, -2) @ b)
    signs = np.ones_like(singular)
    signs[..., -1] = np.sign(np.linalg.det(u @ vt))  # a rotation, never a reflection
    spread = np.square(a).sum((-1, -2))
    scale = (singular * signs).sum(-1) / np.where(spread > 0, spread, 1.0)
    return scale[..., None, None] * (a @ (u * signs[..., None, :]) @ vt) + target_mean


def pve(predicted: Array, truth: Array, predicted_root: Array, truth_root: Array) -> NDArray[np.float64]:
    """Per-vertex error in mm: mean distance of vertices (..., V, 3), each mesh moved by its root joint (..., 3)."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    return _mean_distance(predicted - predicted_root[..., None, :], truth - truth_root[..., None, :])


def acceleration_error(predicted: Array, truth: Array, visible: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Mean difference of the joints' accelerations, by second differences of three successive frames.

    predicted, truth: (T, J, 3) metres, one person. visible: (T,), frames that count; a difference with a frame that
    does not is left out. Returns (up to T − 2,) mm per frame².
    """
    difference = np.diff(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), n=2, axis=0)
    error: NDArray[np.float64] = np.linalg.norm(difference, axis=-1).mean(-1) * MILLIMETRES
    if visible is None:
        return error
    return error[visible[:-2] & visible[1:-1] & visible[2:]]


def _from_root(joints: Array, root: int | Sequence[int] | None) -> NDArray[np.float64]:
    points: NDArray[np.float64] = np.asarray(joints, np.float64)
    if root is None:
        return points
    return points - points[..., np.atleast_1d(root), :].mean(-2, keepdims=True)


def _mean_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.linalg.norm(a - b, axis=-1).mean(-1) * MILLIMETRES
    return distance
