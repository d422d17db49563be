"""Files of recognised actions: rows by frame (CSV), segments and summaries (JSON), AVA's csv, and labels read back."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fourd_humans.actions.classes import ActionClasses
from fourd_humans.actions.timeline import PersonScores, best, segments, summaries
from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Float, TrackedFrame

HEADER = ["frame", "time", "person", "number", "action", "score"]
LONGEST_NAME = 200
MAX_ROWS = 20_000_000


class Label(NamedTuple):
    """An action of a person in a frame, with its score."""

    action: str
    score: float


def write_csv(path: Path, people: Sequence[PersonScores], classes: ActionClasses, thresholds: Float, top: int) -> None:
    """A row for each frame, person and action: at most `top` actions that reach their thresholds, best first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        rows = sorted(
            (int(place), i, row) for i, person in enumerate(people) for row, place in enumerate(person.places)
        )
        for _, i, row in rows:
            person = people[i]
            for action in best(person.scores[row], thresholds, top):
                writer.writerow(
                    [
                        int(person.frames[row]), f"{person.times[row]:.4f}", person.id, classes.numbers[action],
                        classes.names[action], f"{person.scores[row, action]:.4f}",
                    ]
                )  # fmt: skip


def to_json(
    people: Sequence[PersonScores], classes: ActionClasses, thresholds: Float, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Segments and summary of every person, with classes and settings."""

    def named(values: Any) -> dict[str, Any]:
        fields = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(values).items()}
        del fields["person"]
        return fields | {"action": classes.names[values.action]}

    return {
        "settings": dict(settings),
        "classes": classes.by_number,
        "people": [
            {
                "person": person.id,
                "first": int(person.frames[0]),
                "last": int(person.frames[-1]),
                "seconds": round(float(person.duration.sum()), 4),
                "summary": [named(summary) for summary in summaries(person, thresholds)],
                "segments": [named(segment) for segment in segments(person, thresholds)],
            }
            for person in people
        ],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def ava_rows(
    video: str, second: int, box: Sequence[float], scores: Float, classes: ActionClasses, top: int | None = None
) -> list[list[Any]]:
    """Rows of AVA's csv for one person at one second, the best action first.

    box: xyxy as fractions of the frame. scores: (C,). top: only so many rows; the benchmark reads 50 a frame.
    """
    order = np.argsort(-scores, kind="stable")[:top]
    corners = [float(value) for value in box]
    return [
        [video, f"{second:04d}", *corners, classes.numbers[action], f"{scores[action]:.8g}"]
        for action in order.tolist()
    ]


def write_ava(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def ava_rows_of_results(
    video: str,
    frames: Sequence[TrackedFrame],
    people: Sequence[PersonScores],
    classes: ActionClasses,
    first_second: int = 0,
    top: int | None = None,
) -> list[list[Any]]:
    """Rows of AVA's csv at every whole second of the video, where a person is detected in the frame next to it.

    first_second: what the video's time 0 is called; AVA's clips are named by the second of the film.
    """
    rows = []
    if not frames:
        return []
    times = np.array([frame.time for frame in frames])
    for second in range(int(np.ceil(times[0])), int(times[-1]) + 1):
        place = int(np.abs(times - second).argmin())
        height, width = frames[place].size
        for person in people:
            row = np.flatnonzero(person.places == place)
            if len(row):
                box = frames[place].detections.boxes[frames[place].ids == person.id][0] / [width, height, width, height]
                scores = person.scores[row[0]]
                rows += ava_rows(video, first_second + second, np.clip(box, 0, 1), scores, classes, top)
    return rows


def read_labels(path: Path | str) -> dict[int, dict[int, list[Label]]]:
    """The labels in a csv of `write_csv`, by frame and person, in the order of the file.

    Raises: FourDHumansError naming the file and line where it is no such csv.
    """
    labels: dict[int, dict[int, list[Label]]] = defaultdict(lambda: defaultdict(list))
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            if next(reader, None) != HEADER:
                raise FourDHumansError(f"{path} is not a csv of actions: its first line is not {','.join(HEADER)}")
            for row in reader:
                frame, person, action, score = int(row[0]), int(row[2]), row[4], float(row[5])
                if not 0 <= score <= 1 or len(action) > LONGEST_NAME or reader.line_num > MAX_ROWS:
                    raise ValueError
                labels[frame][person].append(Label(action, score))
    except (ValueError, IndexError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        raise FourDHumansError(f"{path}, line {reader.line_num} is no row of a csv of actions") from error
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror}") from error
    return {frame: dict(people) for frame, people in labels.items()}


def texts_by_frame(
    labels: Mapping[int, Mapping[int, Sequence[Label]]], frames: Iterable[int], scores: bool = True
) -> dict[int, dict[int, str]]:
    """What to write at each person in these frames, as "walk 92%, turn 61%", or without `scores` "walk, turn".

    Where only every so many frames are labelled, the labels of one stand until the next.
    """
    labelled = sorted(labels)
    every = min((after - before for before, after in pairwise(labelled)), default=1)
    texts = {}
    for frame in frames:
        place = bisect_right(labelled, frame) - 1
        if place >= 0 and frame - labelled[place] < every:
            people = labels[labelled[place]]
            texts[frame] = {
                id: ", ".join(f"{each.action} {each.score:.0%}" if scores else each.action for each in people[id])
                for id in people
            }
    return texts
