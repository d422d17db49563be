"""MOT Challenge text files: a line for each box, in numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.boxes import AnnotatedBox, BoxFile, corners_of, number_in, warn_of_repairs, whole_in
from fourd_humans.files.budget import MAX_PEOPLE
from fourd_humans.files.text import read_lines

MOT_LINES = "MOT lines are numbers: frame, id, left, top, width, height and perhaps more"
PEDESTRIAN = 1  # of MOT's classes


@dataclass(frozen=True, slots=True)
class MotRow:
    """A line: ``frame, id, left, top, width, height[, confidence[, class, visibility]]``.

    where: the file and line, for messages. frame: from 1. box: (left, top, width, height) pixels.
    confidence: as written, None without one; in ground truth 0 where the box is not to be used. kind: of ground truth,
    the number of the class; None in files without one.
    """

    where: str
    frame: int
    id: int
    box: tuple[float, float, float, float]
    confidence: float | None
    kind: int | None


def read_mot_rows(path: Path) -> Iterator[MotRow]:
    """The lines of a file, with numbers separated by commas, semicolons or spaces; those that begin with # are skipped.

    Raises: FourDHumansError, with the place, for what is no such line.
    """
    people: Counter[int] = Counter()
    for number, line in enumerate(read_lines(path), start=1):
        values = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
        if values == [""] or values[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        try:
            row = [float(value) for value in values]
        except ValueError as error:
            raise FourDHumansError(f"{where} holds more than numbers; {MOT_LINES}") from error
        if len(row) < 6:
            raise FourDHumansError(f"{where} has only {len(row)} numbers; {MOT_LINES}")
        frame = whole_in(row[0], where, "frame number")
        if frame < 1:
            raise FourDHumansError(f"{where}: there is no frame {frame}; MOT counts frames from 1")
        people[frame] += 1
        if people[frame] > MAX_PEOPLE:
            raise FourDHumansError(f"{where}: more than {MAX_PEOPLE} people in one frame")
        left, top, width, height = (number_in(value, where, "box") for value in row[2:6])
        has_class = len(row) in (8, 9) and row[7] >= 0
        yield MotRow(
            where,
            frame,
            whole_in(row[1], where, "id"),
            (left, top, width, height),
            number_in(row[6], where, "confidence") if len(row) > 6 else None,
            whole_in(row[7], where, "class") if has_class else None,
        )


def read_mot(path: Path) -> BoxFile:
    """The boxes in a file. In ground truth people are used whose confidence is not 0 and whose class is pedestrian.

    Raises: FourDHumansError, with the place, for what cannot be understood.
    """
    boxes = BoxFile(path)
    repaired = clipped = 0
    for row in read_mot_rows(path):
        box, was_inverted = corners_of(row.box, row.where)
        confidence = 1.0 if row.confidence is None or row.confidence == -1 else row.confidence
        refused = None
        if row.kind is not None and row.confidence == 0:
            refused = "the file marks it as not to be used"
        elif row.kind is not None and row.kind != PEDESTRIAN:
            refused = f"the file gives it class {row.kind}, which is no pedestrian"
        score = min(max(confidence, 0.0), 1.0)
        repaired += was_inverted
        clipped += score != confidence
        person = AnnotatedBox(box, score, row.id if row.id >= 0 else None, refused=refused)
        boxes.add(person, row.frame - 1, None, row.where)
    warn_of_repairs(path, repaired, clipped)
    return boxes
