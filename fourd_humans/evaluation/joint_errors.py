"""Pose and keypoint figures of a whole dataset, with a count of everything that could not be measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.people import (
    COMMON_14,
    HIPS,
    PELVIS_JOINT,
    SKELETON_24,
    SKELETON_ROOT,
    AnnotatedPeople,
)
from fourd_humans.evaluation.keypoints import PCK, pck
from fourd_humans.evaluation.pose import acceleration_error, mpjpe, pa_mpjpe, pve
from fourd_humans.evaluation.predictions import Predictions
from fourd_humans.geometry.crops import crop_squares

Root = Literal["pelvis", "hips"]
Size = Literal["box", "crop", "image"]


def pose_errors(
    people: AnnotatedPeople, predictions: Predictions, *, joints: int = 14, root: Root = "pelvis", partial: bool = False
) -> dict[str, float]:
    """MPJPE, PA-MPJPE, and where the data allows them PVE and the acceleration error, in mm, and counts.

    joints: 14 (the common joints) or 24 (SMPL's). root: what both are moved to the origin by: the pelvis joint, as in
    the released evaluation, or the middle of the hips, as in others; of the 24 joints always SMPL's root.
    partial: measure what is there where people were not predicted; they are counted.
    Raises: FourDHumansError where people were not predicted and `partial` is not set, or there is nobody to measure on;
    UsageError where a joint is not annotated or not predicted.
    """
    if people.joints_3d is None:
        raise UsageError(f"{people.name} has no 3D joints")
    if predictions.joints_3d is None:
        raise UsageError("the predictions have no 3D joints")
    evaluated = COMMON_14 if joints == 14 else SKELETON_24
    roots = SKELETON_ROOT if joints == 24 else PELVIS_JOINT if root == "pelvis" else HIPS
    columns = _columns(people.points, (*evaluated, *roots), f"{people.name} does not annotate")
    truth = people.joints_3d[:, columns]
    predicted = predictions.joints_3d[:, _columns(predictions.points, (*evaluated, *roots), "the predictions lack")]
    annotated = (truth[..., 3] > 0).all(1)
    found = np.isfinite(predicted).all((1, 2))
    used = annotated & found
    missing = int((annotated & ~found).sum())
    _check_missing(people, missing, int(annotated.sum()), partial)

    count = len(evaluated)
    rows_truth, rows_predicted = truth[used, :, :3], predicted[used]
    root_columns = list(range(count, count + len(roots)))
    aligned = [r - r[:, root_columns].mean(1, keepdims=True) for r in (rows_predicted, rows_truth)]
    figures = {
        "people": float(len(people)),
        "without annotation": float((~annotated).sum()),
        "not predicted": float(missing),
        "MPJPE": float(mpjpe(aligned[0][:, :count], aligned[1][:, :count]).mean()),
        "PA-MPJPE": float(pa_mpjpe(rows_predicted[:, :count], rows_truth[:, :count]).mean()),
    }
    if people.vertices is not None and predictions.vertices is not None:
        true_root, own_root = rows_truth[:, root_columns].mean(1), rows_predicted[:, root_columns].mean(1)
        if predictions.vertices.shape != people.vertices.shape:
            raise UsageError(
                f"the predicted meshes are {predictions.vertices.shape}, the true ones {people.vertices.shape}"
            )
        vertex_errors = pve(predictions.vertices[used], people.vertices[used], own_root, true_root)
        figures["PVE"] = float(vertex_errors.mean())
    if len(people.tracks):
        acceleration = _acceleration(people, used, aligned[0][:, :count], aligned[1][:, :count])
        if len(acceleration):
            figures["acceleration"] = float(acceleration.mean())
    return figures


def keypoint_figures(
    people: AnnotatedPeople,
    predictions: Predictions,
    *,
    thresholds: Sequence[float] = (0.05, 0.1),
    size: Size = "box",
    partial: bool = False,
) -> tuple[dict[str, float], list[PCK]]:
    """PCK at each threshold, and counts. People who were not predicted count as wrong, all of their keypoints.

    size: what errors are measured in: the longer side of the annotated box, as in the released evaluation; the side of
    the square crop that the network sees; or the longer side of the image.
    partial: allow people without a prediction. Raises: as `pose_errors`.
    """
    if people.keypoints_2d is None:
        raise UsageError(f"{people.name} has no 2D keypoints")
    if predictions.keypoints_2d is None:
        raise UsageError("the predictions have no 2D keypoints")
    known = [point for point in people.points if point in predictions.points]
    columns = _columns(people.points, known, "")
    labelled = people.keypoints_2d[..., 2] > 0
    unknown = np.delete(labelled, columns, axis=1).any(0)
    if unknown.any():
        raise UsageError(f"the predictions lack {int(unknown.sum())} of the joints that {people.name} annotates")
    truth = people.keypoints_2d[:, columns]
    predicted = predictions.keypoints_2d[:, _columns(predictions.points, known, "")]
    annotated = labelled.any(1)
    missing = int((annotated & ~np.isfinite(predicted).any((1, 2))).sum())
    _check_missing(people, missing, int(annotated.sum()), partial)
    sizes = _sizes(people, size)
    results = [pck(predicted, truth, sizes, threshold) for threshold in thresholds]
    figures = {
        "people": float(len(people)),
        "without annotation": float((~annotated).sum()),
        "not predicted": float(missing),
    }
    for result in results:
        figures[f"PCK@{result.threshold:g}"] = result.mean
        figures[f"PCK@{result.threshold:g} of all keypoints"] = result.overall
    return figures, results


def _check_missing(people: AnnotatedPeople, missing: int, annotated: int, partial: bool) -> None:
    if not annotated:
        raise FourDHumansError(f"{people.name}: none of the {len(people)} people has all joints annotated")
    if missing and (not partial or missing == annotated):
        raise FourDHumansError(
            f"{missing} of {annotated} annotated people have no prediction; --allow-missing measures the others, "
            "and says so"
        )


def _columns(points: Sequence[int], wanted: Sequence[int], complaint: str) -> list[int]:
    place = {point: column for column, point in enumerate(points)}
    if absent := sorted({point for point in wanted if point not in place}):
        raise UsageError(
            f"{complaint} joints {', '.join(map(str, absent))} of the {len(points)}; see docs/evaluation.md"
        )
    return [place[point] for point in wanted]


def _acceleration(
    people: AnnotatedPeople,
    used: NDArray[np.bool_],
    predicted: NDArray[np.floating],
    truth: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Errors over runs of successive frames of the same person. predicted, truth: of the rows that are `used`."""
    rows = np.flatnonzero(used)
    tracks, frames = np.asarray(people.tracks)[rows], np.asarray(people.frames)[rows]
    breaks = np.flatnonzero((tracks[1:] != tracks[:-1]) | (np.diff(frames) != 1)) + 1
    runs = np.split(np.arange(len(rows)), breaks)
    return np.concatenate(
        [np.zeros(0), *(acceleration_error(predicted[run], truth[run]) for run in runs if len(run) > 2)]
    )


def _sizes(people: AnnotatedPeople, size: Size) -> NDArray[np.float64]:
    if size == "box":
        return people.sizes
    if size == "crop":
        return crop_squares(people.boxes.astype(np.float32))[1].astype(float)
    sides: dict[str, float] = {}
    for image in people.images:
        if image not in sides:
            try:
                with Image.open(people.folder / image) as opened:
                    sides[image] = float(max(opened.size))
            except OSError as error:
                raise FourDHumansError(f"cannot read {people.folder / image}, whose size is needed: {error}") from error
    return np.array([sides[image] for image in people.images])
