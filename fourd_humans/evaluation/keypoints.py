"""2D keypoints: the share that is right (PCK)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PCK:
    """Shares of correct keypoints.

    threshold: of the reference size. joints: (J,) share of each keypoint, NaN where no person has it labelled.
    mean: over the keypoints that are labelled anywhere, each counting alike (the released evaluation's way).
    overall: over all labelled keypoints of all people, each counting alike. labelled: (J,) how many there were.
    """

    threshold: float
    joints: NDArray[np.float64]
    mean: float
    overall: float
    labelled: NDArray[np.int64]


def pck(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], size: NDArray[np.floating], threshold: float
) -> PCK:
    """Keypoints within `threshold` times the reference size of where they are.

    predicted: (N, J, 2). truth: (N, J, 3) with a confidence, above 0 where labelled; both in the same pixels.
    size: (N,) what distances are measured in: for the released evaluation the longer side of the annotated box; in
    other papers that of the image, or the length of the head or torso.

    A prediction that is not finite is wrong, not left out.
    Raises: ValueError if a size is not positive or shapes do not fit.
    """
    if predicted.shape != truth[..., :2].shape or size.shape != predicted.shape[:1]:
        raise ValueError(f"shapes do not fit: {predicted.shape}, {truth.shape}, {size.shape}")
    if not (size > 0).all():
        raise ValueError("a reference size is not positive")
    labelled = truth[..., 2] > 0
    distance = np.linalg.norm(predicted - truth[..., :2], axis=-1) / size[:, None]
    correct = labelled & (np.nan_to_num(distance, nan=np.inf) < threshold)
    counts = labelled.sum(0)
    joints = np.where(counts > 0, correct.sum(0) / np.maximum(counts, 1), np.nan)
    nothing = not counts.any()
    return PCK(
        threshold,
        joints,
        float("nan") if nothing else float(np.nanmean(joints)),
        float("nan") if nothing else float(correct.sum() / counts.sum()),
        counts,
    )
