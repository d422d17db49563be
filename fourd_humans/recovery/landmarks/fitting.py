"""Fits the body to landmarks: rotations, shape and place, by damped Gauss-Newton steps on points of the body.

All people are fitted at once. The unknowns of each are a small rotation of every joint in its parent's frame (72), the
betas (10), and the place in the camera frame (x, y, log z; 3). Residuals are in units of what each measurement is good
to, so that the weights below are standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.recovery.landmarks.points import NUM_BETAS, NUM_ROTATIONS, Array, BodyPoints
from fourd_humans.recovery.landmarks.priors import HIGHEST, LOWEST, MEAN, SPREAD

TURNS = slice(0, 3 * NUM_ROTATIONS)
BETAS = slice(TURNS.stop, TURNS.stop + NUM_BETAS)
PLACE = slice(BETAS.stop, BETAS.stop + 3)
FIRST_PLACE = PLACE.start

STEPS = 4
NEAREST, FARTHEST = 0.3, 1e5  # metres from the camera that a body may stand
LARGEST_TURN = 0.7  # radians that a joint may turn in one step
SPREAD_3D = 0.06  # metres that 3D landmarks are good to
SPREAD_2D = 0.03  # metres, at the person's depth, that landmarks in the picture are good to
SPREAD_BETAS = 1.0  # the body's betas are N(0, 1) over people
SPREAD_LIMIT = 0.1  # radians beyond a joint's limits
OUTLIER = 3.0  # in spreads: landmarks much farther off than this hardly count (Geman and McClure's estimator)


@dataclass(frozen=True)
class Targets:
    """What N people are fitted to, in K points of the body, and in L directions from the camera.

    metres: (N, K, 3) from any origin, x right, y down, z away; surety_3d: (N, K) in 0..1.
    rays: (N, L, 2) pixels from the principal point over the focal length; surety_2d: (N, L) in 0..1.
    """

    metres: Array
    surety_3d: Array
    rays: Array
    surety_2d: Array


@dataclass(frozen=True)
class Fit:
    """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10). place: (N, 3) in the camera frame."""

    rotations: Array
    betas: Array
    place: Array


def fit(body: BodyPoints, targets: Targets, seen: NDArray[np.int64], rotations: Array, steps: int = STEPS) -> Fit:
    """The bodies that agree best with the targets, from `rotations` (N, 24, 3, 3) on.

    seen: (L,) which of the K points each ray belongs to.

    A step that makes somebody's fit worse is taken back for that person and tried again with more damping, so the
    result is never worse than the start; it is finite whatever the targets.
    """
    count = len(rotations)
    betas = np.zeros((count, NUM_BETAS))
    posed = body.pose(rotations, betas)
    place = placed(posed.points[:, seen], targets)
    cost, hessian, gradient = _linearised(body, targets, seen, rotations, betas, place)
    damping = np.full(count, 1e-2)
    for _ in range(steps):
        diagonal = np.einsum("nii->ni", hessian)
        damped = hessian + (damping[:, None] * diagonal)[..., None] * np.eye(PLACE.stop)
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
        largest = np.linalg.norm(step[:, TURNS].reshape(count, -1, 3), axis=2).max(1)
        step *= np.minimum(1, LARGEST_TURN / np.maximum(largest, 1e-9))[:, None]
        turned = Rotation.from_rotvec(step[:, TURNS].reshape(-1, 3)).as_matrix().reshape(rotations.shape) @ rotations
        new_betas = betas + step[:, BETAS]
        new_place = _moved(place, step[:, PLACE])
        new_cost, new_hessian, new_gradient = _linearised(body, targets, seen, turned, new_betas, new_place)
        better = new_cost < cost
        rotations, betas, place = (
            np.where(_like(better, new), new, old)
            for new, old in ((turned, rotations), (new_betas, betas), (new_place, place))
        )
        hessian, gradient = (
            np.where(_like(better, hessian), new_hessian, hessian),
            np.where(better[:, None], new_gradient, gradient),
        )
        damping = np.clip(np.where(better, damping / 4, damping * 8), 1e-5, 1e3)
        cost = np.where(better, new_cost, cost)
    return Fit(Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_matrix().reshape(rotations.shape), betas, place)


def placed(points: Array, targets: Targets) -> Array:
    """(N, 3) where bodies with these points (N, L, 3) must stand to be as large in the picture as their targets."""
    weight = targets.surety_2d[..., None] + 1e-6
    flat, rays = points[..., :2], targets.rays
    total = weight.sum(1, keepdims=True)
    flat_mean, rays_mean = (flat * weight).sum(1, keepdims=True) / total, (rays * weight).sum(1, keepdims=True) / total
    spread = (weight * (flat - flat_mean) ** 2).sum((1, 2))
    common = (weight * (flat - flat_mean) * (rays - rays_mean)).sum((1, 2))
    spread_rays = (weight * (rays - rays_mean) ** 2).sum((1, 2))
    # How much smaller the picture is than the body: by regression, but by the sizes alone where they hardly agree.
    sizes = np.sqrt(spread_rays / np.maximum(spread, 1e-9))
    inverse_depth = np.clip(common / np.maximum(spread, 1e-9), sizes / 2, None)
    depth = 1 / np.maximum(inverse_depth, 1e-6)
    depth -= points[..., 2].mean(1)
    depth = np.maximum(depth, NEAREST)
    return np.concatenate([rays_mean[:, 0] * depth[:, None] - flat_mean[:, 0], depth[:, None]], 1)


def moved_to(points: Array, rays: Array, surety: Array, place: Array, steps: int = 3) -> Array:
    """(N, 3) the places nearest to `place` (N, 3) from which points (N, L, 3) project to rays (N, L, 2) best.

    Gauss-Newton on the weighted squared distances; surety: (N, L) in 0..1.
    """
    for _ in range(steps):
        placed = points + place[:, None]
        depth = np.maximum(placed[..., 2:], NEAREST)
        where = placed[..., :2] / depth
        by = np.zeros((*where.shape, 3))
        by[..., 0, 0] = by[..., 1, 1] = 1
        by[..., 2] = -where
        weighted = by * surety[..., None, None]
        error = (where - rays) * depth
        hessian = np.einsum("nlci,nlcj->nij", weighted, by) + 1e-9 * np.eye(3)
        gradient = np.einsum("nlci,nlc->ni", weighted, error)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        step[:, 2] = np.clip(step[:, 2], -0.5 * place[:, 2], place[:, 2])
        place = place + step
        place[:, 2] = np.maximum(place[:, 2], NEAREST)
    return place


def _moved(place: Array, step: Array) -> Array:
    """Places after a step: nearer or farther along the line of sight, then aside."""
    along = np.exp(np.clip(step[:, 2:], -0.5, 0.5))
    moved = place * along
    moved[:, :2] += step[:, :2]
    moved[:, 2] = np.clip(moved[:, 2], NEAREST, FARTHEST)
    return moved


def _linearised(
    body: BodyPoints, targets: Targets, seen: NDArray[np.int64], rotations: Array, betas: Array, place: Array
) -> tuple[Array, Array, Array]:
    """The cost (N,), its Gauss-Newton matrix (N, 85, 85) and gradient (N, 85)."""
    posed = body.pose(rotations, betas)
    count, residuals = len(rotations), posed.points[0].size + targets.rays[0].size
    rows, errors, cost = np.zeros((count, residuals, PLACE.stop)), np.zeros((count, residuals)), np.zeros(count)
    _residuals(
        posed.points, posed.by_turn, posed.by_betas, place, targets.metres, targets.surety_3d, targets.rays,
        targets.surety_2d, seen, rows, errors, cost,
    )  # fmt: skip
    hessian = rows.swapaxes(1, 2) @ rows
    gradient = (rows.swapaxes(1, 2) @ errors[..., None])[..., 0]

    turns = Rotation.from_matrix(rotations[:, 1:].reshape(-1, 3, 3)).as_rotvec().reshape(count, -1)
    off, beyond = (turns - MEAN) / SPREAD, (turns - np.clip(turns, LOWEST, HIGHEST)) / SPREAD_LIMIT
    pose = np.arange(3, TURNS.stop)
    gradient[:, pose] += off / SPREAD + beyond / SPREAD_LIMIT
    hessian[:, pose, pose] += 1 / SPREAD**2 + (beyond != 0) / SPREAD_LIMIT**2
    gradient[:, BETAS] += betas / SPREAD_BETAS**2
    shape = np.arange(BETAS.start, BETAS.stop)
    hessian[:, shape, shape] += 1 / SPREAD_BETAS**2
    always = np.arange(PLACE.stop)
    hessian[:, always, always] += 1e-6

    cost += (off**2).sum(1) + (beyond**2).sum(1) + (betas**2).sum(1) / SPREAD_BETAS**2
    return cost, hessian, gradient


@njit(nogil=True, cache=True)
def _residuals(  # type: ignore[no-untyped-def]
    points, by_turn, by_betas, place, metres, surety_3d, rays, surety_2d, seen, rows, errors, cost
):
    """Fill in the last three, which start at 0: derivatives (N, R, 85) and residuals (N, R), both times the square root
    of their weight, and the robust cost (N,). First come three residuals for every point in space, from the weighted
    mean of all points; then two for every ray, in metres at the person's depth.
    """
    shape, x, z = by_turn.shape[-1], FIRST_PLACE, FIRST_PLACE + 2
    for n in range(len(points)):
        share = surety_3d[n] / max(surety_3d[n].sum(), 1e-6)
        mean, mean_row = np.zeros(3), np.zeros((3, x))
        for k in range(len(share)):
            mean += share[k] * (points[n, k] - metres[n, k])
            mean_row[:, :shape] += share[k] * by_turn[n, k]
            mean_row[:, shape:] += share[k] * by_betas[n, k]
        for k in range(len(share)):
            error = points[n, k] - metres[n, k] - mean
            scaled = (error**2).sum() / SPREAD_3D**2
            weight = np.sqrt(surety_3d[n, k]) * _robust(scaled) / SPREAD_3D
            cost[n] += surety_3d[n, k] * scaled * _robust(scaled)
            for c in range(3):
                errors[n, 3 * k + c] = weight * error[c]
                rows[n, 3 * k + c, :shape] = weight * (by_turn[n, k, c] - mean_row[c, :shape])
                rows[n, 3 * k + c, shape:x] = weight * (by_betas[n, k, c] - mean_row[c, shape:])
        for ray in range(len(seen)):
            k, distance, first = seen[ray], place[n, 2], 3 * len(share) + 2 * ray
            depth = max(points[n, k, 2] + distance, 0.1)
            where = (points[n, k, :2] + place[n, :2]) / depth
            error_2d = (where - rays[n, ray]) * distance
            scaled = (error_2d**2).sum() / SPREAD_2D**2
            weight = np.sqrt(surety_2d[n, ray]) * _robust(scaled) / SPREAD_2D
            cost[n] += surety_2d[n, ray] * scaled * _robust(scaled)
            scale = weight * distance / depth
            for c in range(2):
                row = rows[n, first + c]
                errors[n, first + c] = weight * error_2d[c]
                row[:shape] = scale * (by_turn[n, k, c] - where[c] * by_turn[n, k, 2])
                row[shape:x] = scale * (by_betas[n, k, c] - where[c] * by_betas[n, k, 2])
                row[x + c] = scale
                row[z] = scale * (place[n, c] - where[c] * distance)


@njit(nogil=True, cache=True)
def _robust(scaled):  # type: ignore[no-untyped-def]
    """The square root of the weight, and what multiplies the cost, of a residual of so many squared spreads."""
    return 1 / (1 + scaled / OUTLIER**2)


def _like(chosen: NDArray[np.bool_], array: Array) -> NDArray[np.bool_]:
    return chosen.reshape(-1, *[1] * (array.ndim - 1))
