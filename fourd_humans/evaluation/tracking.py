"""Tracking: MOTA and ID switches (CLEAR), IDF1, and HOTA.

- CLEAR: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008.
- IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking", 2016.
- HOTA: Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", IJCV 2021.

The definitions where papers leave a choice are those of the field's usual program, TrackEval, against which the tests
check every figure. It is not a dependency because it brings an OpenCV that needs a GL library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.boxes import intersection_over_union, share_inside

MATCHED = 0.5  # overlap from which a box is right, for CLEAR and IDF1, where nothing else is asked for
ALPHAS = np.arange(0.05, 0.99, 0.05)  # overlaps over which HOTA is averaged
EPSILON = np.finfo(float).eps
Curve = NDArray[np.float64]  # (19,), a number for each of the overlaps


@dataclass(frozen=True)
class FrameBoxes:
    """The people of one frame, in ground truth or results: ids (N,) and boxes (N, 4) xyxy.

    ignored: (M, 4) parts of the picture that are not annotated; only in ground truth.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    ignored: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))


@dataclass(frozen=True)
class Counts:
    """What the scores are computed from; counts of several sequences add up.

    matched, missed, false: detections at an overlap of 0.5; switches, fragments: of identity, and interruptions.
    id_matched, id_missed, id_false: the same under the best single assignment of identities.
    alpha_matched, alpha_missed, alpha_false: (19,) detections at each of HOTA's overlaps, and (19,) association and
    localisation summed over the matched ones.
    ignored: results left out because they lie in parts that are not annotated.
    """

    frames: int
    matched: int
    missed: int
    false: int
    switches: int
    fragments: int
    id_matched: int
    id_missed: int
    id_false: int
    alpha_matched: NDArray[np.float64]
    alpha_missed: NDArray[np.float64]
    alpha_false: NDArray[np.float64]
    association: NDArray[np.float64]
    localisation: NDArray[np.float64]
    ignored: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True)
class TrackingScores:
    """All but the counts lie in 0..1 (`mota` can be negative)."""

    hota: float
    deta: float
    assa: float
    mota: float
    idf1: float
    precision: float
    recall: float
    switches: int
    fragments: int
    missed: int
    false: int
    people: int  # annotated boxes
    frames: int
    ignored: int


def evaluate_tracking(truth: Sequence[FrameBoxes], results: Sequence[FrameBoxes], matched: float = MATCHED) -> Counts:
    """Compare one sequence's results with its ground truth, frame by frame; both have the same frames.

    matched: overlap from which a box is right, for CLEAR and IDF1.

    A result more than half inside a part that is not annotated, and matched by nobody, does not count.
    Raises: FourDHumansError if the numbers of frames differ, an id stands twice in a frame, or a box is not finite.
    """
    if len(truth) != len(results):
        raise FourDHumansError(f"the ground truth has {len(truth)} frames and the results have {len(results)}")
    for index, (annotated, found) in enumerate(zip(truth, results, strict=True)):
        _check(annotated, index, "ground truth")
        _check(found, index, "results")
    kept = [_without_ignored(annotated, found, matched) for annotated, found in zip(truth, results, strict=True)]
    ignored = sum(len(found.ids) for found in results) - sum(len(found.ids) for found in kept)
    frames = [
        _Frame(annotated.ids, found.ids, intersection_over_union(annotated.boxes, found.boxes))
        for annotated, found in zip(truth, kept, strict=True)
    ]
    frames, truth_count, result_count = _number(frames)
    return Counts(
        len(frames),
        *_clear(frames, truth_count, matched),
        *_identity(frames, truth_count, result_count, matched),
        *_hota(frames, truth_count, result_count),
        ignored,
    )


def scores(counts: Counts) -> TrackingScores:
    """The figures that papers give. Without any annotated or found people they are 0."""
    people = counts.matched + counts.missed
    deta = counts.alpha_matched / np.maximum(1, counts.alpha_matched + counts.alpha_missed + counts.alpha_false)
    assa = counts.association / np.maximum(1, counts.alpha_matched)
    return TrackingScores(
        hota=float(np.sqrt(deta * assa).mean()),
        deta=float(deta.mean()),
        assa=float(assa.mean()),
        mota=(counts.matched - counts.false - counts.switches) / max(1, people),
        idf1=counts.id_matched / max(1, counts.id_matched + 0.5 * (counts.id_false + counts.id_missed)),
        precision=counts.matched / max(1, counts.matched + counts.false),
        recall=counts.matched / max(1, people),
        switches=counts.switches,
        fragments=counts.fragments,
        missed=counts.missed,
        false=counts.false,
        people=people,
        frames=counts.frames,
        ignored=counts.ignored,
    )


@dataclass(frozen=True)
class _Frame:
    """ids of the annotated (G,) and found (R,) people, and their overlaps (G, R)."""

    truth: NDArray[np.int64]
    results: NDArray[np.int64]
    overlap: NDArray[np.float64]


