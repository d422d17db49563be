"""From recovered bodies to the observations that the tracker compares."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.crops import with_crop_camera
from fourd_humans.people import Bodies, Detections
from fourd_humans.pose_features import DEPTH, location_features, pose_features
from fourd_humans.tracking.track import Observation


def observe(frame: int, size: tuple[int, int], detections: Detections, bodies: Bodies) -> list[Observation]:
    """One observation for each person of a frame of `size` (height, width).

    Raises: ValueError for a body without texture, one that is not finite, or one not in front of the camera.
    """
    if not len(bodies):
        return []
    if bodies.texture is None:
        raise ValueError("the tracker needs bodies with textures")
    usable = usable_bodies(detections, bodies, size)
    if not usable.all():
        raise ValueError(f"frame {frame}: person {int(np.argmin(usable))} has no finite body in front of the camera")
    poses, locations = pose_features(bodies), location_features(bodies, size)
    annotations = detections.annotations or [None] * len(bodies)
    return [
        Observation(frame, pose, location, texture, float(score), annotated=annotation is not None)
        for pose, location, texture, score, annotation in zip(
            poses, locations, bodies.texture, detections.scores, annotations, strict=True
        )
    ]


def usable_bodies(detections: Detections, bodies: Bodies, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) bool: which bodies are finite in every number and stand in front of the camera of a frame of `size`."""
    usable = np.ones(len(bodies), bool)
    if not len(bodies):
        return usable
    for field in fields(bodies):
        values = getattr(bodies, field.name)
        if isinstance(values, np.ndarray) and field.name != "texture":
            usable &= np.isfinite(values).reshape(len(bodies), -1).all(1)
    with np.errstate(all="ignore"):
        bodies = with_crop_camera(bodies, detections.boxes)
        poses, locations = pose_features(bodies), location_features(bodies, size)
    in_front = (locations[:, DEPTH] > 0) & (bodies.camera[:, 2] > 0)
    return usable & in_front & np.isfinite(poses).all(1) & np.isfinite(locations).all(1)
