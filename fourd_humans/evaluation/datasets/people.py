"""What datasets of poses come to: annotated people in images, row by row, with the joints they are annotated by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import HEAD, LIMB_12, NECK, NUM_JOINTS, PELVIS, SMPL_NAMES

SKELETON_24 = tuple(range(NUM_JOINTS, NUM_JOINTS + len(SMPL_NAMES)))
"""SMPL's own joints, counted on after the 45: a point's number is that of one of the 45 or of these."""
NUM_POINTS = NUM_JOINTS + len(SMPL_NAMES)

COMMON_14 = (*LIMB_12, NECK, HEAD)
"""The released evaluation's joints for 3DPW and Human3.6M's protocol 2: LSP's twelve limb joints, neck and head."""
HIPS = (LIMB_12[2], LIMB_12[3])
PELVIS_JOINT = (PELVIS,)
SKELETON_ROOT = SKELETON_24[:1]


@dataclass(frozen=True)
class AnnotatedPeople:
    """N people in images.

    name: of the dataset. folder: where its images lie. images: (N) paths in it, one for each person.
    boxes: (N, 4) xyxy pixels. sizes: (N,) pixels, what errors of 2D keypoints are measured in.
    points: number, among the 45 joints and SMPL's 24 after them, that each of the J annotated joints has.
    keypoints_2d: (N, J, 3) pixels and a confidence, above 0 where annotated; or None.
    joints_3d: (N, J, 4) metres and a confidence; or None. vertices: (N, V, 3) metres, or None.
    tracks: (N) which person of which sequence each is; rows of one track lie in the order of time. Empty for single
    images. frames: (N) number of the frame in the sequence, with tracks.
    left_out: why the dataset's own rules leave people out, counted.
    """

    name: str
    folder: Path
    images: Sequence[str]
    boxes: NDArray[np.float64]
    sizes: NDArray[np.float64]
    points: tuple[int, ...]
    keypoints_2d: NDArray[np.float64] | None = None
    joints_3d: NDArray[np.float64] | None = None
    vertices: NDArray[np.float32] | None = None
    tracks: Sequence[str] = ()
    frames: Sequence[int] = ()
    left_out: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.boxes)


def join(parts: Sequence[AnnotatedPeople]) -> AnnotatedPeople:
    """The people of several sequences of a dataset, one after the other."""
    changes: dict[str, Any] = {}
    for f in fields(AnnotatedPeople):
        values = [getattr(part, f.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            changes[f.name] = np.concatenate(values)
        elif f.name in ("images", "tracks", "frames"):
            changes[f.name] = [item for value in values for item in value]
        elif f.name == "left_out":
            changes[f.name] = sum(values, Counter())
    return replace(parts[0], **changes)
