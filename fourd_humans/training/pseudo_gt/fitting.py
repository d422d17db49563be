"""Fits SMPL to 2D keypoints, starting from a regressor's bodies, as SMPLify does (Bogo et al., ECCV 2016).

Three stages: the root's orientation and the translation on the trunk; the pose; pose and betas. Each takes damped
Gauss-Newton steps with exact derivatives, for all people at once. A step that increases a person's cost is undone for
that person. The cost is, in squared standard deviations,

- the distance of each projected joint to its keypoint, over the side of the person's box, weighted by the squared
  confidence and bounded by Geman and McClure's function;
- of each joint's rotation, the distance to the start, and beyond the limits of `body.joint_limits`, and, weakly, to the
  mean of that table: these priors are of our own making and need no data;
- of the betas, the distance to the start and to 0, and of the depth, the distance to the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fourd_humans.body.joint_limits import POSE_MAX, POSE_MEAN, POSE_MIN, POSE_STD
from fourd_humans.body.tensor_points import TensorBodyPoints
from fourd_humans.geometry.rotations import axis_angle_to_matrix, cross_matrix, matrix_to_axis_angle, nearest_rotation

ROOT, POSE, BETAS, TRANSLATION = slice(0, 3), slice(3, 72), slice(72, 82), slice(82, 85)
NUM_PARAMETERS = TRANSLATION.stop
NEAREST, FARTHEST = 0.3, 1e5  # metres from the camera
MAX_ROTATION = 0.5  # radians, of a joint in one step
TRUNK = (5, 6, 11, 12)  # COCO's shoulders and hips


@dataclass(frozen=True)
class FitSettings:
    """Standard deviations of the terms, and how many steps each stage takes.

    keypoint_std: of a keypoint, over the box's longer side. outlier: standard deviations from which on a keypoint's
    weight falls. start_std: radians, of a joint's rotation from the start; root_std: of the root's. range_scale: of a
    joint's rotation from the mean pose, over the standard deviations of `body.joint_limits`. limit_std: radians beyond
    a joint's limits. betas_start_std: of the betas from the start; betas_std: of the betas. depth_std: of the depth
    from the start, relative.
    """

    keypoint_std: float = 0.013
    outlier: float = 8.0
    start_std: float = 0.35
    root_std: float = 0.35
    range_scale: float = 0.7
    limit_std: float = 0.1
    betas_start_std: float = 1.0
    betas_std: float = 1.5
    depth_std: float = 0.3
    steps: tuple[int, int, int] = (8, 12, 12)


@dataclass(frozen=True)
class Keypoints:
    """K points in the image of N people. points: (N, K, 2) normalised, pixels from the principal point over the focal
    length. confidence: (N, K) in 0..1. box_size: (N,) the longer side of the box, in the same units as the points.
    """

    points: Tensor
    confidence: Tensor
    box_size: Tensor


@dataclass(frozen=True)
class FittedBodies:
    """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10). translation: (N, 3) metres."""

    rotations: Tensor
    betas: Tensor
    translation: Tensor

    def where(self, chosen: Tensor, other: FittedBodies) -> FittedBodies:
        """These bodies where chosen (N,), the others elsewhere."""
        return FittedBodies(
            torch.where(chosen[:, None, None, None], self.rotations, other.rotations),
            torch.where(chosen[:, None], self.betas, other.betas),
            torch.where(chosen[:, None], self.translation, other.translation),
        )


@dataclass(frozen=True)
class FitResult:
    """bodies: the fits. joints: (N, K, 2) their projected joints, normalised."""

    bodies: FittedBodies
    joints: Tensor


OnStage = Callable[[str, FittedBodies], None]


def fit(
    body: TensorBodyPoints,
    keypoints: Keypoints,
    start: FittedBodies,
    settings: FitSettings | None = None,
    on_stage: OnStage = lambda name, bodies: None,
) -> FitResult:
    """The bodies that agree best with keypoints of the `body`'s points.

    on_stage: called with the bodies after each stage, "root", "pose" and "shape".
    """
    chosen = settings or FitSettings()
    problem = _Problem(body, keypoints, start, chosen)
    trunk = replace(problem, keypoints=_only(keypoints, TRUNK))
    bodies = trunk.solve(start, (ROOT, TRANSLATION), chosen.steps[0])
    on_stage("root", bodies)
    bodies = problem.solve(bodies, (ROOT, POSE, TRANSLATION), chosen.steps[1])
    on_stage("pose", bodies)
    bodies = problem.solve(bodies, (ROOT, POSE, BETAS, TRANSLATION), chosen.steps[2])
    bodies = replace(bodies, rotations=nearest_rotation(bodies.rotations))
    on_stage("shape", bodies)
    points = body.pose(bodies.rotations, bodies.betas).points + bodies.translation[:, None]
    return FitResult(bodies, points[..., :2] / points[..., 2:].clamp(min=0.1))


def _only(keypoints: Keypoints, points: Sequence[int]) -> Keypoints:
    """With confidence in `points` alone, for people of whom two of them at least are seen; for others in all."""
    chosen = torch.zeros_like(keypoints.confidence)
    chosen[:, list(points)] = keypoints.confidence[:, list(points)]
    enough = (chosen > 0).sum(1, keepdim=True) >= 2
    return replace(keypoints, confidence=torch.where(enough, chosen, keypoints.confidence))


@dataclass(frozen=True)
class _Problem:
    body: TensorBodyPoints
    keypoints: Keypoints
    start: FittedBodies
    settings: FitSettings

    def solve(self, bodies: FittedBodies, free: Sequence[slice], steps: int) -> FittedBodies:
        """Levenberg-Marquardt steps in the `free` parameters."""
        is_free = torch.zeros(NUM_PARAMETERS, dtype=torch.bool, device=bodies.betas.device)
        for part in free:
            is_free[part] = True
        indices = is_free.nonzero()[:, 0]
        cost, hessian, gradient = self.linearised(bodies)
        damping = torch.full_like(cost, 1e-3)
        for _ in range(steps):
            matrix = hessian[:, indices][:, :, indices]
            matrix = matrix + torch.diag_embed(damping[:, None] * matrix.diagonal(dim1=1, dim2=2) + 1e-9)
            step = torch.zeros_like(gradient)
            solved, _ = torch.linalg.solve_ex(matrix, -gradient[:, indices])
            step[:, indices] = torch.nan_to_num(solved)
            largest = torch.linalg.vector_norm(step[:, : POSE.stop].unflatten(1, (-1, 3)), dim=2).amax(1)
            step = step * (MAX_ROTATION / largest.clamp(min=MAX_ROTATION))[:, None]
            moved = _moved(bodies, step)
            new_cost, new_hessian, new_gradient = self.linearised(moved)
            better = new_cost < cost
            bodies = moved.where(better, bodies)
            cost = torch.where(better, new_cost, cost)
            hessian = torch.where(better[:, None, None], new_hessian, hessian)
            gradient = torch.where(better[:, None], new_gradient, gradient)
            damping = torch.where(better, damping / 4, damping * 8).clamp(1e-6, 1e4)
        return bodies

    def linearised(self, bodies: FittedBodies) -> tuple[Tensor, Tensor, Tensor]:
        """The cost (N,), its Gauss-Newton matrix (N, 85, 85) and half its gradient (N, 85)."""
        cost, hessian, gradient = self._of_keypoints(bodies)
        s = self.settings

        # The distance from the start: the vector of the rotation that leads there, by a small rotation from the left.
        from_start = matrix_to_axis_angle(bodies.rotations @ self.start.rotations.mT)
        std = torch.full_like(from_start[..., :1], s.start_std)
        std[:, 0] = s.root_std
        jacobian = _inverse_left_jacobian(from_start)
        cost += ((from_start / std) ** 2).sum((1, 2))
        blocks = jacobian.mT @ jacobian / std[..., None] ** 2
        slopes = (jacobian.mT @ (from_start / std**2)[..., None]).squeeze(-1)

        # The range of motion: a wide normal distribution, and limits.
        vectors = matrix_to_axis_angle(bodies.rotations[:, 1:])
        mean, spread, low, high = (_like(values, vectors) for values in (POSE_MEAN, POSE_STD, POSE_MIN, POSE_MAX))
        spread = spread * s.range_scale
        off = (vectors - mean) / spread
        beyond = (vectors - torch.minimum(torch.maximum(vectors, low), high)) / s.limit_std
        cost += (off**2 + beyond**2).sum((1, 2))
        jacobian = _inverse_left_jacobian(vectors)
        curvature = 1 / spread**2 + (beyond != 0) / s.limit_std**2
        blocks[:, 1:] += jacobian.mT @ (curvature[..., None] * jacobian)
        force = off / spread + beyond / s.limit_std
        slopes[:, 1:] += (jacobian.mT @ force[..., None]).squeeze(-1)
        spread_out = torch.einsum("jk,njab->njakb", torch.eye(24, dtype=cost.dtype, device=cost.device), blocks)
        hessian[:, : POSE.stop, : POSE.stop] += spread_out.flatten(3).flatten(1, 2)
        gradient[:, : POSE.stop] += slopes.flatten(1)

        tie, pull = 1 / s.betas_start_std**2, 1 / s.betas_std**2
        from_start_betas = bodies.betas - self.start.betas
        cost += (tie * from_start_betas**2 + pull * bodies.betas**2).sum(1)
        gradient[:, BETAS] += tie * from_start_betas + pull * bodies.betas
        hessian[:, BETAS, BETAS] += (tie + pull) * torch.eye(10, dtype=cost.dtype, device=cost.device)

        depth = (bodies.translation[:, 2] / self.start.translation[:, 2]).log() / s.depth_std
        cost += depth**2
        gradient[:, -1] += depth / s.depth_std
        hessian[:, -1, -1] += 1 / s.depth_std**2
        return cost, hessian, gradient

    def _of_keypoints(self, bodies: FittedBodies) -> tuple[Tensor, Tensor, Tensor]:
        posed = self.body.pose(bodies.rotations, bodies.betas)
        distance = bodies.translation[:, 2]
        depth = (posed.points[..., 2] + distance[:, None]).clamp(min=0.1)[..., None]  # (N, K, 1)
        projected = (posed.points[..., :2] + bodies.translation[:, None, :2]) / depth
        by_body = torch.cat([posed.by_rotation, posed.by_betas], 3)  # (N, K, 3, 82)
        by_body = (by_body[:, :, :2] - projected[..., None] * by_body[:, :, 2:]) / depth[..., None]
        by_translation = torch.zeros(*projected.shape, 3, dtype=depth.dtype, device=depth.device)
        by_translation[..., 0, 0] = by_translation[..., 1, 1] = 1 / depth[..., 0]
        along = bodies.translation[:, None, :2] - projected * distance[:, None, None]
        by_translation[..., 2] = along / depth  # by the logarithm of the distance, along the line of sight
        std = (self.settings.keypoint_std * self.keypoints.box_size)[:, None, None]
        error = (projected - self.keypoints.points) / std
        square = (error**2).sum(2)
        robust = 1 / (1 + square / self.settings.outlier**2)
        weight = self.keypoints.confidence**2
        root = (weight.sqrt() * robust)[..., None]  # of a residual's weight
        jacobian = (torch.cat([by_body, by_translation], 3) / std[..., None] * root[..., None]).flatten(1, 2)
        residual = (error * root).flatten(1)
        cost = (weight * square * robust).sum(1)
        return cost, jacobian.mT @ jacobian, (jacobian.mT @ residual[..., None]).squeeze(-1)


def _moved(bodies: FittedBodies, step: Tensor) -> FittedBodies:
    """Bodies after a step (N, 85): each joint rotated in its parent's frame, nearer or farther, then sideways."""
    small = axis_angle_to_matrix(step[:, : POSE.stop].unflatten(1, (-1, 3)))
    translation = bodies.translation * step[:, -1:].clamp(-0.5, 0.5).exp()
    translation = torch.cat([translation[:, :2] + step[:, 82:84], translation[:, 2:].clamp(NEAREST, FARTHEST)], 1)
    return FittedBodies(small @ bodies.rotations, bodies.betas + step[:, BETAS], translation)


def _inverse_left_jacobian(vectors: Tensor) -> Tensor:
    """(…, 3, 3) by how much a rotation vector (…, 3) changes by a small rotation from the left."""
    angle = torch.linalg.vector_norm(vectors, dim=-1)[..., None, None]
    cross = cross_matrix(vectors)
    half = (angle / 2).clamp(min=1e-4)
    factor = (1 - half / half.tan()) / (2 * half) ** 2
    return torch.eye(3, dtype=vectors.dtype, device=vectors.device) - cross / 2 + factor * cross @ cross


def _like(values: np.ndarray, vectors: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=vectors.dtype, device=vectors.device).unflatten(0, (-1, 3))
