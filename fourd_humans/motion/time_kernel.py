"""A blend of the poses seen around a frame, weighted by their distance in time: where the heads can start from."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Which of the 24 rotations move alike: the root (0), the trunk with head and collars (1), the legs (2), the arms (3).
PARTS = (0, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3)
BETAS_PART, CAMERA_PART = 4, 5
OFFSET_VARIANCE = 5.0  # of a person's own constant around the mean; large, so that far from all seen frames it holds


class Blend(NamedTuple):
    """MotionFeatures (B, T, 229) for every frame, and how far from the truth each is to be expected (B, T, 229)."""

    features: Tensor
    std: Tensor


class TimeKernel(nn.Module):
    """The best linear guess of every frame's features from the seen frames, for motion of known covariance over time.

    This is Gaussian process regression (simple kriging) over the frame number, with one covariance for each part of the
    body: Matérn 3/2 kernels of a few time scales, a constant, and the noise of what was seen. All are learned. One
    frame ahead it smooths and follows; far ahead it returns to the mean of what was seen; in a gap it interpolates;
    with nothing seen it gives the mean.
    """

    part_of_number: Tensor

    def __init__(self, scales: tuple[float, ...] = (6.0, 16.0, 50.0)) -> None:
        super().__init__()
        parts = CAMERA_PART + 1
        self.log_scale = nn.Parameter(torch.tensor(scales).log().repeat(parts, 1))
        self.log_variance = nn.Parameter(torch.tensor([0.05, 0.3, 1.0]).log().repeat(parts, 1))
        self.log_noise = nn.Parameter(torch.full((parts,), math.log(0.02)))
        part_of_number = [part for part in PARTS for _ in range(9)] + [BETAS_PART] * 10 + [CAMERA_PART] * 3
        self.register_buffer("part_of_number", torch.tensor(part_of_number), persistent=False)

    def forward(self, features: Tensor, known: Tensor, times: Tensor) -> Blend:
        """Blend normalised `features` (B, T, 229) of the frames `known` (B, T) at `times` (B, T) for every frame."""
        with torch.autocast(features.device.type, enabled=False):
            return self._blend(features.float(), known, times)

    def _blend(self, features: Tensor, known: Tensor, times: Tensor) -> Blend:
        # Whoever was seen in the same frames shares the weights.
        when = torch.where(known, times, ~times)
        patterns, which = torch.unique(when, dim=0, return_inverse=True)
        weights, std = self.weights(torch.where(patterns < 0, ~patterns, patterns), patterns >= 0)
        weights, std = weights.to(features.dtype)[which], std.to(features.dtype)[which]
        values = features.masked_fill(~known[..., None], 0.0)
        blended = torch.zeros_like(features)
        for part in range(weights.shape[1]):
            chosen = self.part_of_number == part
            blended[..., chosen] = weights[:, part] @ values[..., chosen]
        return Blend(blended, std[..., self.part_of_number])

    def weights(self, times: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """How much of frame j's features goes into frame i, for each part of the body (B, 6, T, T), in float64.

        And the std (B, T, 6) to expect of the result.
        """
        present = known.double()[:, None]
        covariance = self._covariance(times)
        from_known = covariance * present[:, :, None, :]
        noise = self.log_noise.double().exp()[:, None] * present + (1 - present)
        observed = from_known * present[..., None] + torch.diag_embed(noise)
        weights = torch.cholesky_solve(from_known.mT, torch.linalg.cholesky(observed)).mT
        variance = covariance.diagonal(dim1=-2, dim2=-1) - (weights * from_known).sum(-1)
        return weights, variance.clamp(min=0).sqrt().mT

    def _covariance(self, times: Tensor) -> Tensor:
        """(B, 6, T, T) of the motion, without noise."""
        apart = (times[:, :, None] - times[:, None, :]).abs().double()[:, None]
        total = torch.full_like(apart, OFFSET_VARIANCE)
        for scale, variance in zip(self.log_scale.double().exp().T, self.log_variance.double().exp().T, strict=True):
            x = math.sqrt(3) * apart / scale[:, None, None]
            total = total + variance[:, None, None] * (1 + x) * torch.exp(-x)
        return total
