"""Scenes to learn actions from: results or tracklet files with annotations, or synthetic movements."""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fourd_humans.actions.classes import ActionClasses, checked
from fourd_humans.actions.scenes import Scene, build_scene, nearest
from fourd_humans.actions.tracklet_files import read_tracklet, tracklet_groups
from fourd_humans.actions.tracks import RATE, ActionTrack, frame_times, tracks_of
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.motion.clips import Clip
from fourd_humans.people import TrackedFrame
from fourd_humans.pose_features import CAMERA
from fourd_humans.results import load_tracklets
from fourd_humans.training.actions.movements import ACTIONS, synthetic_track
from fourd_humans.training.actions.recovery_errors import load_recovery_errors
from fourd_humans.training.motion.data import statistics

log = logging.getLogger(__name__)

LEAST_OVERLAP = 0.5  # of an annotated box with a person's
SECONDS_AROUND = 0.5  # of an annotated moment that share its label
SEGMENT_HEADER = {"video", "start", "end", "action"}


@dataclass(frozen=True)
class Example:
    """A labelled track and those around it."""

    track: ActionTrack
    others: tuple[ActionTrack, ...] = ()


class ActionScenes(Dataset[dict[str, torch.Tensor]]):
    """Scenes of `frames` frames, one for each example and epoch, in an order of its own for each epoch.

    The index alone, of which there is no end, decides what is drawn (see `training.motion.data.EpochSampler`).

    people: of a scene. crop: a random stretch of longer tracks; False: their first frames, as the released code does.
    shuffle: False for the examples in their order, from their start.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        frames: int,
        people: int,
        seed: int,
        *,
        joints: bool = False,
        crop: bool = True,
        shuffle: bool = True,
    ) -> None:
        self.examples, self.frames, self.people, self.seed = examples, frames, people, seed
        self.joints, self.crop, self.shuffle = joints, crop, shuffle
        self.appearance = bool(examples) and examples[0].track.appearance is not None

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        epoch, place = divmod(index, len(self.examples))
        if not self.shuffle:
            return self._item(self.examples[place], 0)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        example = self.examples[order[place]]
        spare = len(example.track) - self.frames if self.crop else 0
        return self._item(example, int(np.random.default_rng([self.seed, index, 1]).integers(0, max(spare, 0) + 1)))

    def _item(self, example: Example, skipped: int) -> dict[str, torch.Tensor]:
        track = example.track
        scene = build_scene(track, example.others, start=track.start + skipped, frames=self.frames, people=self.people)
        return tensors(_padded(scene, self.people), joints=self.joints, appearance=self.appearance)


def tensors(scene: Scene, *, joints: bool, appearance: bool) -> dict[str, torch.Tensor]:
    """poses (T, P, 229), detected, labels (T, P, C), source (T, P), and joints and appearance where asked for."""
    assert scene.labels is not None
    assert scene.label_source is not None
    arrays = {
        "poses": scene.poses, "detected": scene.detected, "labels": scene.labels, "source": scene.label_source,
    }  # fmt: skip
    if joints:
        arrays["joints"] = scene.joints
    if appearance:
        assert scene.appearance is not None
        arrays["appearance"] = scene.appearance
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def pose_statistics(
    examples: Sequence[Example], relative_location: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation (229,) of all detected frames, each track counting alike.

    relative_location: of locations relative to each track's mean.
    """
    clips = []
    for example in examples:
        poses, detected = example.track.poses, example.track.detected
        if not detected.any():
            continue
        if relative_location:
            poses = poses.copy()
            poses[:, CAMERA] -= poses[detected, CAMERA].mean(0)
        clips.append(Clip(poses, detected))
    return statistics(clips)


