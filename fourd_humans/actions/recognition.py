"""Action recognition on results: from tracklets to scores over time, and into files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourd_humans.actions.checkpoint import ActionModel
from fourd_humans.actions.classes import ActionClasses
from fourd_humans.actions.formats import ava_rows_of_results, to_json, write_ava, write_csv, write_json
from fourd_humans.actions.inference import TrackScores, score_tracks
from fourd_humans.actions.timeline import PersonScores, best, on_frames, thresholds_of
from fourd_humans.actions.tracks import tracks_of
from fourd_humans.errors import UsageError
from fourd_humans.people import Float
from fourd_humans.results.store import ResultWriter
from fourd_humans.tracklets import Tracklets

log = logging.getLogger(__name__)

FORMATS = ("csv", "json", "ava")
LABELS = 3  # strings a person in the released result files


@dataclass(frozen=True)
class Recognition:
    """What the people of a video do. people: their scores over time. tracks: the same at the network's frame rate."""

    tracklets: Tracklets
    people: list[PersonScores]
    tracks: list[TrackScores]
    classes: ActionClasses


def recognise(
    tracklets: Tracklets,
    model: ActionModel,
    *,
    people: int | None = None,
    window: int = 12,
    every: int = 1,
    ids: Sequence[int] | None = None,
    rate: float | None = None,
    features: bool = False,
    on_window: Callable[[int, int], None] = lambda done, of: None,
) -> Recognition:
    """Scores of everybody over time.

    people: most people of a scene; by default as many as the network was trained on. window: frames, at 30 a second,
    that scores are averaged over. every: only every so many frames of the video. ids: only these people, though the
    others are still seen around them. rate: frames a second of the results, instead of what their times say.
    features: also keep the network's output tokens.
    Raises: UsageError where an id does not exist, times do not increase, or the network needs other inputs.

    >>> tracklets = load_tracklets("outputs/walk.pkl")  # doctest: +SKIP
    >>> recognition = recognise(tracklets, load_action_model())  # doctest: +SKIP
    """
    unknown = sorted(set(ids or ()) - set(tracklets.ids.tolist()))
    if unknown:
        known = ", ".join(map(str, tracklets.ids)) or "nobody"
        raise UsageError(f"there is no person {unknown[0]} in the results; there is {known}")
    tracks = tracks_of(tracklets, rate=rate)
    if not tracks:
        log.warning("nobody is detected in any frame of the results")
    scored = score_tracks(
        model.network, tracks, people=people or model.people, features=features, ids=ids, on_window=on_window
    )
    timelines = on_frames(scored, tracklets.frames, rate=rate, window=window, every=every)
    return Recognition(tracklets, timelines, scored, model.classes)


def save(
    recognition: Recognition,
    base: Path,
    formats: Sequence[str] = ("csv", "json"),
    *,
    threshold: float = 0.5,
    thresholds: dict[str, float] | None = None,
    top: int = 3,
    overwrite: bool = False,
    settings: dict[str, Any] | None = None,
) -> list[Path]:
    """Write ``BASE.csv``, ``BASE.json`` and ``BASE_ava.csv``, whichever are asked for; returns the files.

    threshold: below which an action is not reported; `thresholds`: by class. top: most actions a person and frame.
    Raises: UsageError for a class that does not exist, and where a file exists and may not be overwritten.
    """
    limits = limits_of(recognition.classes, threshold, thresholds)
    paths = output_files(base, formats, overwrite=overwrite)
    people, classes = recognition.people, recognition.classes
    for format, path in zip(formats, paths, strict=True):
        if format == "csv":
            write_csv(path, people, classes, limits, top)
        elif format == "json":
            content = {"threshold": threshold, "thresholds": thresholds or {}, "top": top} | (settings or {})
            write_json(path, to_json(people, classes, limits, content))
        else:
            video = base.name.removesuffix("_actions")
            write_ava(path, ava_rows_of_results(video, recognition.tracklets.frames, people, classes))
    return paths


def output_files(base: Path, formats: Sequence[str], *, overwrite: bool) -> list[Path]:
    """The files that `save` writes. Raises: UsageError where one exists and may not be overwritten."""
    paths = [base.with_name(base.name + ("_ava.csv" if format == "ava" else f".{format}")) for format in formats]
    for path in paths:
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists; use --overwrite to replace it, or --output")
    return paths


def limits_of(classes: ActionClasses, threshold: float, thresholds: dict[str, float] | None = None) -> Float:
    """(C,) thresholds. Raises: UsageError for a class that does not exist."""
    try:
        return thresholds_of(classes.names, threshold, thresholds)
    except KeyError as error:
        raise UsageError(f"there is no action {error}; there are {', '.join(classes.names)}") from error


def save_features(recognition: Recognition, path: Path) -> None:
    """Write an npz with a row for each person and frame at 30 a second: ``person``, ``frame``, ``tokens`` (R, D),
    ``detected`` and ``logits`` (R, C)."""
    tracks = recognition.tracks
    width = {track.features.shape[1] for track in tracks if track.features is not None}
    empty = np.zeros((0, width.pop() if width else 0), np.float32)
    np.savez_compressed(
        path,
        person=np.concatenate([np.zeros(0, np.int64), *(np.full(len(t.logits), t.track.id) for t in tracks)]),
        frame=np.concatenate([np.zeros(0, np.int64), *(np.arange(t.track.start, t.track.stop) for t in tracks)]),
        detected=np.concatenate([np.zeros(0, bool), *(t.track.detected for t in tracks)]),
        tokens=np.concatenate([empty, *(t.features for t in tracks if t.features is not None)]),
        logits=np.concatenate([np.zeros((0, len(recognition.classes)), np.float32), *(t.logits for t in tracks)]),
    )


def save_results(recognition: Recognition, path: Path, *, overwrite: bool = False) -> None:
    """Write the results with the two keys that PHALP's action demo adds to every frame.

    ``label``: by person, the three best actions with their scores in percent; ``ava_action``: by person, (1, C) logits.
    Both are of this frame alone, not averaged; the bodies stay as they are.
    """
    by_place: dict[int, dict[int, np.ndarray]] = {}
    for person in recognition.people:
        for place, logits in zip(person.places.tolist(), person.logits, strict=True):
            by_place.setdefault(place, {})[person.id] = logits
    names = recognition.classes.names
    tracklets = recognition.tracklets
    with ResultWriter(
        path, overwrite=overwrite, folder=tracklets.folder, textures=True, made_with=tracklets.made_with
    ) as writer:
        for place, frame in enumerate(tracklets.frames):
            logits = by_place.get(place, {})
            scores = {id: 1 / (1 + np.exp(-values)) for id, values in logits.items()}
            nothing = np.zeros(len(names), np.float32)
            labels = {
                id: [f"{names[action]} {100 * values[action]:.0f}%" for action in best(values, nothing, LABELS)]
                for id, values in scores.items()
            }
            writer.write(frame, {"label": labels, "ava_action": {id: values[None] for id, values in logits.items()}})
        writer.close(complete=tracklets.complete, reason=tracklets.reason)
