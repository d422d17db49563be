"""Action detection: the frame mAP at IoU 0.5 of the AVA benchmark.

Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized Atomic Visual Actions", CVPR 2018, section 5, in the
numbers of its official evaluation: within a frame, a class's boxes in the order of their scores each go to the ground
truth they overlap most, and only the first there is correct; the average precision is the area under the precision made
monotone. Of equal scores the later detection comes first, as in the official evaluation.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.budget import one_line
from fourd_humans.files.text import read_csv
from fourd_humans.geometry.boxes import intersection_over_union

FrameKey = tuple[str, str]  # video and timestamp
MOST_PER_FRAME = 50  # labelled boxes of a frame that the official evaluation looks at, the best first


@dataclass(frozen=True)
class LabelledBox:
    """box: (x1, y1, x2, y2) as fractions of the frame. action: number of the class. score: 1 in ground truth."""

    box: tuple[float, float, float, float]
    action: int
    score: float


BoxesByFrame = Mapping[FrameKey, list[LabelledBox]]


@dataclass(frozen=True)
class ActionScores:
    """average_precision: by class, for those that occur in the ground truth. missing: classes that never occur.

    mean: over the classes that occur. groups: the same over each group's.
    unannotated: how many frames with detections have no ground truth; the benchmark does not count them.
    """

    average_precision: dict[int, float]
    missing: list[int]
    mean: float
    groups: dict[str, float]
    unannotated: int


def evaluate_actions(
    truth: BoxesByFrame,
    detections: BoxesByFrame,
    classes: Collection[int],
    groups: Mapping[str, Collection[int]] | None = None,
    iou: float = 0.5,
) -> ActionScores:
    """Average precision of every class, and its mean over all and over groups of them.

    A frame counts if it has ground truth of any class: the others were not annotated.
    """
    annotated = {key: boxes for key, boxes in detections.items() if key in truth}
    unannotated, detections = len(detections) - len(annotated), annotated
    scores = {c: average_precision(_of_class(truth, c), _of_class(detections, c), iou) for c in sorted(classes)}
    found = {c: score for c, score in scores.items() if np.isfinite(score)}

    def mean(chosen: Iterable[int]) -> float:
        values = [found[c] for c in chosen if c in found]
        return float(np.mean(values)) if values else float("nan")

    by_group = {name: mean(members) for name, members in (groups or {}).items()}
    return ActionScores(found, [c for c in scores if c not in found], mean(found), by_group, unannotated)


def average_precision(truth: BoxesByFrame, detections: BoxesByFrame, iou: float = 0.5) -> float:
    """Average precision of the boxes of one class over all frames; NaN if there is no ground truth."""
    positives = sum(len(boxes) for boxes in truth.values())
    if not positives:
        return float("nan")
    correct: list[bool] = []
    scores: list[float] = []
    for key, boxes in detections.items():
        ranked = [boxes[i] for i in _best_first([box.score for box in boxes])]
        correct += _correct(ranked, truth.get(key, []), iou)
        scores += [box.score for box in ranked]
    true_positives = np.cumsum(np.asarray(correct, float)[_best_first(scores)])
    precision = true_positives / np.arange(1, len(scores) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(true_positives / positives, prepend=0.0) * monotone).sum())


def _best_first(scores: Sequence[float]) -> NDArray[np.intp]:
    """Indices by falling score, of equal scores the last first."""
    return np.argsort(np.asarray(scores, float), kind="stable")[::-1]


def _correct(ranked: list[LabelledBox], truth: list[LabelledBox], iou: float) -> list[bool]:
    """Which of the boxes, best first, are the first on a ground truth box that they overlap enough."""
    if not truth or not ranked:
        return [False] * len(ranked)
    overlap = intersection_over_union(np.array([b.box for b in ranked]), np.array([b.box for b in truth]))
    best = overlap.argmax(1)
    taken: set[int] = set()
    correct = []
    for row, target in enumerate(best.tolist()):
        correct.append(bool(overlap[row, target] >= iou and target not in taken))
        if correct[-1]:
            taken.add(target)
    return correct


def read_boxes(
    path: Path | str, classes: Collection[int], *, scored: bool, most_per_frame: int | None = MOST_PER_FRAME
) -> tuple[dict[FrameKey, list[LabelledBox]], int]:
    """Boxes of an AVA csv: video, timestamp, x1, y1, x2, y2, action, then the score (`scored`) or a person's number.

    most_per_frame: where `scored`, only so many of a frame's best count. Rows without an action (a frame's bare box)
    are passed over, as are those of classes that are not evaluated; how many of the latter is returned beside.

    Raises: FourDHumansError naming the file and line for what is no such row.
    """
    frames: dict[FrameKey, list[LabelledBox]] = defaultdict(list)
    ignored = 0
    for number, row in read_csv(path):
        if len(row) in (0, 2) or (len(row) > 6 and not row[6]):
            continue
        try:
            video, timestamp = row[0], f"{int(row[1]):04d}"
            x1, y1, x2, y2 = map(float, row[2:6])
            action, score = int(row[6]), float(row[7]) if scored else 1.0
        except (ValueError, IndexError) as error:
            raise FourDHumansError(
                f"{path}, line {number} is no row of an AVA csv: {one_line(','.join(row), 80)}"
            ) from error
        if not np.isfinite([x1, y1, x2, y2, score]).all() or x2 < x1 or y2 < y1:
            raise FourDHumansError(
                f"{path}, line {number}: the box or score is not valid: {one_line(','.join(row), 80)}"
            )
        if action not in classes:
            ignored += 1
            continue
        frames[video, timestamp].append(LabelledBox((x1, y1, x2, y2), action, score))
    if scored and most_per_frame is not None:
        for key, boxes in frames.items():
            frames[key] = _best_of_frame(boxes, most_per_frame)
    return dict(frames), ignored


def _best_of_frame(boxes: Sequence[LabelledBox], most: int) -> list[LabelledBox]:
    """The `most` boxes of best score, best first.

    Equal scores are chosen and ordered as in the official evaluation, which keeps a heap of score, class and box.
    """
    heap: list[tuple[tuple[float, ...], int]] = []
    for number, box in enumerate(boxes):
        x1, y1, x2, y2 = box.box
        entry = (box.score, box.action, y1, x1, y2, x2), number
        if len(heap) < most:
            heapq.heappush(heap, entry)
        elif box.score > heap[0][0][0]:
            heapq.heapreplace(heap, entry)
    return [boxes[number] for (score, *_), number in sorted(heap, key=lambda entry: -entry[0][0])]


def _of_class(frames: BoxesByFrame, action: int) -> BoxesByFrame:
    chosen = {key: [box for box in boxes if box.action == action] for key, boxes in frames.items()}
    return {key: boxes for key, boxes in chosen.items() if boxes}
