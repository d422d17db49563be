"""Points of the body that landmarks correspond to, with their derivatives under the kinematic chain.

A point is a sum over a few vertices. For every joint of the skeleton it therefore has a fixed mass and first moment
that the joint's transform carries along, and linear blend skinning needs no mesh. (The pose blend shapes, a few
millimetres at the joints, are left out.)
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
LEFT_HAND, RIGHT_HAND = NUM_JOINTS, NUM_JOINTS + 1  # numbers, after the 45 joints, of the skeleton's hands
NUM_POINTS = NUM_JOINTS + 2


@dataclass(frozen=True)
class Posed:
    """N bodies, in their own position. K points, 24 joints.

    points: (N, K, 3). by_turn: (N, K, 3, 72), derivative by a small rotation of each joint in its parent's frame (which
    it multiplies from the left). by_betas: (N, K, 3, 10).
    """

    points: Array
    by_turn: Array
    by_betas: Array


class BodyPoints:
    """K of the body's points: `chosen` (K,) counts the 45 joints, then `LEFT_HAND` and `RIGHT_HAND`."""

    def __init__(self, body: BodyModel, chosen: NDArray[np.int64]) -> None:
        self.parents = np.array(body.parents)
        self.rest, self.rest_shape = _array(body.J_template), _array(body.J_shapedirs)  # (24, 3), (24, 3, 10)
        surface = body.joint_surface
        directions = _array(surface.directions)[:NUM_BETAS]
        skin = _array(surface.weights)
        hands = np.eye(NUM_ROTATIONS)[[SMPL_NAMES.index("left_hand"), SMPL_NAMES.index("right_hand")]]
        of_skeleton = np.concatenate([_array(body.joints_from_skeleton), hands])[chosen]
        of_surface = np.concatenate([_array(body.joints_from_vertices), np.zeros((2, len(skin)))])[chosen]
        self.mass = of_surface @ skin + of_skeleton  # (K, 24)
        self.moment = np.einsum("kv,vj,vc->kjc", of_surface, skin, _array(surface.template))
        self.moment += of_skeleton[..., None] * self.rest
        moment_shape = np.einsum("kv,vj,bvc->kjcb", of_surface, skin, directions, optimize=True)
        self.moment_shape = np.ascontiguousarray(moment_shape) + of_skeleton[..., None, None] * self.rest_shape

    def pelvis(self, betas: Array) -> Array:
        """(N, 3) where the pelvis is, in the body's own position, whatever the pose. betas: (N, 10)."""
        return self.rest[0] + betas @ self.rest_shape[0].T

    def pose(self, rotations: Array, betas: Array) -> Posed:
        """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10)."""
        count, points = len(betas), len(self.mass)
        posed = Posed(
            np.zeros((count, points, 3)),
            np.zeros((count, points, 3, 3 * NUM_ROTATIONS)),
            np.zeros((count, points, 3, NUM_BETAS)),
        )
        _pose(
            rotations, betas, self.parents, self.rest, self.rest_shape, self.mass, self.moment, self.moment_shape,
            posed.points, posed.by_turn, posed.by_betas,
        )  # fmt: skip
        return posed


@njit(nogil=True, cache=True)
def _pose(  # type: ignore[no-untyped-def]
    rotations, betas, parents, rest, rest_shape, mass, moment, moment_shape, points, by_turn, by_betas
):
    """Fill in the last three arrays, which start at 0."""
    joints = len(parents)
    place = np.zeros((joints, 3))
    place_shape = np.zeros((joints, 3, betas.shape[1]))
    turn = np.zeros((joints, 3, 3))
    for n in range(len(betas)):
        shaped = rest.copy()
        for j in range(joints):
            shaped[j] += rest_shape[j] @ betas[n]
        place[0], place_shape[0], turn[0] = shaped[0], rest_shape[0], rotations[n, 0]
        for j in range(1, joints):
            parent = parents[j]
            place[j] = place[parent] + turn[parent] @ (shaped[j] - shaped[parent])
            place_shape[j] = place_shape[parent] + turn[parent] @ (rest_shape[j] - rest_shape[parent])
            turn[j] = turn[parent] @ rotations[n, j]
        for k in range(len(mass)):
            for j in range(joints):
                if mass[k, j] == 0:
                    continue
                # What of the point joint j carries along: its first moment about j's place, then where that is.
                arm = turn[j] @ (moment[k, j] + moment_shape[k, j] @ betas[n] - mass[k, j] * shaped[j])
                carried = arm + mass[k, j] * place[j]
                points[n, k] += carried
                by_betas[n, k] += turn[j] @ (moment_shape[k, j] - mass[k, j] * rest_shape[j])
                by_betas[n, k] += mass[k, j] * place_shape[j]
                above = j
                while above >= 0:  # every joint above turns it around its own place, about the axes of its parent
                    x, y, z = carried - mass[k, j] * place[above]
                    for axis in range(3):
                        u, v, w = 1.0 * (axis == 0), 1.0 * (axis == 1), 1.0 * (axis == 2)
                        if above > 0:
                            u, v, w = turn[parents[above], :, axis]
                        column = 3 * above + axis
                        by_turn[n, k, 0, column] += v * z - w * y
                        by_turn[n, k, 1, column] += w * x - u * z
                        by_turn[n, k, 2, column] += u * y - v * x
                    above = parents[above]


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().double().numpy())
