"""Scenes: a person's track and those around, as the arrays that the action transformer takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.actions.action_transformer import SceneBatch
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.people import Float
from fourd_humans.pose_features import CAMERA, DEPTH_SCALE

FRAMES = 125
Order = Literal["nearest", "released"]


@dataclass(frozen=True)
class Scene:
    """T frames of P people; person 0 is the one in question. Arrays as in `ActionTrack`, zero where nobody is.

    poses: (T, P, 229). joints: (T, P, 135). detected: (T, P) bool. ids: P ids, None for empty slots.
    appearance: (T, P, F), labels: (T, P, C), label_source: (T, P): where person 0's track has them, or None.
    """

    poses: Float
    joints: Float
    detected: NDArray[np.bool_]
    ids: tuple[int | None, ...]
    appearance: Float | None = None
    labels: Float | None = None
    label_source: NDArray[np.int64] | None = None


def build_scene(
    ego: ActionTrack,
    others: Sequence[ActionTrack] = (),
    *,
    start: int | None = None,
    frames: int = FRAMES,
    people: int = 5,
    order: Order = "nearest",
) -> Scene:
    """The scene of `ego` from frame `start` (by default its first) on.

    order: "nearest": those detected together with `ego`, the longest overlap first, of equal ones the nearest.
        "released": `others` in the order given; the first ``people - 1`` of them have a slot each, which stays empty
        for those that do not overlap with `ego`, or begin before it and end after it.
    """
    start = ego.start if start is None else start
    slots: list[ActionTrack | None] = [ego]
    if order == "released":
        for other in list(others)[: people - 1]:
            apart = other.stop <= start or other.start >= min(ego.stop, start + frames)
            spanning = other.start < ego.start and other.stop > ego.stop
            slots.append(None if apart or spanning else other)
        slots += [None] * (people - len(slots))
    elif people > 1:
        slots += nearest(ego, others, start, start + frames)[: people - 1]
    arrays = {}
    for name in ("poses", "joints", "detected", "appearance", "labels", "label_source"):
        values = getattr(ego, name)
        if values is None:
            continue
        array = np.zeros((frames, len(slots), *values.shape[1:]), values.dtype)
        for slot, track in enumerate(slots):
            source = None if track is None else getattr(track, name)
            if track is not None and source is not None:
                low, high = max(track.start, start), min(track.stop, start + frames)
                if low < high:
                    array[low - start : high - start, slot] = source[low - track.start : high - track.start]
        arrays[name] = array
    return Scene(ids=tuple(None if track is None else track.id for track in slots), **arrays)


def nearest(ego: ActionTrack, others: Sequence[ActionTrack], start: int, stop: int) -> list[ActionTrack]:
    """Those of `others` detected together with `ego` in frames [start, stop), longest overlap first, then nearest."""
    ranked = []
    for other in others:
        low, high = max(start, ego.start, other.start), min(stop, ego.stop, other.stop)
        if low >= high or other is ego:
            continue
        mine, theirs = slice(low - ego.start, high - ego.start), slice(low - other.start, high - other.start)
        together = ego.detected[mine] & other.detected[theirs]
        if together.any():
            apart = (ego.poses[mine, CAMERA] - other.poses[theirs, CAMERA])[together] * [1, 1, DEPTH_SCALE]
            ranked.append((-int(together.sum()), float(np.linalg.norm(apart, axis=-1).mean()), other.id, other))
    return [other for *_, other in sorted(ranked, key=lambda entry: entry[:3])]


def stack(scenes: Sequence[Scene], *, joints: bool, appearance: bool) -> SceneBatch:
    """A batch of scenes, shorter and emptier ones padded with undetected frames and people."""
    frames = max(len(scene.detected) for scene in scenes)
    people = max(scene.detected.shape[1] for scene in scenes)

    def padded(name: str) -> torch.Tensor:
        arrays = [getattr(scene, name) for scene in scenes]
        array = np.zeros((len(arrays), frames, people, *arrays[0].shape[2:]), arrays[0].dtype)
        for target, source in zip(array, arrays, strict=True):
            target[: source.shape[0], : source.shape[1]] = source
        return torch.from_numpy(array)

    return SceneBatch(
        padded("poses"),
        padded("detected"),
        padded("joints") if joints else None,
        padded("appearance") if appearance else None,
    )
