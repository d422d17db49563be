"""Which people and fits are no pseudo ground truth, and why (supplement, S.1, and tests of our own).

Before the fit the detection is judged, and afterwards the fit. Every reason is a short text that the report counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.people import Bodies, Detections, Float
from fourd_humans.tracklets import axis_angle
from fourd_humans.training.pose_histogram import PoseHistogram
from fourd_humans.training.pseudo_gt.people import PeopleFit

BOX_MARGIN = 1.2  # keypoints may lie in a box so much larger
Reasons = list[str | None]

LOW_SCORE = "detection score too low"
FEW_KEYPOINTS = "too few keypoints"
SMALL = "box too small"
OUTSIDE = "keypoints outside the box or the picture"
DUPLICATE = "duplicate of another detection"
NOT_FINITE = "fit not finite or behind the camera"
DISAGREEMENT = "keypoints and regressor disagree"
LARGE_ERROR = "fitting error too large"
LARGE_LOSS = "reprojection loss too large"
LARGE_BETAS = "betas too large"
IMPROBABLE = "improbable pose"
POSE_REASONS = (LARGE_BETAS, IMPROBABLE)
"""Reasons for which the 2D keypoints may be good all the same."""


@dataclass(frozen=True)
class FilterSettings:
    """What is asked of detections and fits.

    min_score: of a detection. min_confidence: of a keypoint that counts; min_keypoints: of which there must be.
    min_side: pixels of the box's shorter side. max_outside: share of the keypoints that count outside the picture, or
    outside the box enlarged by a fifth. duplicate_overlap: IoU of two boxes, and duplicate_distance: mean distance of
    their keypoints over the box's longer side, that are one person.
    max_disagreement: mean distance of the regressor's joints to the keypoints, over the box's longer side. max_error:
    the same of the fit. max_reprojection_loss: in the units of the released fits (31000 there), or None. max_beta: of
    any beta's size, of the regressor or the fit.
    """

    min_score: float = 0.5
    min_confidence: float = 0.3
    min_keypoints: int = 5
    min_side: float = 32.0
    max_outside: float = 0.3
    duplicate_overlap: float = 0.8
    duplicate_distance: float = 0.1
    max_disagreement: float = 0.08
    max_error: float = 0.03
    max_reprojection_loss: float | None = None
    max_beta: float = 3.0


def judge_detections(found: Detections, size: tuple[int, int], settings: FilterSettings) -> Reasons:
    """Why not to fit each of the detections, or None. size: (height, width) of the picture."""
    count = len(found)
    keypoints = np.zeros((count, 17, 3), np.float32) if found.keypoints is None else found.keypoints
    points, counts = keypoints[..., :2], keypoints[..., 2] >= settings.min_confidence
    boxes = found.boxes.astype(float)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    in_box = (np.abs(points - middle[:, None]) <= BOX_MARGIN * half[:, None]).all(2)
    in_picture = ((points >= 0) & (points <= [size[1], size[0]])).all(2)
    outside = (counts & ~(in_box & in_picture)).sum(1) / np.maximum(counts.sum(1), 1)
    return _first(
        count,
        (found.scores < settings.min_score, LOW_SCORE),
        (counts.sum(1) < settings.min_keypoints, FEW_KEYPOINTS),
        (2 * half.min(1) < settings.min_side, SMALL),
        (outside > settings.max_outside, OUTSIDE),
        (_duplicates(boxes, points, counts, found.scores, settings), DUPLICATE),
    )


def judge_fits(
    fits: PeopleFit, start: Bodies, settings: FilterSettings, histogram: PoseHistogram | None = None
) -> Reasons:
    """Why not to use each of the fits, or None. start: the regressor's bodies. histogram: of probable poses."""
    bodies = fits.bodies
    count = len(bodies)
    numbers = [getattr(bodies, f.name) for f in fields(bodies) if isinstance(getattr(bodies, f.name), np.ndarray)]
    finite = np.all([np.isfinite(each).all(tuple(range(1, each.ndim))) for each in [*numbers, fits.errors]], axis=0)
    improbable = np.zeros(count, bool)
    if histogram is not None and finite.any():
        improbable[finite] = ~histogram.is_probable(axis_angle(bodies.body_pose[finite]))
    betas = np.maximum(np.abs(bodies.betas), np.abs(start.betas)).max(1, initial=0)
    worst = np.inf if settings.max_reprojection_loss is None else settings.max_reprojection_loss
    return _first(
        count,
        (~finite | ~(bodies.camera[:, 2] > 0), NOT_FINITE),
        (~(fits.start_errors <= settings.max_disagreement), DISAGREEMENT),
        (~(fits.errors <= settings.max_error), LARGE_ERROR),
        (fits.reprojection_losses >= worst, LARGE_LOSS),
        (betas > settings.max_beta, LARGE_BETAS),
        (improbable, IMPROBABLE),
    )


def _first(count: int, *tests: tuple[NDArray[np.bool_], str]) -> Reasons:
    """For each of `count` people the first reason whose test is true."""
    reasons: Reasons = [None] * count
    for failed, reason in reversed(tests):
        for row in np.flatnonzero(failed):
            reasons[row] = reason
    return reasons


def _duplicates(
    boxes: NDArray[np.float64],
    points: Float,
    counts: NDArray[np.bool_],
    scores: Float,
    settings: FilterSettings,
) -> NDArray[np.bool_]:
    """(N,) whether a detection with a higher score is the same person."""
    overlap = intersection_over_union(boxes, boxes)
    both = counts[:, None] & counts[None]
    distance = np.linalg.norm(points[:, None].astype(float) - points[None], axis=3)
    mean = np.where(both, distance, 0).sum(2) / np.maximum(both.sum(2), 1)
    side = (boxes[:, 2:] - boxes[:, :2]).max(1)
    same = (overlap > settings.duplicate_overlap) & (mean < settings.duplicate_distance * side[:, None])
    order = np.arange(len(scores))
    better = (scores[None] > scores[:, None]) | ((scores[None] == scores[:, None]) & (order[None] < order[:, None]))
    return np.asarray((same & better).any(1))


def counted(reasons: Sequence[str | None]) -> dict[str, int]:
    """How often each reason occurs."""
    return {reason: reasons.count(reason) for reason in dict.fromkeys(r for r in reasons if r is not None)}
