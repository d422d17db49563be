"""The points of `body.points` and their derivatives for PyTorch: whole batches at once, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import NUM_ROTATIONS, BodyPoints
from fourd_humans.geometry.rotations import cross_matrix


@dataclass(frozen=True)
class PosedTensors:
    """As `points.PosedPoints`. points: (N, K, 3). by_rotation: (N, K, 3, 72). by_betas: (N, K, 3, 10)."""

    points: Tensor
    by_rotation: Tensor
    by_betas: Tensor


class TensorBodyPoints:
    """K points of a body model. indices: (K,) of the 45 joints, or `LEFT_HAND` or `RIGHT_HAND` of `body.points`."""

    def __init__(self, body: BodyModel, indices: NDArray[np.int64], device: torch.device, dtype: torch.dtype) -> None:
        points = BodyPoints(body, indices)
        self.parents: list[int] = points.parents.tolist()
        above = np.eye(NUM_ROTATIONS, dtype=bool)  # row j: joint j and those that carry it
        for joint in range(1, NUM_ROTATIONS):
            above[joint] |= above[self.parents[joint]]

        def tensor(array: NDArray[np.generic]) -> Tensor:
            return torch.as_tensor(array, device=device, dtype=dtype)

        self.rest, self.rest_shape = tensor(points.rest), tensor(points.rest_shape)
        self.mass, self.moment = tensor(points.mass), tensor(points.moment)
        self.moment_shape = tensor(points.moment_shape)
        self.above = tensor(above)

    def pelvis(self, betas: Tensor) -> Tensor:
        """(N, 3) the pelvis before the translation; the pose does not move it. betas: (N, 10)."""
        return self.rest[0] + betas @ self.rest_shape[0].T

    def pose(self, rotations: Tensor, betas: Tensor) -> PosedTensors:
        """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10)."""
        shaped = self.rest + torch.einsum("jcb,nb->njc", self.rest_shape, betas)
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device).expand(len(betas), 3, 3)
        world, carrier = [rotations[:, 0]], [identity]
        position, by_shape = [shaped[:, 0]], [self.rest_shape[0].expand(len(betas), -1, -1)]
        for joint in range(1, NUM_ROTATIONS):
            parent = self.parents[joint]
            carrier.append(world[parent])
            bone, bone_shape = shaped[:, joint] - shaped[:, parent], self.rest_shape[joint] - self.rest_shape[parent]
            position.append(position[parent] + (world[parent] @ bone[..., None]).squeeze(-1))
            by_shape.append(by_shape[parent] + world[parent] @ bone_shape)
            world.append(world[parent] @ rotations[:, joint])
        turned, axes = torch.stack(world, 1), torch.stack(carrier, 1)  # (N, 24, 3, 3)
        placed, placed_shape = torch.stack(position, 1), torch.stack(by_shape, 1)  # (N, 24, 3), (N, 24, 3, 10)

        # The part of each point that each joint moves: its first moment about the joint, then about the origin.
        about = self.moment + torch.einsum("kjcb,nb->nkjc", self.moment_shape, betas)
        about = about - self.mass[..., None] * shaped[:, None]
        carried = torch.einsum("njcd,nkjd->nkjc", turned, about) + self.mass[..., None] * placed[:, None]
        shape_about = self.moment_shape - self.mass[..., None, None] * self.rest_shape
        by_betas = torch.einsum("njcd,kjdb->nkcb", turned, shape_about)
        by_betas = by_betas + torch.einsum("kj,njcb->nkcb", self.mass, placed_shape)
        # A joint rotates all that it carries about itself, around its parent's axes: axis × arm = −[arm]× axis.
        arm = torch.einsum("ja,nkjc->nkac", self.above, carried) - (self.mass @ self.above)[..., None] * placed[:, None]
        by_rotation = -cross_matrix(arm) @ axes[:, None]
        return PosedTensors(carried.sum(2), by_rotation.transpose(2, 3).flatten(3), by_betas)
