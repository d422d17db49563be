"""Cuts people out of frames as the network saw them in training: square, 256 pixels, ImageNet-normalised.

Runs where its tensors are, so frames go to the GPU once, as bytes, and crops are made there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fourd_humans.devices import constant, upload

CROP_SIZE = 256
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BLUR_FROM = 1.1  # half the reduction above which the released image demo blurs before it samples


def crop_people(
    image: NDArray[np.uint8] | Tensor,
    center: NDArray[np.float32],
    side: NDArray[np.float32],
    device: torch.device | str = "cpu",
    antialias: bool = False,
) -> Tensor:
    """The squares around `center` (N, 2) of `side` (N,) pixels as normalised crops (N, 3, 256, 256) on `device`.

    image: (H, W, 3) RGB uint8, as an array or on the device. Outside it crops are black. Sampling is bilinear at the
    pixel grid that OpenCV's affine warp uses: crop pixel u shows image pixel (u - 128)·side/256 + center.
    antialias: blur first where the picture shrinks to less than 1/2.2, as the released image demo does and the released
    tracker does not.
    """
    device = torch.device(device)
    pixels = (image if isinstance(image, Tensor) else upload(np.array(image), device)).permute(2, 0, 1)[None]
    if antialias:
        crops = [_blurred_crop(pixels, c, s) for c, s in zip(center, side, strict=True)]
        cropped = torch.cat(crops) if crops else pixels.new_zeros((0, 3, CROP_SIZE, CROP_SIZE), dtype=torch.float32)
    else:
        cropped = _sample(pixels.float(), center, side)
    mean, std = constant(MEAN, device).view(3, 1, 1), constant(STD, device).view(3, 1, 1)
    return (cropped / 255 - mean) / std


def _sample(pixels: Tensor, center: NDArray[np.float32], side: NDArray[np.float32]) -> Tensor:
    """Bilinear samples of (1, 3, H, W): (N, 3, 256, 256)."""
    n, (height, width) = len(center), pixels.shape[2:]
    squares = upload(np.concatenate([center, side[:, None]], axis=1, dtype=np.float32), pixels.device)
    steps = (torch.arange(CROP_SIZE, device=pixels.device, dtype=torch.float32) - CROP_SIZE / 2) / CROP_SIZE
    x, y = (squares[:, axis, None] + steps * squares[:, 2:] for axis in (0, 1))  # (N, 256) image pixels
    x, y = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1  # grid_sample's: -1 and 1 are the frame's outer edges
    grid = torch.stack(
        [x[:, None, :].expand(n, CROP_SIZE, CROP_SIZE), y[:, :, None].expand(n, CROP_SIZE, CROP_SIZE)], dim=-1
    )
    # All people of the frame one below the other, so that the frame is not repeated for each.
    stacked = F.grid_sample(pixels, grid.reshape(1, n * CROP_SIZE, CROP_SIZE, 2), align_corners=False)
    return stacked.reshape(3, n, CROP_SIZE, CROP_SIZE).transpose(0, 1)


def _blurred_crop(pixels: Tensor, center: NDArray[np.float32], side: np.float32) -> Tensor:
    """One sample of the smoothed picture: (1, 3, 256, 256). Only the neighbourhood of the crop is smoothed."""
    reduction = float(side) / CROP_SIZE / 2
    sigma = (reduction - 1) / 2
    radius = int(4 * sigma + 0.5) if reduction > BLUR_FROM else 0
    height, width = pixels.shape[2:]
    first = np.floor(center - side / 2).astype(int) - radius - 1
    last = np.ceil(center + side / 2).astype(int) + radius + 2
    left, top = np.clip(first, 0, (width - 1, height - 1))
    right, bottom = np.clip(last, (left + 1, top + 1), (width, height))
    region = pixels[:, :, top:bottom, left:right].float()
    if radius:
        region = _gaussian(region, sigma, radius)
    return _sample(region, center[None] - np.array([left, top], np.float32), np.array([side], np.float32))


def _gaussian(pixels: Tensor, sigma: float, radius: int) -> Tensor:
    """(1, 3, H, W) smoothed; beyond the border the border goes on."""
    offsets = torch.arange(-radius, radius + 1, device=pixels.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = pixels.transpose(0, 1)  # each colour a batch entry of its own
    channels = F.conv2d(F.pad(channels, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    channels = F.conv2d(F.pad(channels, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return channels.transpose(0, 1)


def check_boxes(boxes: NDArray[np.float32], size: tuple[int, int]) -> Sequence[str | None]:
    """For each box (xyxy), why nothing can be cut out there of a frame of (height, width), or None."""
    reasons: list[str | None] = []
    for x0, y0, x1, y1 in boxes:
        if not np.isfinite([x0, y0, x1, y1]).all():
            reasons.append("box not finite")
        elif x1 <= x0 or y1 <= y0:
            reasons.append("box without area")
        elif x1 <= 0 or y1 <= 0 or x0 >= size[1] or y0 >= size[0]:
            reasons.append("box outside the frame")
        else:
            reasons.append(None)
    return reasons
