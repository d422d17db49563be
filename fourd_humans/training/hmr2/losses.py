"""The losses that HMR 2.0 is trained with (supplement, S.2), with the reductions of the released code.

Losses on annotations are sums over people, keypoints and coordinates, the adversarial ones means over people. In the
released training a GPU has 48 people (2.0a: 512), and gradients are averaged over GPUs. So that the size and number of
batches change nothing, sums are taken as means over people times 48 (`Recipe.people_of_a_sum`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fourd_humans.body.joints import PELVIS
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import CROP_FOCAL_LENGTH, CROP_SIZE
from fourd_humans.recovery.hmr2.crops import MEAN, STD
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.model import HMR2Output
from fourd_humans.training.hmr2.annotations import NUM_KEYPOINTS

FOCAL_LENGTH = CROP_FOCAL_LENGTH / CROP_SIZE  # in sides of the crop


@dataclass(frozen=True)
class LossWeights:
    """The paper's (S.2)."""

    keypoints_2d: float = 0.01
    keypoints_3d: float = 0.05
    body_pose: float = 0.001
    global_orient: float = 0.001
    betas: float = 0.0005
    adversarial: float = 0.0005


def normalise(images: Tensor, colour: Tensor) -> Tensor:
    """What the network takes: (N, 3, H, W), from bytes (N, H, W, 3) and factors on the channels (N, 3)."""
    mean, std = (torch.tensor(values, device=images.device) for values in (MEAN, STD))
    pixels = images * colour[:, None, None]
    return pixels.clip_(0, 255).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()


def project(points: Tensor, camera_crop: Tensor) -> Tensor:
    """Points (N, K, 3) in the body's position to the crop (N, K, 2): 0 in its middle, ±0.5 at its edges.

    camera_crop: (N, 3) weak perspective (s, tx, ty).
    """
    depth = 2 * CROP_FOCAL_LENGTH / (CROP_SIZE * camera_crop[:, :1] + 1e-9)
    placed = points + torch.cat([camera_crop[:, 1:], depth], 1)[:, None]
    return FOCAL_LENGTH * placed[..., :2] / placed[..., 2:]


def keypoint_loss_2d(predicted: Tensor, target: Tensor) -> Tensor:
    """Sum of |difference| by confidence. predicted: (N, K, 2). target: (N, K, 3)."""
    return (target[..., 2:] * (predicted - target[..., :2]).abs()).sum()


def keypoint_loss_3d(predicted: Tensor, target: Tensor, pelvis: int = PELVIS) -> Tensor:
    """The same of points relative to the pelvis, whose confidence does not count. predicted: (N, K, 3). target:
    (N, K, 4)."""
    difference = (predicted - predicted[:, pelvis, None]) - (target[..., :3] - target[:, pelvis, None, :3])
    return (target[..., 3:] * difference.abs()).sum()


def parameter_loss(predicted: Tensor, target: Tensor, has: Tensor) -> Tensor:
    """Sum of squared differences of people that have the parameters. predicted, target: (N, …). has: (N,) 0 or 1."""
    return (has * (predicted - target).square().flatten(1).sum(1)).sum()


@dataclass(frozen=True)
class Prediction:
    """What the losses take of N people. keypoints_3d: (N, 44, 3) metres; keypoints_2d: (N, 44, 2) in the crop."""

    output: HMR2Output
    keypoints_3d: Tensor
    keypoints_2d: Tensor


def predict(output: HMR2Output, body: BodyModel) -> Prediction:
    """Joints and their projections of what the network found."""
    joints = body.joints(output.global_orient, output.body_pose, output.betas)[:, :NUM_KEYPOINTS]
    return Prediction(output, joints, project(joints, output.camera_crop))


def supervised_losses(prediction: Prediction, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each loss on annotations, a sum over the batch, by the names of `LossWeights`."""
    output, has_pose = prediction.output, batch["has_body_pose"]
    return {
        "keypoints_2d": keypoint_loss_2d(prediction.keypoints_2d, batch["keypoints_2d"]),
        "keypoints_3d": keypoint_loss_3d(prediction.keypoints_3d, batch["keypoints_3d"]),
        "body_pose": parameter_loss(output.body_pose, batch["body_pose"], has_pose),
        "global_orient": parameter_loss(output.global_orient, batch["global_orient"], has_pose),
        "betas": parameter_loss(output.betas, batch["betas"], batch["has_betas"]),
    }


def adversarial_loss(discriminator: Discriminator, output: HMR2Output) -> Tensor:
    """How far the predicted bodies are from being taken for real: a mean over people, a sum over 25 scores."""
    return (discriminator(output.body_pose, output.betas) - 1).square().sum() / len(output.betas)


def discriminator_loss(discriminator: Discriminator, output: HMR2Output, body_pose: Tensor, betas: Tensor) -> Tensor:
    """Least squares: predicted bodies to 0, real ones to 1. body_pose: (M, 23, 3, 3), betas: (M, 10), of real people.

    Both sums are divided by the number of predicted people; with M twice that, real people count twice, as released.
    """
    predicted = discriminator(output.body_pose.detach(), output.betas.detach()).square().sum()
    real = (discriminator(body_pose, betas) - 1).square().sum()
    return (predicted + real) / len(output.betas)
