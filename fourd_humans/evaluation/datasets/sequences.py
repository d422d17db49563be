"""What datasets of tracking come to: sequences with the people of every annotated frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fourd_humans.evaluation.tracking import FrameBoxes


@dataclass(frozen=True)
class TrackingSequence:
    """The ground truth of one video.

    frames: the annotated frames. numbers: where each lies in the video, from 0. names: their image files' names, or
    None where the dataset gives none. length: frames of the video, or None where the dataset does not say.
    images: the folder of its images, or None where it is not there. left_out: annotations not used, by why.
    """

    name: str
    frames: Sequence[FrameBoxes]
    numbers: Sequence[int]
    names: Sequence[str] | None = None
    length: int | None = None
    images: Path | None = None
    left_out: Counter[str] = field(default_factory=Counter)
