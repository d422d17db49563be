"""Tracklets as sequences to learn from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from fourd_humans.motion.clips import Clip
from fourd_humans.motion.synthetic import mirror

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
T = TypeVar("T")
SMALLEST_STD = 0.05  # of normalised features, so that what never moves in training is not blown up later


def statistics(clips: Sequence[Clip]) -> tuple[Floats, Floats]:
    """Mean and std (229,) of all seen frames, each clip counting alike; the std is kept above a floor."""
    first = np.mean([clip.poses[clip.seen].mean(0, dtype=np.float64) for clip in clips], 0)
    second = np.mean([((clip.poses[clip.seen] - first) ** 2).mean(0) for clip in clips], 0)
    return first.astype(np.float32), np.maximum(np.sqrt(second), SMALLEST_STD).astype(np.float32)


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


def split(clips: Sequence[T], share: float, seed: int) -> tuple[list[T], list[T]]:
    """The clips in two parts, the second a random `share` of them."""
    order = np.random.default_rng(seed).permutation(len(clips))
    count = round(share * len(clips))
    return [clips[i] for i in sorted(order[count:])], [clips[i] for i in sorted(order[:count])]
