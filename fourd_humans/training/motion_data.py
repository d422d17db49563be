"""Tracklets as sequences to learn from."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from fourd_humans.errors import UsageError
from fourd_humans.motion.numbers import numbers_of
from fourd_humans.motion.pose_transformer import NUMBERS
from fourd_humans.motion.synthetic import add_noise, mirror, synthesise
from fourd_humans.results import Tracklet, load_tracklets

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
SMALLEST_DEVIATION = 0.05  # of normalised numbers, so that what never moves in training is not blown up later
SYNTHETIC_AT_ONCE = 64


@dataclass(frozen=True)
class Clip:
    """One person's motion, frame after frame, as observed.

    poses: (T, 229). seen: (T,) bool; the numbers of other frames mean nothing.
    """

    poses: Floats
    seen: NDArray[np.bool_]


def synthetic_clips(count: int, frames: int, seed: int) -> list[Clip]:
    """Made-up people, observed with the errors of a recovery from pictures.

    The errors stay in what is learnt, as they do in recorded tracklets: the network is to say what the recovery would.
    """
    clips = []
    for start in range(0, count, SYNTHETIC_AT_ONCE):
        motion = synthesise(min(SYNTHETIC_AT_ONCE, count - start), frames, seed + start)
        poses = add_noise(motion.poses, np.random.default_rng([seed, start]))
        clips += [Clip(person, np.ones(frames, bool)) for person in poses]
    return clips


def statistics(clips: Sequence[Clip]) -> tuple[Floats, Floats]:
    """Mean and deviation (229,) of all seen frames, each clip counting alike; the deviation is kept above a floor."""
    first = np.mean([clip.poses[clip.seen].mean(0, dtype=np.float64) for clip in clips], 0)
    second = np.mean([((clip.poses[clip.seen] - first) ** 2).mean(0) for clip in clips], 0)
    return first.astype(np.float32), np.maximum(np.sqrt(second), SMALLEST_DEVIATION).astype(np.float32)


class MotionSequences(Dataset[dict[str, torch.Tensor]]):
    """Random stretches of `frames` frames, some of them mirrored, backwards, or at a lower frame rate.

    Each item holds poses (frames, 229) and seen (frames,), padded with unseen frames where the clip is shorter. The
    index alone, of which there is no end, decides what is drawn (see `EpochSampler`).

    weights: how often each clip is drawn; alike if None. augment: False for the clips as they are, from their start.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        frames: int,
        seed: int,
        weights: Sequence[float] | None = None,
        augment: bool = True,
    ) -> None:
        self.clips, self.frames, self.seed, self.augment = clips, frames, seed, augment
        chances = np.ones(len(clips)) if weights is None else np.asarray(weights, float)
        self.cumulative = np.cumsum(chances / chances.sum())

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not self.augment:
            clip = self.clips[index]
            return self._item(clip, np.arange(min(self.frames, len(clip.seen))), mirrored=False)
        rng = np.random.default_rng([self.seed, index])
        clip = self.clips[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.clips) - 1)]
        available = len(clip.seen)
        stride = max(1, min(int(rng.choice([1, 1, 2, 3])), available // self.frames))
        span = min(available, stride * self.frames)
        first = int(rng.integers(0, available - span + 1))
        chosen = np.arange(first, first + span, stride)
        return self._item(clip, chosen[::-1] if rng.random() < 0.3 else chosen, mirrored=rng.random() < 0.5)

    def _item(self, clip: Clip, chosen: NDArray[np.integer], mirrored: bool) -> dict[str, torch.Tensor]:
        padding = self.frames - len(chosen)
        poses = mirror(clip.poses[chosen]) if mirrored else clip.poses[chosen]
        return {
            "poses": torch.from_numpy(np.pad(poses, ((0, padding), (0, 0)))),
            "seen": torch.from_numpy(np.pad(clip.seen[chosen], (0, padding))),
        }


class EpochSampler(Sampler[int]):
    """`length` new indices every epoch, shared out among the processes; a resumed run goes on where it stopped."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self._processes()[1]

    def __iter__(self) -> Iterator[int]:
        rank, processes = self._processes()
        start = self.epoch * self.length
        return iter(range(start + rank, start + len(self) * processes, processes))

    @staticmethod
    def _processes() -> tuple[int, int]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def split(clips: Sequence[Clip], share: float, seed: int) -> tuple[list[Clip], list[Clip]]:
    """The clips in two parts, the second a random `share` of them."""
    order = np.random.default_rng(seed).permutation(len(clips))
    count = round(share * len(clips))
    return [clips[i] for i in sorted(order[count:])], [clips[i] for i in sorted(order[:count])]


def read_clips(paths: Sequence[Path]) -> list[Clip]:
    """Every person of the result files, and of all ``.pkl`` files in the folders, cut where a new shot begins.

    What cannot be learnt from is left out and counted in the log: people seen in fewer than two frames, frames with
    numbers that are not finite. Matrices that are no rotations are replaced by the nearest ones, and counted.

    Raises: UsageError where there is nothing to learn from, or where files belong to different shape spaces.
    """
    files = sorted(file for path in paths for file in (path.rglob("*.pkl") if path.is_dir() else [path]))
    clips: list[Clip] = []
    spaces: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    for file in files:
        tracklets = load_tracklets(file)
        spaces |= {frame.bodies.shape_space: file for frame in tracklets if len(frame)}
        if len(spaces) > 1:
            (one, first), (other, second) = list(spaces.items())[:2]
            raise UsageError(
                f"{first} has betas of {one} and {second} of {other}, which mean different things: train on one of them"
            )
        cuts = [frame.index for frame in tracklets if frame.shot]
        for id in tracklets.ids:
            clips += _clips_of(tracklets.person(int(id)), cuts, left_out)
    for what, count in (+left_out).items():
        log.warning("%d %s", count, what)
    if files and not clips:
        raise UsageError(f"no person in {', '.join(map(str, paths))} is seen in two frames: nothing to learn from")
    if paths and not files:
        raise UsageError(f"there are no .pkl files in {', '.join(map(str, paths))}")
    return clips


def _clips_of(person: Tracklet, cuts: Sequence[int], left_out: Counter[str]) -> Iterator[Clip]:
    numbers = numbers_of(person.bodies)
    left_out["frames with numbers that are not finite are left out"] += int((~numbers.usable).sum())
    left_out["matrices were no rotations and are replaced by the nearest ones"] += numbers.mended
    seen = person.seen & numbers.usable
    for shot in np.split(np.arange(len(person)), np.searchsorted(person.frames, cuts)):
        shot = shot[seen[shot]]
        if len(shot) < 2:
            left_out["tracklets with fewer than two frames seen are left out"] += len(shot) > 0
            continue
        times = person.frames[shot] - person.frames[shot[0]]
        poses = np.zeros((times[-1] + 1, NUMBERS), np.float32)
        poses[times] = numbers.values[shot]
        present = np.zeros(len(poses), bool)
        present[times] = True
        yield Clip(poses, present)
