"""How people are seen: straight on by a camera of their own, from where the frame's camera stands.

The landmark network sees each person in the middle of a cut-out, as a camera would that is turned towards that person;
its metres are in that camera's frame. So the body is fitted there, and then turned into the frame of the camera in use.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics, released_intrinsics
from fourd_humans.people import Float
from fourd_humans.recovery.landmarks.points import Array
from fourd_humans.recovery.landmarks.start import smallest_turn

NEAREST_TO_SIDEWAYS = 0.05  # cosine from the line of sight to what is seen: nothing is projected from beside the camera


def lens(camera: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """The camera that the perspective in the picture comes from, for a frame of `size` (height, width).

    The released convention's focal length is no lens: at 3 degrees of view nothing is foreshortened, and a fit
    would explain a large near hand by the pose. Where that is in use because the real one is unknown, a view of 53
    degrees along the diagonal is assumed, as CLIFF does (Li et al., ECCV 2022): a focal length of the diagonal.
    """
    if camera != released_intrinsics(size):
        return camera
    return Intrinsics(math.hypot(*size), camera.principal_point)


def towards(pixels: Float, camera: Intrinsics) -> Array:
    """(N, 3, 3) from the frames of cameras that look straight at `pixels` (N, 2) to the frame of `camera`."""
    directions = _directions(pixels, camera)
    ahead = np.array([0.0, 0.0, 1.0])
    return smallest_turn(ahead, directions / np.linalg.norm(directions, axis=1, keepdims=True))


def rays(pixels: NDArray[np.floating], camera: Intrinsics, turn: Array) -> Array:
    """(N, L, 2) x / z and y / z of pixels (N, L, 2), in frames from which `turn` (N, 3, 3) leads to `camera`'s."""
    directions = np.einsum("nji,nlj->nli", turn, _directions(pixels, camera))
    seen: Array = directions[..., :2] / np.maximum(directions[..., 2:], NEAREST_TO_SIDEWAYS)
    return seen


def _directions(pixels: NDArray[np.floating], camera: Intrinsics) -> Array:
    flat = (np.asarray(pixels, float) - np.asarray(camera.principal_point)) / camera.focal_length
    return np.concatenate([flat, np.ones((*flat.shape[:-1], 1))], -1)
