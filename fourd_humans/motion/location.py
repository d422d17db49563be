"""Location prediction of PHALP: linear regression over a track's history, with prediction intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fourd_humans.pose_features import DEPTH, INTERVAL, ROOT, TRANSLATION, UNUSED

RELEASED_FOCAL_LENGTH = 5000.0
RELEASED_IMAGE_SIZE = 256.0
REGULARISATION = np.array([1.2, 2.0, 5.0])[:, None]  # of x, y and log depth
FARTHEST = 49  # frames ahead; a person hidden for longer is expected to stay there
CONFIDENCE = 0.975  # quantile of the interval's upper end


def predict_locations(times: NDArray, locations: NDArray, ahead: NDArray) -> NDArray[np.float32]:
    """The location vectors to expect, from ridge regressions of x, y and log depth on time.

    times: (T, H) frame numbers of each track's last H > 2 locations, oldest first; a young track repeats its first.
    locations: (T, H, 99). ahead: (T,) how many frames after the last of `times` to look.
    Returns (T, 99): the last location with root, translation and interval replaced by the predicted ones.
    """
    count = times.shape[1]
    root, depth = locations[..., ROOT], np.log(locations[..., [DEPTH]])
    observed = np.concatenate([root, depth], axis=-1).astype(np.float64).swapaxes(1, 2)  # (T, 3, H)
    target = times[:, -1] + np.minimum(ahead, FARTHEST)

    centred = (times - times.mean(1, keepdims=True))[:, None]  # (T, 1, H)
    spread = (centred**2).sum(-1)  # (T, 1)
    mean = observed.mean(-1)  # (T, 3)
    slope = (centred * (observed - mean[..., None])).sum(-1) / (spread + REGULARISATION.T)
    distance = (target - times.mean(1))[:, None]
    predicted = mean + slope * distance

    freedom = count - 2
    residual = observed - mean[..., None] - slope[..., None] * centred
    error = np.sqrt((residual**2).sum(-1) / freedom)
    leverage = np.divide(distance**2, spread, out=np.zeros_like(spread), where=spread > 0)
    half_width = error * stdtrit(freedom, CONFIDENCE) * np.sqrt(1 + 1 / count + leverage)
    half_width[:, 2] = np.exp(half_width[:, 2])
    repeated = count - np.count_nonzero(np.diff(times, axis=1), axis=1)

    depth = np.exp(predicted[:, 2:])
    result = locations[:, -1].astype(np.float32)
    result[:, ROOT] = predicted[:, :2]
    result[:, TRANSLATION] = np.concatenate([translation(predicted[:, :2], depth), depth], axis=1)
    result[:, INTERVAL] = half_width / repeated[:, None]
    result[:, UNUSED] = (1, 1, 0)
    return result


def translation(root: NDArray, depth: NDArray) -> NDArray:
    """(T, 2) x and y of the points at `depth` (T, 1) that are seen at `root` (T, 2), in the released convention."""
    return (root - 0.5) * depth * RELEASED_IMAGE_SIZE / RELEASED_FOCAL_LENGTH
