"""The association cost of PHALP, with the parameters of the released code (EQ_019)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from fourd_humans.pose_features import DEPTH, INTERVAL, ROOT

TEXTURE_RATE = 4.0536
POSE_RATE = 1.3070
LOCATION_SCALE = 0.3792
DEPTH_SCALE = 4.1658
UNCERTAINTY_OFFSET = 0.1
POSE_SIZE = 226  # rotations and betas: the pose vector without its camera
REJECTED = 1e-5  # how far above the threshold the cost of a rejected pair is

# (track textures, detection textures, pairs (K, 2) of indices into them) -> (K,) distances of the pairs
TextureDistance = Callable[[Sequence[NDArray], Sequence[NDArray], NDArray], NDArray]


def association_cost(
    predicted: tuple[NDArray, NDArray, Sequence[NDArray]],
    detected: tuple[NDArray, NDArray, Sequence[NDArray]],
    texture_distance: TextureDistance,
    threshold: float,
    pose_distance_limit: float,
) -> NDArray[np.float64]:
    """(T, D) cost of each pair of track and detection; pairs above `threshold` cost just over it.

    predicted, detected: the poses (·, 229), the locations (·, 99) and the textures (4, 256, 256) of each.
    Textures only make a pair costlier, so they are compared only where the rest of the cost leaves the pair a chance.
    """
    cost = pose_factor(predicted[0], detected[0], pose_distance_limit) * location_factor(predicted[1], detected[1])
    pairs = np.argwhere(cost <= threshold)
    if len(pairs):
        cost[tuple(pairs.T)] *= 1 + TEXTURE_RATE * texture_distance(predicted[2], detected[2], pairs)
    return np.where(cost <= threshold, cost, threshold + REJECTED)


def pose_factor(predicted: NDArray, detected: NDArray, limit: float) -> NDArray[np.float64]:
    """(T, D) from the poses (T, 229) and (D, 229): the squared distance counts up to `limit`."""
    squared = cdist(predicted[:, :POSE_SIZE], detected[:, :POSE_SIZE], "sqeuclidean")
    return 1 + POSE_RATE * np.minimum(squared, limit)


def location_factor(predicted: NDArray, detected: NDArray) -> NDArray[np.float64]:
    """(T, D) from the location vectors (T, 99) and (D, 99), each distance measured by the prediction's interval."""
    distance = _root_distance(predicted[:, ROOT], detected[:, ROOT])
    x_width, y_width, depth_width = predicted[:, INTERVAL].astype(np.float64).T
    location_uncertainty = UNCERTAINTY_OFFSET + np.tanh(np.hypot(x_width, y_width))
    depth_uncertainty = UNCERTAINTY_OFFSET + np.tanh(np.abs(np.log(depth_width)))

    log_depth = [np.log(location[:, DEPTH].astype(np.float64)) for location in (predicted, detected)]
    log_ratio = np.abs(log_depth[0][:, None] - log_depth[1])
    exponent = distance / location_uncertainty[:, None] / LOCATION_SCALE
    exponent += log_ratio / depth_uncertainty[:, None] / DEPTH_SCALE
    return np.exp(np.minimum(exponent, np.log(np.finfo(np.float64).max)))


def _root_distance(a: NDArray, b: NDArray) -> NDArray[np.float32]:
    """(T, D) Euclidean distances, expanded in float32 like the released code's, term after term.

    Where two roots all but coincide, the rounding of that (up to 3e-4 of the picture, which is below a pixel) is part
    of the released costs.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    product = (a[:, None] * b).sum(-1)  # not `@`, which may fuse the multiplication with the sum
    squared = -2 * product + (a**2).sum(1)[:, None] + (b**2).sum(1)
    return np.sqrt(np.maximum(squared, 0))
