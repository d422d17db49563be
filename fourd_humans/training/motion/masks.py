"""Which frames are hidden from the pose transformer while it learns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LONGEST_GAP = 60
FARTHEST_AHEAD = 50
HISTORY = 7  # what the tracker keeps of a person

Mask = NDArray[np.bool_]


def draw_mask(rng: np.random.Generator, frames: int) -> tuple[Mask, Mask]:
    """One task for a sequence of `frames`: (masked, queried), both (frames,) bool, with queried within masked.

    A third each: frames at random, as in the paper (supplement S.4); whole gaps, as behind an occluder; and all but
    the few frames that a tracker remembers, of which the neighbourhood is queried, ahead and back.
    """
    kind = rng.integers(3)
    if kind == 0:
        masked = rng.random(frames) < rng.uniform(0.1, 0.8)
        return masked, masked
    if kind == 1:
        masked = np.zeros(frames, bool)
        for _ in range(rng.integers(1, 3)):
            length = rng.integers(1, min(LONGEST_GAP, frames // 2) + 1)
            start = rng.integers(0, frames - length + 1)
            masked[start : start + length] = True
        scattered = rng.random(frames) < rng.choice([0.0, 0.2])
        return masked | scattered, masked
    masked = np.ones(frames, bool)
    first = rng.integers(0, max(1, frames - 2 * HISTORY)) * rng.integers(2)  # half the time from the first frame on
    remembered = first + np.cumsum(np.where(rng.random(HISTORY) < 0.1, 2, 1)) - 1
    remembered = remembered[remembered < frames]
    remembered = remembered[rng.integers(2) * rng.integers(len(remembered)) :]  # a young track remembers less
    masked[remembered] = False
    time = np.arange(frames)
    near = (time > first - FARTHEST_AHEAD // 2) & (time <= remembered[-1] + FARTHEST_AHEAD)
    return masked, masked & near


def distance_to_seen(masked: Mask) -> NDArray[np.int64]:
    """(frames,) how many frames away the nearest frame is that is not masked; 0 for those themselves."""
    seen = np.flatnonzero(~masked)
    if not len(seen):
        return np.full(len(masked), len(masked))
    return np.abs(np.arange(len(masked))[:, None] - seen).min(1)
