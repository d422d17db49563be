"""Interpolation between frames: rotations by slerp, translations along straight lines in the image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

Float = NDArray[np.float32]


def neighbours(known: NDArray[np.integer], wanted: NDArray[np.integer]) -> tuple[NDArray, NDArray, Float]:
    """For each of `wanted` (M,) the rows of the frames `known` (K,), ascending, before and after it, and the share of
    the way from one to the other, 0..1. Outside, both are the nearest."""
    after = np.searchsorted(known, wanted).clip(0, len(known) - 1)
    before = np.where(known[after] > wanted, np.maximum(after - 1, 0), after)
    span = np.maximum(known[after] - known[before], 1)
    return before, after, np.clip((wanted - known[before]) / span, 0, 1).astype(np.float32)


def turn(first: Float, second: Float, share: Float) -> Float:
    """Spherical linear interpolation of rotations (M, J, 3, 3) by `share` (M,)."""
    a, b = torch.from_numpy(first), torch.from_numpy(second)
    way = matrix_to_axis_angle(a.mT @ b) * torch.from_numpy(share)[:, None, None]
    return (a @ axis_angle_to_matrix(way)).numpy()


def mix(values: NDArray, before: NDArray, after: NDArray, share: Float) -> Float:
    """Linear interpolation of rows of `values` (K, ...)."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return (values[before] * (1 - share) + values[after] * share).astype(np.float32)


def to_picture(translations: NDArray) -> NDArray:
    """Camera-frame translations (..., 3) as x/z, y/z and log z, in which a straight line is one in the image."""
    depth = translations[..., 2:]
    return np.concatenate([translations[..., :2] / depth, np.log(depth)], -1)


def from_picture(seen: NDArray) -> Float:
    """The inverse of `to_picture`."""
    depth = np.exp(seen[..., 2:])
    return np.concatenate([seen[..., :2] * depth, depth], -1).astype(np.float32)
