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
        for k in range(len(mass)):
            for j in range(joints):
                if mass[k, j] == 0:
                    continue
                # The part of the point that joint j moves: its first moment about the joint, then about the origin.
                arm = rotation[j] @ (moment[k, j] + moment_shape[k, j] @ betas[n] - mass[k, j] * shaped[j])
                carried = arm + mass[k, j] * position[j]
                points[n, k] += carried
                by_betas[n, k] += rotation[j] @ (moment_shape[k, j] - mass[k, j] * rest_shape[j])
                by_betas[n, k] += mass[k, j] * position_shape[j]
                above = j
                while above >= 0:  # each joint above rotates it about that joint, around its parent's axes
                    x, y, z = carried - mass[k, j] * position[above]
                    for axis in range(3):
                        u, v, w = 1.0 * (axis == 0), 1.0 * (axis == 1), 1.0 * (axis == 2)
                        if above > 0:
                            u, v, w = rotation[parents[above], :, axis]
                        column = 3 * above + axis
                        by_rotation[n, k, 0, column] += v * z - w * y
                        by_rotation[n, k, 1, column] += w * x - u * z
                        by_rotation[n, k, 2, column] += u * y - v * x
                    above = parents[above]


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().double().numpy())