def _check(people: FrameBoxes, index: int, where: str) -> None:
    if len(np.unique(people.ids)) != len(people.ids):
        twice = [int(id) for id, n in zip(*np.unique(people.ids, return_counts=True), strict=True) if n > 1]
        raise FourDHumansError(f"frame {index} of the {where} has several boxes for id {twice[0]}")
    if not np.isfinite(people.boxes).all():
        raise FourDHumansError(f"frame {index} of the {where} has a box that is not finite")


def _without_ignored(truth: FrameBoxes, results: FrameBoxes, matched: float) -> FrameBoxes:
    if not len(truth.ignored) or not len(results.ids):
        return results
    overlap = intersection_over_union(truth.boxes, results.boxes)
    rows, columns = linear_sum_assignment(-np.where(overlap >= matched - EPSILON, overlap, 0))
    right = np.zeros(len(results.ids), dtype=bool)
    right[columns[overlap[rows, columns] >= matched - EPSILON]] = True
    keep = right | (share_inside(results.boxes, truth.ignored).max(1, initial=0) <= 0.5)
    return FrameBoxes(results.ids[keep], results.boxes[keep])


def _number(frames: Iterable[_Frame]) -> tuple[list[_Frame], int, int]:
    """The same frames with ids counted from 0, and how many of each there are."""
    frames = list(frames)

    def table(all_ids: list[NDArray[np.int64]]) -> dict[int, int]:
        unique = np.unique(np.concatenate([np.zeros(0, np.int64), *all_ids]))
        return {int(id): number for number, id in enumerate(unique)}

    of_truth, of_results = table([f.truth for f in frames]), table([f.results for f in frames])

    def numbers(ids: NDArray[np.int64], known: dict[int, int]) -> NDArray[np.int64]:
        return np.array([known[int(id)] for id in ids], dtype=np.int64)

    numbered = [_Frame(numbers(f.truth, of_truth), numbers(f.results, of_results), f.overlap) for f in frames]
    return numbered, len(of_truth), len(of_results)


def _clear(frames: Sequence[_Frame], truth_count: int, least: float) -> tuple[int, int, int, int, int]:
    """matched, missed, false, switches, fragments. Matches of the frame before are kept where they still overlap."""
    matched = missed = false = switches = 0
    last = np.full(truth_count, -1)  # whom each annotated person was last matched to
    before = np.full(truth_count, -1)  # in the frame before
    stretches = np.zeros(truth_count, dtype=int)
    for frame in frames:
        score = 1000.0 * (frame.results[None] == before[frame.truth][:, None]) + frame.overlap
        score[frame.overlap < least - EPSILON] = 0
        rows, columns = linear_sum_assignment(-score)
        good = score[rows, columns] > EPSILON
        people, found = frame.truth[rows[good]], frame.results[columns[good]]
        switches += int(((last[people] >= 0) & (last[people] != found)).sum())
        stretches[people] += before[people] < 0
        last[people] = found
        before[:] = -1
        before[people] = found
        matched += len(people)
        missed += len(frame.truth) - len(people)
        false += len(frame.results) - len(people)
    return matched, missed, false, switches, int(np.maximum(stretches - 1, 0).sum())


def _identity(frames: Sequence[_Frame], truth_count: int, result_count: int, least: float) -> tuple[int, int, int]:
    """id_matched, id_missed, id_false under the assignment of whole identities that leaves the fewest wrong."""
    together = np.zeros((truth_count, result_count))
    for frame in frames:
        rows, columns = np.nonzero(frame.overlap >= least)
        np.add.at(together, (frame.truth[rows], frame.results[columns]), 1)
    rows, columns = linear_sum_assignment(-together)
    matched = int(together[rows, columns].sum())
    return matched, sum(len(f.truth) for f in frames) - matched, sum(len(f.results) for f in frames) - matched


def _hota(frames: Sequence[_Frame], truth_count: int, result_count: int) -> tuple[Curve, Curve, Curve, Curve, Curve]:
    """alpha_matched, alpha_missed, alpha_false, association, localisation: (19,) each."""
    truth_frames, result_frames = np.zeros((truth_count, 1)), np.zeros((1, result_count))
    potential = np.zeros((truth_count, result_count))
    for frame in frames:
        truth_frames[frame.truth] += 1
        result_frames[0, frame.results] += 1
        union = frame.overlap.sum(0)[None] + frame.overlap.sum(1)[:, None] - frame.overlap
        potential[np.ix_(frame.truth, frame.results)] += frame.overlap / np.where(union > EPSILON, union, np.inf)
    alignment = potential / np.maximum(truth_frames + result_frames - potential, EPSILON)

    together = np.zeros((len(ALPHAS), truth_count, result_count))
    localisation = np.zeros(len(ALPHAS))
    for frame in frames:
        score = alignment[np.ix_(frame.truth, frame.results)] * frame.overlap
        rows, columns = linear_sum_assignment(-score)
        overlap = frame.overlap[rows, columns]
        right = overlap >= ALPHAS[:, None] - EPSILON
        localisation += (right * overlap).sum(1)
        together[:, frame.truth[rows], frame.results[columns]] += right
    matched = together.sum((1, 2))
    union = np.maximum(1, truth_frames + result_frames - together)
    association = (together * together / union).sum((1, 2))
    return matched, truth_frames.sum() - matched, result_frames.sum() - matched, association, localisation
