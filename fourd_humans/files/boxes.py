"""What files of people's boxes come to, whatever their format. Errors say where in the file they are."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.budget import MAX_PEOPLE
from fourd_humans.people import Float, Mask

log = logging.getLogger(__name__)

LARGEST = 1e12  # beyond any id, frame or pixel; float32 and integers hold it


@dataclass(frozen=True, slots=True)
class AnnotatedBox:
    """One person as a file has it.

    box: x1, y1, x2, y2 in pixels, as written: it may leave the frame. score: in 0..1, 1 where the file says nothing.
    annotation: the identity the file gives, or None. keypoints: (17, 3) x, y, score, or None.
    refused: why the file itself says not to use it, or None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    annotation: int | None = None
    keypoints: Float | None = None
    mask: Mask | None = None
    refused: str | None = None


@dataclass
class BoxFile:
    """The people in a file, by the number of their frame from 0 and, where it tells, by the name of their image."""

    path: Path
    by_number: dict[int, list[AnnotatedBox]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[AnnotatedBox]] | None = None

    def add(self, person: AnnotatedBox, number: int | None, name: str | None, where: str) -> None:
        """Add a person to the frame of this number or name. Raises: FourDHumansError where there are too many."""
        lists = []
        if number is not None:
            lists.append(self.by_number[number])
        if name:
            self.by_name = {} if self.by_name is None else self.by_name
            lists.append(self.by_name.setdefault(name, []))
        for people in lists:
            people.append(person)
            if len(people) > MAX_PEOPLE:
                raise FourDHumansError(f"{where}: more than {MAX_PEOPLE} people in one frame")


def corners_of(values: Iterable[Any], where: str) -> tuple[tuple[float, float, float, float], bool]:
    """left, top, width, height as x1, y1, x2, y2, with whether a side was negative and the corners are exchanged."""
    left, top, width, height = (number_in(value, where, "box") for value in values)
    x1, x2 = sorted((left, left + width))
    y1, y2 = sorted((top, top + height))
    return (x1, y1, x2, y2), width < 0 or height < 0


def number_in(value: Any, where: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise FourDHumansError(f"{where}: {str(value)[:30]!r} in its {what} is no sensible number")
    return float(value)


def whole_in(value: Any, where: str, what: str) -> int:
    number = number_in(value, where, what)
    if number != round(number):
        raise FourDHumansError(f"{where}: its {what} {str(value)[:30]} is no whole number")
    return round(number)


def warn_of_repairs(path: Path, repaired: int, clipped: int) -> None:
    if repaired:
        log.warning("%s: %d boxes have a negative width or height; their corners are exchanged", path, repaired)
    if clipped:
        log.warning("%s: %d scores are not between 0 and 1 and are clipped", path, clipped)


def warn_of_repeated_ids(boxes: BoxFile) -> None:
    """An identity twice in a frame is a contradiction, but boxes are what is used, so all are."""
    twice = []
    for frame, people in sorted(boxes.by_number.items()):
        ids = Counter(p.annotation for p in people if p.annotation is not None and not p.refused)
        twice += [(frame, identity) for identity, count in sorted(ids.items()) if count > 1]
    if twice:
        frame, identity = twice[0]
        log.warning(
            "%s: %d times an id stands twice in a frame, first id %d in frame %d (from 0); all boxes are used",
            boxes.path, len(twice), identity, frame,
        )  # fmt: skip
