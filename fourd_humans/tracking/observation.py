"""From bodies to the numbers that the tracker compares, and from numbers back to bodies.

The tracker's numbers are the released ones whatever camera the bodies are in: places are fractions of the square that
the frame is padded to, translations those of a focal length of 5000 at 256 pixels.
"""

from __future__ import annotations

import numpy as np

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
    poses, locations = pose_features(bodies), location_features(bodies, size)
    usable = np.isfinite(poses).all(1) & np.isfinite(locations).all(1) & (locations[:, DEPTH] > 0)
    if not usable.all():
        raise ValueError(f"frame {frame}: person {int(np.argmin(usable))} has no finite body in front of the camera")
    annotations = detections.annotations or [None] * len(bodies)
    return [
        Observation(frame, pose, location, texture, float(score), annotated=annotation is not None)
        for pose, location, texture, score, annotation in zip(
            poses, locations, bodies.texture, detections.scores, annotations, strict=True
        )
    ]