def synthetic_examples(count: int, frames: int, seed: int) -> list[Example]:
    """So many synthetic people with the lite chain's errors, each action as often as any other."""
    body, errors = BodyModel.open_body(), load_recovery_errors()
    return [
        Example(synthetic_track(ACTIONS[i % len(ACTIONS)], frames, seed + i // len(ACTIONS), body, i, errors))
        for i in range(count)
    ]


def read_tracklet_folder(folder: Path, classes: ActionClasses) -> list[Example]:
    """Every tracklet of a folder of LART tracklet files that has a label, with the others of its key frame."""
    examples = []
    for paths in tracklet_groups(folder).values():
        tracks = [read_tracklet(path, classes).track for path in paths]
        for track in tracks:
            if track.label_source is not None and (track.detected & (track.label_source > 0)).any():
                examples.append(Example(track, tuple(other for other in tracks if other is not track)))
    if not examples:
        raise UsageError(f"no tracklet in {folder} has a label: nothing to learn from")
    return examples


@dataclass(frozen=True)
class Annotation:
    """A person doing something. person: id in the results, or None. box: (4,) xyxy as fractions at `at`, or None."""

    video: str
    start: float
    end: float
    action: int
    person: int | None
    box: tuple[float, float, float, float] | None
    at: float


def read_annotations(path: Path, classes: ActionClasses | None = None) -> tuple[list[Annotation], ActionClasses]:
    """Annotations of a csv, and its classes.

    Either AVA's form without a header: video, second, x1, y1, x2, y2, number of the action, which label half a second
    to either side. Or with a header that names at least ``video``, ``start``, ``end`` (seconds), ``action`` (name or
    number), and ``person`` (id in the results) or ``x1``, ``y1``, ``x2``, ``y2`` (fractions of the frame, at `start`).

    classes: the list to use; by default the names of the csv, in the order of the alphabet.
    Raises: FourDHumansError naming the file and line that is wrong, or the action that is not in the list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FourDHumansError(f"cannot read {path}: {error}") from error
    if not rows:
        raise FourDHumansError(f"{path} is empty")
    header = [cell.strip().lower() for cell in rows[0][1]]
    has_header = set(header) >= SEGMENT_HEADER
    if not has_header and classes is None:
        raise FourDHumansError(
            f"{path} has numbers for actions: give --classes, or a first line with video,start,end,action,person"
        )
    if has_header:
        rows = rows[1:]
        try:
            names = [dict(zip(header, row, strict=False))["action"].strip() for _, row in rows]
            classes = classes or checked(sorted(set(names)))
        except (KeyError, ValueError) as error:
            raise FourDHumansError(f"{path} does not name actions: {error}") from error
    assert classes is not None
    found = []
    for number, row in rows:
        try:
            found.append(_segment(dict(zip(header, row, strict=True)), classes) if has_header else _ava(row, classes))
        except KeyError as error:
            known = ", ".join(classes.names[:8]) + (", …" if len(classes) > 8 else "")
            raise FourDHumansError(f"{path}, line {number}: {error} is not among the classes ({known})") from error
        except (ValueError, IndexError) as error:
            raise FourDHumansError(f"{path}, line {number} is not an annotation: {','.join(row)[:80]}") from error
    return [annotation for annotation in found if annotation is not None], classes


def _segment(row: dict[str, str], classes: ActionClasses) -> Annotation:
    start, end = float(row["start"]), float(row["end"])
    person = int(row["person"]) if row.get("person", "").strip() else None
    box = None
    if person is None:
        if not all(row.get(corner, "").strip() for corner in ("x1", "y1", "x2", "y2")):
            raise ValueError("neither a person nor a box")
        box = _box([row[corner] for corner in ("x1", "y1", "x2", "y2")])
    if not 0 <= start < end < np.inf:
        raise ValueError("start and end")
    return Annotation(row["video"].strip(), start, end, classes.index(row["action"].strip()), person, box, start)


def _ava(row: Sequence[str], classes: ActionClasses) -> Annotation | None:
    if len(row) == 2 or (len(row) > 6 and not row[6]):  # a moment without people, a bare box
        return None
    second = float(row[1])
    if not np.isfinite(second):
        raise ValueError("second")
    action = classes.index(row[6])
    return Annotation(row[0], second - SECONDS_AROUND, second + SECONDS_AROUND, action, None, _box(row[2:6]), second)


def _box(values: Sequence[str]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, values)
    if not np.isfinite([x1, y1, x2, y2]).all() or x2 < x1 or y2 < y1:
        raise ValueError("box")
    return x1, y1, x2, y2


def read_annotated_results(paths: Sequence[Path], annotations: Sequence[Annotation], count: int) -> list[Example]:
    """Everybody in result files who is annotated, with the others of the video.

    paths: result files, or folders of them; a file's name without .pkl is the annotations' `video`. count: of classes.
    What fits nobody is counted in the log.
    Raises: UsageError where there is nothing to learn from.
    """
    files = sorted(file for path in paths for file in (path.rglob("*.pkl") if path.is_dir() else [path]))
    by_video: dict[str, list[Annotation]] = {}
    for annotation in annotations:
        by_video.setdefault(annotation.video, []).append(annotation)
    examples: list[Example] = []
    unused: Counter[str] = Counter()
    for file in files:
        wanted = by_video.pop(file.stem, [])
        if not wanted:
            continue
        frames = load_tracklets(file).frames
        tracks = [_blank(track, count) for track in tracks_of(frames)]
        times = frame_times(frames)
        for annotation in wanted:
            person = annotation.person if annotation.box is None else _person_at(frames, times, annotation)
            if not _write_label(tracks, person, annotation):
                unused["annotations fit nobody in the results"] += 1
        for track in tracks:
            assert track.label_source is not None
            if (track.detected & (track.label_source > 0)).any():
                others = nearest(track, tracks, track.start, track.stop)
                examples.append(Example(track, tuple(others)))
    if by_video:
        unused["annotated videos have no results"] += len(by_video)
    for what, number in unused.items():
        log.warning("%d %s", number, what)
    if not examples:
        raise UsageError(f"nobody in {', '.join(map(str, paths))} is annotated: nothing to learn from")
    return examples


def _blank(track: ActionTrack, count: int) -> ActionTrack:
    return replace(track, labels=np.zeros((len(track), count), np.float32), label_source=np.zeros(len(track), np.int64))


def _person_at(frames: Sequence[TrackedFrame], times: NDArray[np.float64], annotation: Annotation) -> int | None:
    """Whose box overlaps most with the annotated one, by at least half."""
    frame = frames[int(np.abs(times - annotation.at).argmin())]
    height, width = frame.size
    boxes = frame.detections.boxes[frame.seen]
    if not len(boxes):
        return None
    box = np.array([annotation.box]) * [width, height, width, height]
    overlap = intersection_over_union(box, boxes.astype(float))[0]
    return int(frame.ids[frame.seen][overlap.argmax()]) if overlap.max() >= LEAST_OVERLAP else None


def _write_label(tracks: Sequence[ActionTrack], person: int | None, annotation: Annotation) -> bool:
    written = False
    for track in tracks:
        if track.id == person:
            low, high = (round(moment * RATE) - track.start for moment in (annotation.start, annotation.end))
            assert track.labels is not None
            assert track.label_source is not None
            part = slice(max(low, 0), max(high, 0))
            track.labels[part, annotation.action] = 1
            track.label_source[part] = 2
            written |= bool(len(track.label_source[part]))
    return written


def _padded(scene: Scene, people: int) -> Scene:
    """With empty slots up to `people`."""
    missing = people - scene.detected.shape[1]
    if missing <= 0:
        return scene
    arrays = {
        name: np.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2))
        for name in ("poses", "joints", "detected", "appearance", "labels", "label_source")
        if (array := getattr(scene, name)) is not None
    }
    return replace(scene, ids=(*scene.ids, *[None] * missing), **arrays)
