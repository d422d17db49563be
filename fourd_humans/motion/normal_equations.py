"""The least-squares problem of one person's movement: every frame's pose, smooth over time, and one shape.

The parameters of a frame are 24 small rotation vectors, as in `body.points`, and the translation: 75. The 10 betas are
common to all frames. Frames are coupled with the next two, so the Gauss-Newton matrix is banded, with a border for the
betas; the betas are found from their Schur complement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from fourd_humans.body.points import PosedPoints

Array = NDArray[np.float64]

ROTATIONS = slice(0, 72)
TRANSLATION = slice(72, 75)
POSE = slice(0, 75)
BETAS = slice(75, 85)
LEVENBERG = 1e-3  # added to the diagonal of the matrix, relative to it


@dataclass(frozen=True)
class Points:
    """What T frames are compared with, in K points of the body.

    points_3d: (T, K, 3) metres from any origin. weights_3d: (T, K).
    points_2d: (T, L, 2) normalised image points. weights_2d: (T, L). seen: (L,) which of the K points each belongs to.
    rotations: (T, 24, 3, 3). rotation_weights: (T,).
    """

    points_3d: Array
    weights_3d: Array
    points_2d: Array
    weights_2d: Array
    seen: NDArray[np.int64]
    rotations: Array
    rotation_weights: Array


@dataclass(frozen=True)
class Stds:
    """Standard deviations of the residuals, in metres and radians.

    acceleration: of the body's points, from its own origin. translation: (3,) of the translation's acceleration.
    turn: of a joint's rotation from one frame to the next. outlier: in std, see `refinement`.
    """

    points_3d: float
    points_2d: float
    outlier: float
    acceleration: float
    translation: Array
    turn: float


@dataclass(frozen=True)
class NormalEquations:
    """diagonal, next, second: (T, 75, 75) blocks of a frame with itself, the next and the one after it. gradient:
    (T, 75). by_betas: (T, 75, 10). betas: (10, 10) and gradient_betas: (10,)."""

    diagonal: Array
    next: Array
    second: Array
    gradient: Array
    by_betas: Array
    betas: Array
    gradient_betas: Array

    def add(self, frame: int, matrix: Array, gradient: Array) -> None:
        """Add another measurement of one frame: (85, 85) and (85,)."""
        self.diagonal[frame] += matrix[POSE, POSE]
        self.gradient[frame] += gradient[POSE]
        self.by_betas[frame] += matrix[POSE, BETAS]
        self.betas[...] += matrix[BETAS, BETAS]
        self.gradient_betas[...] += gradient[BETAS]

    def solve(self, fixed: int, free_betas: bool) -> tuple[Array, Array]:
        """The step (T, 75) of the frames, of which the first `fixed` stay, and that of the betas (10,)."""
        band = _banded(self.diagonal[fixed:], self.next[fixed:], self.second[fixed:])
        gradient, by_betas = self.gradient[fixed:].reshape(-1, 1), self.by_betas[fixed:].reshape(-1, 10)
        right = np.concatenate([gradient, by_betas], 1) if free_betas else gradient
        # In single precision, half the time: what a step misses, the next one makes up for.
        solved = solveh_banded(band, right.astype(np.float32), overwrite_ab=True, lower=True, check_finite=False)
        solved = solved.astype(float)
        steps: Array = -solved[:, 0]
        step_betas: Array = np.zeros(10)
        if free_betas:
            schur = self.betas - by_betas.T @ solved[:, 1:]
            step_betas = np.linalg.solve(schur, by_betas.T @ solved[:, 0] - self.gradient_betas)
            steps = steps - solved[:, 1:] @ step_betas
        return np.concatenate([np.zeros((fixed, 75)), steps.reshape(-1, 75)]), step_betas


def normal_equations(
    posed: PosedPoints, rotations: Array, translations: Array, betas: Array, targets: Points, stds: Stds, prior: float
) -> NormalEquations:
    """At the rotations (T, 24, 3, 3), translations (T, 3) and betas (10,), with the K points `posed` there.

    prior: how many times the betas' normal distribution, N(0, 1), counts.
    """
    count = len(rotations)
    diagonal, following, second = (np.zeros((count, 75, 75)) for _ in range(3))
    gradient, by_betas = np.zeros((count, 75)), np.zeros((count, 75, 10))
    matrix_betas, gradient_betas = prior * np.eye(10), prior * betas
    _add_measurements(
        posed.points, posed.by_rotation, posed.by_betas, translations, rotations,
        targets.points_3d, targets.weights_3d, targets.points_2d, targets.weights_2d, targets.seen, targets.rotations,
        targets.rotation_weights, stds.points_3d, stds.points_2d, stds.outlier,
        diagonal, gradient, by_betas, matrix_betas, gradient_betas,
    )  # fmt: skip
    _add_turns(rotations, 1 / stds.turn**2, diagonal, following, gradient)
    _add_accelerations(
        posed.points, posed.by_rotation, translations, stds.acceleration, 1 / stds.translation**2,
        diagonal, following, second, gradient,
    )  # fmt: skip
    return NormalEquations(diagonal, following, second, gradient, by_betas, matrix_betas, gradient_betas)


@njit(nogil=True, cache=True)
def _add_measurements(  # type: ignore[no-untyped-def]
    points, by_rotation, by_betas, translations, rotations,
    points_3d, weights_3d, points_2d, weights_2d, seen, measured_rotations, rotation_weights, std_3d, std_2d, outlier,
    diagonal, gradient, pose_by_betas, matrix_betas, gradient_betas,
):  # fmt: skip
    """Three residuals for every point in space, from the weighted mean of all points; two for every point in the
    picture, in metres at the person's depth; three for every rotation. Residuals beyond `outlier` std hardly count
    (Geman-McClure)."""
    count, in_space, in_picture = points.shape[0], points.shape[1], len(seen)
    rows, residuals = np.zeros((3 * in_space + 2 * in_picture, 85)), np.zeros(3 * in_space + 2 * in_picture)
    for t in range(count):
        share = weights_3d[t] / max(weights_3d[t].sum(), 1e-9)
        mean, mean_rotation, mean_betas = np.zeros(3), np.zeros((3, 72)), np.zeros((3, 10))
        for k in range(in_space):
            mean += share[k] * (points[t, k] - points_3d[t, k])
            mean_rotation += share[k] * by_rotation[t, k]
            mean_betas += share[k] * by_betas[t, k]
        for k in range(in_space):
            error = points[t, k] - points_3d[t, k] - mean
            weight = np.sqrt(weights_3d[t, k]) / (1 + (error**2).sum() / (std_3d * outlier) ** 2) / std_3d
            for c in range(3):
                residuals[3 * k + c] = weight * error[c]
                rows[3 * k + c, :72] = weight * (by_rotation[t, k, c] - mean_rotation[c])
                rows[3 * k + c, 75:] = weight * (by_betas[t, k, c] - mean_betas[c])
        x, y, distance = translations[t]
        for i in range(in_picture):
            k, first = seen[i], 3 * in_space + 2 * i
            depth = max(points[t, k, 2] + distance, 0.1)
            where = ((points[t, k, 0] + x) / depth, (points[t, k, 1] + y) / depth)
            errors = ((where[0] - points_2d[t, i, 0]) * distance, (where[1] - points_2d[t, i, 1]) * distance)
            squared = errors[0] ** 2 + errors[1] ** 2
            weight = np.sqrt(weights_2d[t, i]) / (1 + squared / (std_2d * outlier) ** 2) / std_2d
            scale = weight * distance / depth
            for c in range(2):
                residuals[first + c] = weight * errors[c]
                rows[first + c, :72] = scale * (by_rotation[t, k, c] - where[c] * by_rotation[t, k, 2])
                rows[first + c, 72:75] = 0
                rows[first + c, 72 + c] = scale
                rows[first + c, 74] = -scale * where[c]
                rows[first + c, 75:] = scale * (by_betas[t, k, c] - where[c] * by_betas[t, k, 2])
        single = rows.astype(np.float32)  # half the time, and enough for the matrix, but not for its right-hand side
        matrix = single.T @ single
        right = rows.T @ residuals
        diagonal[t] += matrix[:75, :75]
        gradient[t] += right[:75]
        pose_by_betas[t] += matrix[:75, 75:]
        matrix_betas += matrix[75:, 75:]
        gradient_betas += right[75:]
        for j in range(24):
            turn, squared = _turn(rotations[t, j], measured_rotations[t, j])
            for c in range(3):
                diagonal[t, 3 * j + c, 3 * j + c] += rotation_weights[t]
                gradient[t, 3 * j + c] += rotation_weights[t] * turn[c] / (1 + squared) ** 2


@njit(nogil=True, cache=True)
def _turn(first, second):  # type: ignore[no-untyped-def]
    """The turn from the rotation `second` to `first`, as its axis times its sine; its squared angle, nearly."""
    r = first @ second.T
    turn = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / 2
    return turn, 3 - (r[0, 0] + r[1, 1] + r[2, 2])


@njit(nogil=True, cache=True)
def _add_turns(rotations, weight, diagonal, following, gradient):  # type: ignore[no-untyped-def]
    """The turn of every joint but the first from one frame to the next."""
    for t in range(len(rotations) - 1):
        for j in range(1, 24):
            turn, _ = _turn(rotations[t + 1, j], rotations[t, j])
            for c in range(3):
                i = 3 * j + c
                diagonal[t, i, i] += weight
                diagonal[t + 1, i, i] += weight
                following[t, i, i] -= weight
                gradient[t, i] -= weight * turn[c]
                gradient[t + 1, i] += weight * turn[c]


@njit(nogil=True, cache=True)
def _add_accelerations(  # type: ignore[no-untyped-def]
    points, by_rotation, translations, std, translation_weights, diagonal, following, second, gradient
):
    """The second differences of all points and of the translation over time."""
    count, rows = points.shape[0], 3 * points.shape[1]
    jacobian = np.ascontiguousarray(by_rotation).reshape(count, rows, 72) / std
    single = jacobian.astype(np.float32)
    values = np.ascontiguousarray(points).reshape(count, rows) / std
    coefficients = np.array([1.0, -2.0, 1.0])
    for t in range(count):
        for other in range(t, min(t + 3, count)):
            # All accelerations, each named by its middle frame, in which both frames take part.
            product = 0.0
            for middle in range(max(other - 1, 1), min(t + 1, count - 2) + 1):
                product += coefficients[t - middle + 1] * coefficients[other - middle + 1]
            if product == 0.0:
                continue
            block = diagonal[t] if other == t else following[t] if other == t + 1 else second[t]
            block[:72, :72] += product * (single[t].T @ single[other])
            for c in range(3):
                block[72 + c, 72 + c] += product * translation_weights[c]
        pull = np.zeros(rows)
        for middle in range(max(t - 1, 1), min(t + 1, count - 2) + 1):
            coefficient = coefficients[t - middle + 1]
            pull += coefficient * (values[middle - 1] - 2 * values[middle] + values[middle + 1])
            moved = translations[middle - 1] - 2 * translations[middle] + translations[middle + 1]
            gradient[t, 72:] += coefficient * translation_weights * moved
        gradient[t, :72] += jacobian[t].T @ pull


@njit(nogil=True, cache=True)
def _banded(diagonal, following, second):  # type: ignore[no-untyped-def]
    """The blocks as the lower band of a symmetric matrix, as `solveh_banded` takes it, with a damped diagonal."""
    count, size = diagonal.shape[:2]
    band = np.zeros((3 * size, count * size), np.float32)
    for t in range(count):
        for j in range(size):
            column = t * size + j
            band[: size - j, column] = diagonal[t, j:, j]
            band[0, column] += LEVENBERG * diagonal[t, j, j] + 1e-6
            if t + 1 < count:
                band[size - j : 2 * size - j, column] = following[t, j]
            if t + 2 < count:
                band[2 * size - j : 3 * size - j, column] = second[t, j]
    return band
