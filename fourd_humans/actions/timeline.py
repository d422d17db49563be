"""Scores on the frames of the video, and what follows from them: labels, segments, summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_humans.actions.inference import TrackScores, average
from fourd_humans.actions.tracks import RATE, frame_times
from fourd_humans.people import Float, TrackedFrame

LONGEST_BREAK = 0.5  # seconds below the threshold that do not end a segment


@dataclass(frozen=True)
class PersonScores:
    """Scores of one person in the m frames of the video in which the person was detected.

    frames: (m,) numbers of the frames, places: (m,) where they are in the list of frames. times: (m,) seconds.
    duration: (m,) seconds that each frame lasts. scores: (m, C) in 0..1. logits: (m, C), not averaged.
    """

    id: int
    frames: NDArray[np.int64]
    places: NDArray[np.int64]
    times: NDArray[np.float64]
    duration: NDArray[np.float64]
    scores: Float
    logits: Float


@dataclass(frozen=True)
class Segment:
    """A person doing something without a break.

    action: number of the output. first, last: numbers of frames, both included. start, end: seconds.
    mean, peak: of the scores in it.
    """

    person: int
    action: int
    first: int
    last: int
    start: float
    end: float
    mean: float
    peak: float


@dataclass(frozen=True)
class Summary:
    """How much of the time in which a person is seen an action takes.

    seconds: that the action's score is above the threshold. share: of all seconds in which the person is seen.
    """

    person: int
    action: int
    seconds: float
    share: float
    segments: int
    mean: float
    peak: float


def on_frames(
    tracks: Sequence[TrackScores],
    frames: Sequence[TrackedFrame],
    *,
    rate: float | None = None,
    window: int = 12,
    every: int = 1,
) -> list[PersonScores]:
    """The scores of each person in the frames of the video in which the person was detected, in the order of ids.

    window: frames, at `RATE`, over which scores are averaged (see `average`). every: only frames at least so many
    places apart. rate: as for `tracks_of`.
    """
    if not frames:
        return []
    times = frame_times(frames, rate)
    steps = np.diff(times)
    durations = np.append(steps, np.median(steps) if len(steps) else 1 / RATE)
    durations = np.minimum(durations, 2 * np.median(durations))
    ticks = np.rint(times * RATE).astype(np.int64)
    people = []
    for id in sorted({scored.track.id for scored in tracks}):
        seen = np.array([bool((frame.seen & (frame.ids == id)).any()) for frame in frames])
        scores = np.full((len(frames), tracks[0].logits.shape[1]), np.nan, np.float32)
        logits = scores.copy()
        for scored in tracks:
            if scored.track.id == id:
                inside = np.flatnonzero((ticks >= scored.track.start) & (ticks < scored.track.stop))
                at = ticks[inside] - scored.track.start
                scores[inside] = average(scored.scores, window)[at]
                logits[inside] = scored.logits[at]
        places = np.flatnonzero(seen & ~np.isnan(scores[:, 0]))
        places = places[_spaced(places, every)]
        kept = [frames[place] for place in places.tolist()]
        people.append(
            PersonScores(
                id=id,
                frames=np.array([frame.index for frame in kept], np.int64),
                places=places,
                times=np.array([frame.time for frame in kept]),
                duration=durations[places] * every,
                scores=scores[places],
                logits=logits[places],
            )
        )
    return [person for person in people if len(person.frames)]


def best(scores: Float, thresholds: Float, top: int) -> list[int]:
    """Numbers of the at most `top` actions (of scores (C,)) that reach their thresholds (C,), best first."""
    order = np.argsort(-scores, kind="stable")
    return [int(action) for action in order if scores[action] >= thresholds[action]][:top]


def segments(person: PersonScores, thresholds: Float) -> list[Segment]:
    """Where each action's score stays above its threshold, breaks shorter than half a second aside; in time order."""
    found = []
    for action in np.flatnonzero((person.scores >= thresholds).any(0)).tolist():
        above = np.flatnonzero(person.scores[:, action] >= thresholds[action])
        ends = person.times[above[:-1]] + person.duration[above[:-1]]
        for run in np.split(above, np.flatnonzero(person.times[above[1:]] - ends > LONGEST_BREAK) + 1):
            scores = person.scores[run[0] : run[-1] + 1, action]
            first, last = run[0], run[-1]
            end = float(person.times[last] + person.duration[last])
            found.append(
                Segment(
                    person.id, action, int(person.frames[first]), int(person.frames[last]), float(person.times[first]),
                    end, float(scores.mean()), float(scores.max()),
                )
            )  # fmt: skip
    return sorted(found, key=lambda segment: (segment.start, -segment.mean))


def summaries(person: PersonScores, thresholds: Float) -> list[Summary]:
    """Of each action that reaches its threshold, the longest first."""
    found = []
    parts = segments(person, thresholds)
    for action in {part.action for part in parts}:
        above = person.scores[:, action] >= thresholds[action]
        seconds = float(person.duration[above].sum())
        scores = person.scores[above, action]
        count = sum(part.action == action for part in parts)
        share = seconds / float(person.duration.sum())
        found.append(Summary(person.id, action, seconds, share, count, float(scores.mean()), float(scores.max())))
    return sorted(found, key=lambda summary: (-summary.seconds, summary.action))


def thresholds_of(names: Sequence[str], value: float, of_class: Mapping[str, float] | None = None) -> Float:
    """(C,) thresholds: `value`, but for the classes named. Raises: KeyError for a class that does not exist."""
    thresholds = np.full(len(names), value, np.float32)
    for name, threshold in (of_class or {}).items():
        if name not in names:
            raise KeyError(name)
        thresholds[list(names).index(name)] = threshold
    return thresholds


def _spaced(places: NDArray[np.int64], every: int) -> list[int]:
    kept: list[int] = []
    for i, place in enumerate(places.tolist()):
        if not kept or place - places[kept[-1]] >= every:
            kept.append(i)
    return kept
