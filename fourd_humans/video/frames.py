"""What a source of frames is, and the points in time that a user may name in it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fourd_humans.errors import UsageError
from fourd_humans.people import Frame

Position = int | float
"""A position in a source: an int counts frames, a float seconds, both from the source's first frame."""


@dataclass(frozen=True)
class BadFrame:
    """A frame that is there but cannot be used.

    index, time, name: as in `Frame`. reason: why, for the user.
    """

    index: int
    time: float
    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A stream of frames; every iteration reads it from the beginning of the part that was opened.

    path: where it lies. name: what to call its results, without a suffix.
    size: (height, width) of the first readable frame, upright. Frames of other sizes may follow.
    frame_rate: frames per second; the average where it varies.
    frame_count: how many frames an iteration will give, as far as the file says (an estimate), or None.
    has_audio: whether there is sound to copy. is_image: whether it is one single image.
    read: starts an iteration; with a number, at that frame if it lies in the part.
    focal_length: pixels of frames of `size`, from the file's EXIF or QuickTime tags; None where it has none.
    """

    path: Path
    name: str
    size: tuple[int, int]
    frame_rate: float
    frame_count: int | None
    has_audio: bool
    is_image: bool
    read: Callable[..., Iterator[Frame | BadFrame]]
    focal_length: float | None = None

    def __iter__(self) -> Iterator[Frame | BadFrame]:
        return self.read()


DIAGONAL_35MM = math.hypot(36, 24)  # millimetres, of 35 mm film


def focal_length_of(millimetres: object, size: tuple[int, int]) -> float | None:
    """Pixels for a picture of `size` (height, width) with the view of a lens of so many millimetres on 35 mm film; None
    for what is no focal length."""
    try:
        value = float(millimetres)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value / DIAGONAL_35MM * math.hypot(*size) if 5 <= value <= 2000 else None


def with_focal_length(
    read: Callable[..., Iterator[Frame | BadFrame]], focal_length: float | None
) -> Callable[..., Iterator[Frame | BadFrame]]:
    """`read` of a source, with frames that know their focal length."""
    if focal_length is None:
        return read

    def tagged(*first: int) -> Iterator[Frame | BadFrame]:
        for frame in read(*first):
            yield replace(frame, focal_length=focal_length) if isinstance(frame, Frame) else frame

    return tagged


LONGEST_POSITION = 20  # characters


def parse_position(text: str) -> Position:
    """A position in a video as users write it: ``120`` is a frame; ``3.5s``, ``0:03.5`` and ``1:02:03`` are times.

    Returns: an int of frames or a float of seconds.
    Raises: UsageError for anything else.
    """
    text = text.strip()
    if len(text) > LONGEST_POSITION:
        raise UsageError(f"'{text[:LONGEST_POSITION]}…' is too long for a position in a video")
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(\.\d*)?s|\.\d+s", text):
        return float(text[:-1])
    if match := re.fullmatch(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d*)?)", text):
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600.0 + int(minutes) * 60.0 + float(seconds)
    raise UsageError(f"'{text}' is no position in a video: give a frame number (120) or a time (3.5s, 0:03.5)")


def check_range(start: Position | None, end: Position | None) -> None:
    """Raises: UsageError for a negative start, or an end that is not after the start."""
    for option, position in (("start", start), ("end", end)):
        if position is not None and position < 0:
            raise UsageError(f"the {option} must not be negative, but is {position}")
    same_unit = start is None or isinstance(start, int) == isinstance(end, int)
    if end is not None and same_unit and end <= (start or 0):
        raise UsageError(f"the end ({end}) must come after the start ({start or 0})")


def is_past(end: Position | None, index: int, time: float) -> bool:
    """Whether the frame `index` at `time` seconds no longer belongs to what ends (exclusively) at `end`."""
    if end is None:
        return False
    return index >= end if isinstance(end, int) else time >= end
