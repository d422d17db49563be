"""Points of the body, posed without its mesh, and their derivatives with respect to pose and shape.

A point is a weighted sum of a few vertices. Under linear blend skinning each joint of the skeleton therefore moves a
fixed mass and first moment of it, so that posing a point takes one transform a joint, however many vertices it has.
The pose blend shapes, a few millimetres at the joints, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.joints import NUM_JOINTS, SMPL_NAMES
from fourd_humans.body.model import BodyModel

Array = NDArray[np.float64]

NUM_ROTATIONS, NUM_BETAS = 24, 10
LEFT_HAND, RIGHT_HAND = NUM_JOINTS, NUM_JOINTS + 1  # the skeleton's hands, counted after the 45 joints


@dataclass(frozen=True)
class PosedPoints:
    """K points of N bodies, in metres, before the translation.

    points: (N, K, 3). by_rotation: (N, K, 3, 72), derivatives with respect to a small rotation vector of each of the 24
    joints, in its parent's frame (the small rotation multiplies the joint's rotation from the left).
    by_betas: (N, K, 3, 10), derivatives with respect to the betas.
    """

    points: Array
    by_rotation: Array
    by_betas: Array


class BodyPoints:
    """K points of a body model. indices: (K,) of the 45 joints, or `LEFT_HAND` or `RIGHT_HAND`."""

    def __init__(self, body: BodyModel, indices: NDArray[np.int64]) -> None:
        self.parents = np.array(body.parents)
        self.rest, self.rest_shape = _array(body.J_template), _array(body.J_shapedirs)  # (24, 3), (24, 3, 10)
        surface = body.joint_surface
        directions = _array(surface.directions)[:NUM_BETAS]
        skin = _array(surface.weights)
        hands = np.eye(NUM_ROTATIONS)[[SMPL_NAMES.index("left_hand"), SMPL_NAMES.index("right_hand")]]
        of_skeleton = np.concatenate([_array(body.joints_from_skeleton), hands])[indices]
        of_surface = np.concatenate([_array(body.joints_from_vertices), np.zeros((2, len(skin)))])[indices]
        self.mass = of_surface @ skin + of_skeleton  # (K, 24)
        self.moment = np.einsum("kv,vj,vc->kjc", of_surface, skin, _array(surface.template))
        self.moment += of_skeleton[..., None] * self.rest
        moment_shape = np.einsum("kv,vj,bvc->kjcb", of_surface, skin, directions, optimize=True)
        self.moment_shape = np.ascontiguousarray(moment_shape) + of_skeleton[..., None, None] * self.rest_shape

    def pelvis(self, betas: Array) -> Array:
        """(N, 3) the pelvis before the translation; the pose does not move it. betas: (N, 10)."""
        return self.rest[0] + betas @ self.rest_shape[0].T

    def pose(self, rotations: Array, betas: Array) -> PosedPoints:
        """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10)."""
        count, points = len(betas), len(self.mass)
        posed = PosedPoints(
            np.zeros((count, points, 3)),
            np.zeros((count, points, 3, 3 * NUM_ROTATIONS)),
            np.zeros((count, points, 3, NUM_BETAS)),
        )
        _pose(
            rotations, betas, self.parents, self.rest, self.rest_shape, self.mass, self.moment, self.moment_shape,
            posed.points, posed.by_rotation, posed.by_betas,
        )  # fmt: skip
        return posed


@njit(nogil=True, cache=True)
def _pose(  # type: ignore[no-untyped-def]
    rotations, betas, parents, rest, rest_shape, mass, moment, moment_shape, points, by_rotation, by_betas
):
    """Fill the last three arrays, which hold zeros."""
    joints = len(parents)
    position = np.zeros((joints, 3))
    position_shape = np.zeros((joints, 3, betas.shape[1]))
    rotation = np.zeros((joints, 3, 3))
    moved, moved_mass = np.zeros((len(mass), joints, 3)), np.zeros((len(mass), joints))
    arm, count_betas = np.zeros(3), betas.shape[1]
    for n in range(len(betas)):
        shaped = rest.copy()
        for j in range(joints):
            shaped[j] += rest_shape[j] @ betas[n]
        position[0], position_shape[0], rotation[0] = shaped[0], rest_shape[0], rotations[n, 0]
        for j in range(1, joints):
            parent = parents[j]
            position[j] = position[parent] + rotation[parent] @ (shaped[j] - shaped[parent])
            position_shape[j] = position_shape[parent] + rotation[parent] @ (rest_shape[j] - rest_shape[parent])
            rotation[j] = rotation[parent] @ rotations[n, j]
        for j in range(joints):
            turned_shape = rotation[j] @ rest_shape[j]
            for k in range(len(mass)):
                m = mass[k, j]
                moved_mass[k, j] = m
                if m == 0:
                    moved[k, j] = 0.0
                    continue
                # The part of the point that joint j moves: its first moment about the joint, then about the origin.
                for c in range(3):
                    arm[c] = moment[k, j, c] - m * shaped[j, c]
                    for b in range(count_betas):
                        arm[c] += moment_shape[k, j, c, b] * betas[n, b]
                for c in range(3):
                    along = rotation[j, c, 0] * arm[0] + rotation[j, c, 1] * arm[1] + rotation[j, c, 2] * arm[2]
                    moved[k, j, c] = along + m * position[j, c]
                    points[n, k, c] += moved[k, j, c]
                    for b in range(count_betas):
                        shape = m * (position_shape[j, c, b] - turned_shape[c, b])
                        for d in range(3):
                            shape += rotation[j, c, d] * moment_shape[k, j, d, b]
                        by_betas[n, k, c, b] += shape
        # What a joint moves it rotates about itself, around its parent's axes; so it does with all below it.
        for j in range(joints - 1, 0, -1):
            for k in range(len(mass)):
                moved_mass[k, parents[j]] += moved_mass[k, j]
                for c in range(3):
                    moved[k, parents[j], c] += moved[k, j, c]
        for j in range(joints):
            axes = rotation[parents[j]] if j > 0 else np.eye(3)
            at = position[j]
            for k in range(len(mass)):
                m = moved_mass[k, j]
                if m == 0:
                    continue
                x, y, z = (moved[k, j, 0] - m * at[0], moved[k, j, 1] - m * at[1], moved[k, j, 2] - m * at[2])
                for axis in range(3):
                    u, v, w = axes[0, axis], axes[1, axis], axes[2, axis]
                    by_rotation[n, k, 0, 3 * j + axis] = v * z - w * y
                    by_rotation[n, k, 1, 3 * j + axis] = w * x - u * z
                    by_rotation[n, k, 2, 3 * j + axis] = u * y - v * x


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().double().numpy())
