"""MOTChallenge: a folder for each sequence, with ``gt/gt.txt``, ``seqinfo.ini`` and ``img1``.

Ground truth rows are ``frame, id, left, top, width, height, flag, class, visibility``, frames counted from 1. People
are pedestrians with a flag that is not 0. What is flagged 0, and the classes that look like people but are not to be
found or missed (on a vehicle, standing still, distractor, reflection), are parts that are ignored: a result that lies
inside by more than half, and matches nobody, does not count. (The benchmark's own program ignores results that
overlap such a box by half instead.) Everything else, such as cars and occluders, is left out and counted.
"""

from __future__ import annotations

import configparser
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.sequences import TrackingSequence
from fourd_humans.evaluation.tracking import FrameBoxes

PEDESTRIAN = 1
IGNORED_CLASSES = {2: "person on vehicle", 7: "static person", 8: "distractor", 12: "reflection"}


def read_mot_sequences(folder: Path) -> list[TrackingSequence]:
    """All sequences in `folder`, or the one that it is.

    Raises: UsageError where there is none; FourDHumansError, with the place, for what is wrong in a file.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = (
        [folder] if (folder / "gt" / "gt.txt").is_file() else sorted(p.parents[1] for p in folder.glob("*/gt/gt.txt"))
    )
    if not found:
        raise UsageError(f"{folder} has no sequences: looked for gt/gt.txt in it and in its folders")
    return [_sequence(path) for path in found]


def _sequence(folder: Path) -> TrackingSequence:
    people: dict[int, list[list[float]]] = defaultdict(list)
    ignored: dict[int, list[list[float]]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    path = folder / "gt" / "gt.txt"
    for row in _rows(path):
        frame, identity, left, top, width, height = row[:6]
        box = [left, top, left + width, top + height]
        kind = int(row[7]) if len(row) > 7 and row[7] >= 0 else PEDESTRIAN  # the oldest files have no class
        if (len(row) > 6 and row[6] == 0) or kind in IGNORED_CLASSES:
            ignored[int(frame) - 1].append(box)
        elif kind == PEDESTRIAN:
            people[int(frame) - 1].append([identity, *box])
        else:
            left_out[f"class {kind}"] += 1
    last = max([-1, *people, *ignored]) + 1
    length, images = _info(folder, last)
    if last > length:
        raise FourDHumansError(f"{path} annotates frame {last}, but seqinfo.ini says there are {length}")
    frames = []
    for number in range(length):
        rows = np.array(people[number], float).reshape(-1, 5)
        parts = np.array(ignored[number], float).reshape(-1, 4)
        frames.append(FrameBoxes(rows[:, 0].astype(np.int64), rows[:, 1:], parts))
    return TrackingSequence(
        folder.name, frames, range(length), length=length, images=images if images.is_dir() else None, left_out=left_out
    )


def _rows(path: Path) -> list[list[float]]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FourDHumansError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = [float(value) for value in line.replace(",", " ").split()]
        except ValueError as error:
            raise FourDHumansError(f"{where}: {error}") from error
        if len(row) < 6 or not np.isfinite(row).all() or row[0] < 1 or row[0] != int(row[0]) or row[1] != int(row[1]):
            raise FourDHumansError(f"{where} is no row of MOT ground truth: frame, id, left, top, width, height, …")
        if row[4] <= 0 or row[5] <= 0:
            raise FourDHumansError(f"{where}: the box has no size")
        rows.append(row)
    return rows


def _info(folder: Path, last: int) -> tuple[int, Path]:
    """The number of frames and the folder of images; without ``seqinfo.ini``, those annotated and ``img1``."""
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return last, folder / "img1"
    info = configparser.ConfigParser()
    try:
        info.read_string(path.read_text(encoding="utf-8-sig"))
        section = info["Sequence"]
        return int(section["seqLength"]), folder / section.get("imDir", "img1")
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError, ValueError) as error:
        raise FourDHumansError(f"{path} does not say seqLength: {' '.join(str(error).split())}") from error
