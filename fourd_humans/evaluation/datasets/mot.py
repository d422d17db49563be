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
from fourd_humans.files.mot import PEDESTRIAN, read_mot_rows
from fourd_humans.files.text import read_text

MAX_FRAMES = 1_000_000
MAX_INFO = 1 << 16  # bytes of seqinfo.ini
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
    for row in read_mot_rows(path):
        left, top, width, height = row.box
        if width <= 0 or height <= 0:
            raise FourDHumansError(f"{row.where}: the box has no size")
        box = [left, top, left + width, top + height]
        kind = PEDESTRIAN if row.kind is None else row.kind  # the oldest files have no class
        if row.confidence == 0 or kind in IGNORED_CLASSES:
            ignored[row.frame - 1].append(box)
        elif kind == PEDESTRIAN:
            people[row.frame - 1].append([row.id, *box])
        else:
            left_out[f"class {kind}"] += 1
    last = max([-1, *people, *ignored]) + 1
    length, images = _info(folder, last)
    if length > MAX_FRAMES:
        raise FourDHumansError(f"{path} says that it has {length} frames")
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


def _info(folder: Path, last: int) -> tuple[int, Path]:
    """The number of frames and the folder of images; without ``seqinfo.ini``, those annotated and ``img1``."""
    path = folder / "seqinfo.ini"
    if not path.is_file():
        return last, folder / "img1"
    info = configparser.ConfigParser()
    try:
        info.read_string(read_text(path, MAX_INFO))
        section = info["Sequence"]
        return int(section["seqLength"]), folder / section.get("imDir", "img1")
    except (OSError, UnicodeDecodeError, configparser.Error, KeyError, ValueError) as error:
        raise FourDHumansError(f"{path} does not say seqLength: {' '.join(str(error).split())}") from error
