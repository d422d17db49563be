"""How far a predicted pose is from the true one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fourd_humans.body.model import BodyModel
from fourd_humans.pose_features import BETAS, CAMERA, ROTATIONS

BETAS_WEIGHT = 0.05
LOCATION_WEIGHT = 0.05


@dataclass(frozen=True)
class MotionLoss:
    """The terms of the loss, each a mean over the frames queried."""

    rotations: Tensor
    betas: Tensor
    location: Tensor

    @property
    def total(self) -> Tensor:
        return self.rotations + BETAS_WEIGHT * self.betas + LOCATION_WEIGHT * self.location


def motion_loss(predicted: Tensor, target: Tensor, queried: Tensor, std: Tensor, lever_arms: Tensor) -> MotionLoss:
    """The loss on the frames `queried` (B, T) of raw features (B, T, 229).

    Rotations: the Frobenius distance of each joint's matrices times its lever arm, so that an error counts as the
    metres it moves the body by. Betas and location: absolute differences in units of their std `std` (229,).
    """
    weight = queried / queried.sum().clamp(min=1)
    difference = predicted - target
    distance = (difference[..., ROTATIONS].unflatten(-1, (24, 9)).square().sum(-1) + 1e-8).sqrt()
    rotations = (distance * lever_arms).sum(-1)
    scaled = (difference / std).abs()
    terms = (rotations, scaled[..., BETAS].mean(-1), scaled[..., CAMERA].mean(-1))
    return MotionLoss(*((term * weight).sum() for term in terms))


def lever_arms(body_model: BodyModel) -> Tensor:
    """(24,) metres: how far the turn of each joint by one radian moves the 24 joints on average."""
    rest = body_model.J_template
    moved = torch.zeros(24, 24)
    for joint, parent in enumerate(body_model.parents):
        if joint:
            moved[:, joint] = moved[:, parent] * 1.0
        moved[joint, joint] = 1.0
    distance = torch.linalg.vector_norm(rest[:, None].cpu() - rest[None].cpu(), dim=-1)
    return (moved * distance).mean(1).clamp(min=0.002)
