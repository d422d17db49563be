"""Tracking results of a dataset's sequences: read from files, and measured."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.posetrack import read_posetrack_results
from fourd_humans.evaluation.datasets.sequences import TrackingSequence
from fourd_humans.evaluation.tracking import MATCHED, Counts, FrameBoxes, TrackingScores, evaluate_tracking, scores
from fourd_humans.files.mot import read_mot
from fourd_humans.people import TrackedFrame
from fourd_humans.results import load_tracklets

log = logging.getLogger(__name__)

Protocol = Literal["motchallenge", "phalp"]
PHALP_MATCHED = 0.01  # PHALP's published figures take any box for right that overlaps by more than this
SUFFIXES = (".pkl", ".txt", ".csv", ".json")


@dataclass(frozen=True)
class SequenceScores:
    """One sequence. no_size: results whose box has no area; they count as false. left_out: unused annotations."""

    name: str
    counts: Counts
    scores: TrackingScores
    no_size: int
    left_out: Counter[str]


def results_file(folder: Path, sequence: TrackingSequence) -> Path:
    """The sequence's results in a folder, or `folder` itself where it is a file.

    Raises: UsageError where there are none.
    """
    if folder.is_file():
        return folder
    for suffix in SUFFIXES:
        if (folder / f"{sequence.name}{suffix}").is_file():
            return folder / f"{sequence.name}{suffix}"
    raise UsageError(
        f"{folder} lacks results of {sequence.name}: looked for {', '.join(sequence.name + s for s in SUFFIXES)}"
    )


def read_results(path: Path, sequence: TrackingSequence, *, completed: bool = False) -> list[FrameBoxes]:
    """Results for each annotated frame of the sequence, from our pickles, MOT text or PoseTrack json.

    Frames are matched by the names of their images where both have them, otherwise by their numbers. In MOT text a
    frame that is not mentioned has nobody in it. completed: also people who are hidden and filled in (pickles).

    Raises: UsageError where there is no such file; FourDHumansError naming the file where it is damaged, lacks frames
    or has frames beyond the sequence's end.
    """
    if path.suffix == ".pkl":
        return _from_tracklets(path, sequence, completed)
    if path.suffix == ".json":
        by_name = read_posetrack_results(path)
        if sequence.names is None:
            raise UsageError(f"{path} names images, but {sequence.name} has only numbers of frames")
        if absent := [name for name in sequence.names if name not in by_name]:
            raise FourDHumansError(f"{path} lacks {len(absent)} of {len(sequence.names)} frames, such as {absent[0]}")
        return [by_name[name] for name in sequence.names]
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    by_number = read_mot(path).by_number
    last = max((number for number, people in by_number.items() if people), default=-1)
    if sequence.length is not None and last >= sequence.length:
        raise FourDHumansError(f"{path} has a frame {last + 1}, but {sequence.name} has only {sequence.length} frames")
    frames = []
    for number in sequence.numbers:
        people = by_number.get(number, [])
        if any(person.annotation is None for person in people):
            raise FourDHumansError(f"{path}: a box of frame {number + 1} has no id")
        ids = np.array([person.annotation for person in people], np.int64)
        frames.append(FrameBoxes(ids, np.array([person.box for person in people], float).reshape(-1, 4)))
    return frames


def _from_tracklets(path: Path, sequence: TrackingSequence, completed: bool) -> list[FrameBoxes]:
    tracklets = load_tracklets(path)
    if not tracklets.complete:
        raise FourDHumansError(f"{path} ends early, after {len(tracklets)} frames")
    named = {PurePosixPath(frame.name).name: frame for frame in tracklets}
    if sequence.names is not None and sequence.names[0] in named:
        by_name = [named.get(name) for name in sequence.names]
        found = by_name
    else:
        if sequence.length is not None and len(tracklets) != sequence.length:
            raise FourDHumansError(f"{path} has {len(tracklets)} frames, but {sequence.name} has {sequence.length}")
        numbered = {frame.index: frame for frame in tracklets}
        found = [numbered.get(number) for number in sequence.numbers]
    if (absent := sum(frame is None for frame in found)) > 0:
        raise FourDHumansError(f"{path} lacks {absent} of the {len(found)} annotated frames of {sequence.name}")
    if failed := sum(frame is not None and frame.error is not None for frame in found):
        log.warning("%s: %d frames could not be used when it was made; those in them count as missed", path, failed)
    return [_boxes(frame, completed) for frame in found if frame is not None]


def _boxes(frame: TrackedFrame, completed: bool) -> FrameBoxes:
    chosen = np.ones(len(frame), bool) if completed else frame.seen
    return FrameBoxes(np.asarray(frame.ids[chosen], np.int64), frame.detections.boxes[chosen].astype(float))


def score_sequence(
    sequence: TrackingSequence, results: Sequence[FrameBoxes], protocol: Protocol = "motchallenge"
) -> SequenceScores:
    """Measure one sequence.

    protocol: ``motchallenge`` is the field's usual; ``phalp`` what PHALP's and 4DHumans' published figures come from:
    frames without annotated people do not count, and for MOTA, IDF1 and ID switches a box is right from an overlap of
    0.01 on. (Their HOTA is also the mean of the sequences': see `total`.)

    Raises: FourDHumansError naming the sequence, for ids that repeat in a frame and numbers that are not finite.
    """
    frames, matched = list(zip(sequence.frames, results, strict=True)), MATCHED
    if protocol == "phalp":
        frames, matched = [pair for pair in frames if len(pair[0].ids)], PHALP_MATCHED
    try:
        counts = evaluate_tracking([truth for truth, _ in frames], [found for _, found in frames], matched)
    except FourDHumansError as error:
        raise FourDHumansError(f"{sequence.name}: {error}") from error
    no_size = sum(int((np.ptp(found.boxes.reshape(-1, 2, 2), axis=1) <= 0).any(1).sum()) for found in results)
    return SequenceScores(sequence.name, counts, scores(counts), no_size, sequence.left_out)


def total(parts: Sequence[SequenceScores], protocol: Protocol = "motchallenge") -> SequenceScores:
    """All sequences together, from the sum of their counts; PHALP's HOTA, DetA and AssA are means over sequences."""
    counts = parts[0].counts
    for part in parts[1:]:
        counts = counts + part.counts
    overall = scores(counts)
    if protocol == "phalp":
        hota, deta, assa = np.mean([(p.scores.hota, p.scores.deta, p.scores.assa) for p in parts], axis=0).tolist()
        overall = replace(overall, hota=hota, deta=deta, assa=assa)
    left_out = sum((part.left_out for part in parts), Counter())
    return SequenceScores("all", counts, overall, sum(part.no_size for part in parts), left_out)
