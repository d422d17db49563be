"""How well motion is predicted ahead and filled in, against simple rules: the table of docs/motion.md.

Parts of tracklets that were seen throughout are hidden from each method and asked for. The error is the mean distance
of the 24 joints in millimetres, with both skeletons centred on their roots and of the same (true) shape, so that it
measures pose and orientation and not place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from fourd_humans.motion.clips import Clip
from fourd_humans.motion.completion import CONTEXT, fill_in
from fourd_humans.motion.interpolation import turn
from fourd_humans.motion.pose_transformer import PoseTransformer
from fourd_humans.motion.predictor import PosePredictor
from fourd_humans.pose_features import BETAS, ROTATIONS

AHEAD = (1, 5, 10, 25)
GAPS = (5, 10, 25, 50)
HISTORY = 7
LEAST_CONTEXT = 7  # frames seen on each side of a gap
STEP = 5  # frames from one sample to the next
BATCH = 128

Float = NDArray[np.float32]
Extrapolate = Callable[[Float, int], Float]
"""Histories (N, 7, 229) of consecutive frames and how many frames ahead, at least 1 -> rotations (N, 24, 3, 3)."""
Interpolate = Callable[[Float, int, int], Float]
"""Frames (N, T, 229), of which those from a first to before a last are hidden -> rotations there (N, M, 24, 3, 3)."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    task: "ahead" or "gap". frames: how far ahead, or how long the gap is. samples: how many were measured.
    errors: mean joint error of each method, in millimetres.
    """

    task: str
    frames: int
    samples: int
    errors: dict[str, float]


def evaluate_motion(clips: Sequence[Clip], network: PoseTransformer, body_model: BodyModel) -> list[Row]:
    """The table for all clips together. A row without samples (clips too short for it) has no errors."""
    extrapolations: dict[str, Extrapolate] = {
        "hold the last pose": lambda histories, ahead: _rotations(histories[:, -1]),
        "constant angular velocity": keep_turning,
        "transformer": lambda histories, ahead: _predict(network, histories, ahead),
    }
    interpolations: dict[str, Interpolate] = {
        "slerp": slerp,
        "transformer": lambda frames, first, last: _fill(network, frames, first, last),
    }
    rows = []
    for ahead in AHEAD:
        histories, truths = _histories(clips, ahead)
        errors = {
            name: _joint_error(np.concatenate([method(part, ahead) for part in _parts(histories)]), truths, body_model)
            for name, method in extrapolations.items()
            if len(histories)
        }
        rows.append(Row("ahead", ahead, len(histories), errors))
    for gap in GAPS:
        samples = _gaps(clips, gap)
        truth = np.concatenate(
            [sample.truth.reshape(-1, 229) for sample in samples] or [np.zeros((0, 229), np.float32)]
        )
        errors = {}
        for name, fill in interpolations.items() if samples else ():
            filled = [fill(part, s.first, s.first + gap) for s in samples for part in _parts(s.frames)]
            errors[name] = _joint_error(np.concatenate([f.reshape(-1, 24, 3, 3) for f in filled]), truth, body_model)
        rows.append(Row("gap", gap, sum(len(sample.frames) for sample in samples), errors))
    return rows


def keep_turning(histories: Float, ahead: int) -> Float:
    """Every joint goes on turning as it did between the last two frames."""
    before, last = (torch.from_numpy(_rotations(histories[:, i])) for i in (-2, -1))
    return (last @ axis_angle_to_matrix(ahead * matrix_to_axis_angle(before.mT @ last))).numpy()


def slerp(frames: Float, first: int, last: int) -> Float:
    """Every joint turns evenly from the frame before the gap to the one after it."""
    length = last - first
    share = np.tile(np.linspace(0, 1, length + 2, dtype=np.float32)[1:-1], len(frames))
    before, after = (np.repeat(_rotations(frames[:, i]), length, axis=0) for i in (first - 1, last))
    return turn(before, after, share).reshape(len(frames), length, 24, 3, 3)


def _predict(network: PoseTransformer, histories: Float, ahead: int) -> Float:
    count = len(histories)
    times = np.tile(np.arange(HISTORY), (count, 1))
    return _rotations(PosePredictor(network)(histories, times, np.full(count, ahead)))


def _fill(network: PoseTransformer, frames: Float, first: int, last: int) -> Float:
    known = np.ones(frames.shape[1], bool)
    known[first:last] = False
    return _rotations(fill_in(network, frames, known)[0][:, first:last])


def _histories(clips: Sequence[Clip], ahead: int) -> tuple[Float, Float]:
    """Seven consecutive seen frames (N, 7, 229) wherever the frame asked for was seen too, and the truth there."""
    histories, truths = [np.zeros((0, HISTORY, 229), np.float32)], [np.zeros((0, 229), np.float32)]
    for clip in clips:
        for start in range(0, len(clip.seen) - HISTORY - ahead + 1, STEP):
            asked = start + HISTORY - 1 + ahead
            if clip.seen[start : start + HISTORY].all() and clip.seen[asked]:
                histories.append(clip.poses[None, start : start + HISTORY])
                truths.append(clip.poses[None, asked])
    return np.concatenate(histories), np.concatenate(truths)


@dataclass(frozen=True)
class _Gaps:
    """N stretches of T frames that were seen throughout.

    frames: (N, T, 229). first: where in them the gap begins. truth: (N, M, 229) in the gap.
    """

    frames: Float
    first: int
    truth: Float


def _gaps(clips: Sequence[Clip], gap: int) -> list[_Gaps]:
    """Stretches with as much as there is of 32 frames on each side of a gap, those of equal layout together."""
    found: dict[tuple[int, int], list[tuple[Float, Float]]] = defaultdict(list)
    for clip in clips:
        for first in range(LEAST_CONTEXT, len(clip.seen) - gap - LEAST_CONTEXT + 1, STEP):
            start, stop = max(0, first - CONTEXT), min(len(clip.seen), first + gap + CONTEXT)
            if clip.seen[start:stop].all():
                found[stop - start, first - start].append((clip.poses[start:stop], clip.poses[first : first + gap]))
    return [
        _Gaps(np.stack([poses for poses, _ in samples]), first, np.stack([truth for _, truth in samples]))
        for (_, first), samples in found.items()
    ]


def _joint_error(rotations: Float, truths: Float, body_model: BodyModel) -> float:
    """Mean over samples and joints, in millimetres. rotations: (N, 24, 3, 3), truths: (N, 229)."""
    betas = torch.from_numpy(truths[:, BETAS])

    def skeleton(rotations: Float) -> Tensor:
        matrices = torch.from_numpy(rotations)
        joints = body_model.skeleton(matrices[:, :1], matrices[:, 1:], betas)
        return joints - joints[:, :1]

    distance = torch.linalg.vector_norm(skeleton(rotations) - skeleton(_rotations(truths)), dim=-1)
    return 1000 * distance.mean().item()


def _parts(array: Float) -> list[Float]:
    return [array[i : i + BATCH] for i in range(0, len(array), BATCH)]


def _rotations(numbers: Float) -> Float:
    return np.ascontiguousarray(numbers[..., ROTATIONS]).reshape(*numbers.shape[:-1], 24, 3, 3)
