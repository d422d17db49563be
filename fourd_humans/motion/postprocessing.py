"""Completion and smoothing of whole results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.motion.completion import boxes_around, complete, with_joints
from fourd_humans.motion.pose_transformer import PoseTransformer
from fourd_humans.motion.smoothing import smooth_bodies
from fourd_humans.people import Bodies, Detections, TrackedFrame, concatenate
from fourd_humans.pose_features import motion_features

FILLED_IN = -1  # time_since_seen of bodies filled in from both sides, as in the released post-processing


@dataclass(frozen=True)
class _Stretch:
    """One person from the first to the last observation within one shot: places in the list of frames, and rows."""

    id: int
    places: NDArray[np.int64]
    time_since_seen: NDArray[np.int64]
    detections: Detections
    bodies: Bodies


def complete_tracklets(
    frames: Sequence[TrackedFrame], body_model: BodyModel, network: PoseTransformer | None = None, sigma: float = 0.0
) -> list[TrackedFrame]:
    """The frames with everybody's hidden stretches filled in and, with `sigma`, everybody smoothed over time.

    Frames between two observations of a person within one shot get a body marked -1, whether they had a predicted one
    before or none. Predictions after a track's last observation are removed, for nothing shows that the person is
    still there. People where they were seen stay as they are unless smoothed; bodies that are not finite count as not
    seen.

    network: see `complete`. sigma: frames, see `smooth_bodies`; 0 smooths nothing.
    Raises: UsageError where the bodies are of another shape space than `body_model`.
    """
    others = {frame.bodies.shape_space for frame in frames if len(frame)} - {body_model.shape_space}
    if others:
        raise UsageError(f"the results hold bodies of {', '.join(others)}, not of {body_model.shape_space}")
    shots = np.cumsum([frame.is_cut for frame in frames])
    observations: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for place, frame in enumerate(frames):
        usable = motion_features(frame.bodies).usable
        for row in np.flatnonzero(frame.seen & usable).tolist():
            observations[int(frame.ids[row]), int(shots[place])].append((place, row))
    people: list[list[tuple[_Stretch, int]]] = [[] for _ in frames]
    for (person, _), found in sorted(observations.items()):
        stretch = _complete(frames, person, found, body_model, network)
        if sigma > 0:
            stretch = _smooth(frames, stretch, body_model, sigma)
        for row, place in enumerate(stretch.places):
            people[place].append((stretch, row))
    return [_with_people(frame, present, body_model) for frame, present in zip(frames, people, strict=True)]


def _complete(
    frames: Sequence[TrackedFrame],
    id: int,
    found: list[tuple[int, int]],
    body_model: BodyModel,
    network: PoseTransformer | None,
) -> _Stretch:
    """The stretch of one person with these observations (place, row)."""
    seen = np.array([place for place, _ in found])
    detections = concatenate([replace(frames[place].detections[row], rejected=[]) for place, row in found])
    bodies = concatenate([frames[place].bodies[row] for place, row in found])
    missing = np.setdiff1d(np.arange(seen[0], seen[-1] + 1), seen)
    if len(missing):
        numbers = np.array([frame.index for frame in frames])
        filled = complete(numbers[seen], bodies, numbers[missing], body_model, network)
        boxes = boxes_around(filled, bodies, detections.boxes)
        detections = concatenate([detections, Detections(boxes, np.zeros(len(missing), np.float32))])
        bodies = concatenate([bodies, filled])
    places = np.concatenate([seen, missing])
    marks = np.where(np.isin(places, seen), 0, FILLED_IN)
    order = np.argsort(places)
    return _Stretch(id, places[order], marks[order], detections[order], bodies[order])


def _smooth(frames: Sequence[TrackedFrame], stretch: _Stretch, body_model: BodyModel, sigma: float) -> _Stretch:
    numbers = np.array([frames[place].index for place in stretch.places])
    return replace(stretch, bodies=with_joints(smooth_bodies(numbers, stretch.bodies, sigma), body_model))


def _with_people(frame: TrackedFrame, present: list[tuple[_Stretch, int]], body_model: BodyModel) -> TrackedFrame:
    """The frame with these people in it (each a stretch and a row of it) and nobody else."""
    detections = concatenate([Detections.empty(), *(stretch.detections[row] for stretch, row in present)])
    bodies = [stretch.bodies[row] for stretch, row in present]
    ids = np.array([stretch.id for stretch, _ in present], np.int64)
    before = {int(id): row for row, id in enumerate(frame.ids)}
    known = [before[int(id)] for id in ids if int(id) in before]
    had = (frame.predicted_pose, frame.predicted_location)
    pose, location = (array[known] if array is not None and len(known) == len(ids) else None for array in had)
    return replace(
        frame,
        ids=ids,
        time_since_seen=np.array([stretch.time_since_seen[row] for stretch, row in present], np.int64),
        detections=replace(detections, rejected=frame.detections.rejected),
        bodies=concatenate(bodies) if bodies else Bodies.empty(body_model.shape_space),
        predicted_pose=pose,
        predicted_location=location,
    )
