"""Tracklets as sequences of pose features, to learn from and to measure on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import UsageError
from fourd_humans.motion.synthetic import add_noise, synthesise
from fourd_humans.pose_features import NUM_POSE_FEATURES, motion_features
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklet

log = logging.getLogger(__name__)

SYNTHETIC_AT_ONCE = 64


@dataclass(frozen=True)
class Clip:
    """One person's motion, frame after frame, as observed.

    poses: (T, 229). seen: (T,) bool; the features of other frames mean nothing.
    """

    poses: NDArray[np.float32]
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


def read_clips(paths: Sequence[Path]) -> list[Clip]:
    """Every person of the result files, and of all ``.pkl`` files in the folders, cut where a new shot begins.

    What cannot be learnt from is left out and counted in the log: people seen in fewer than two frames, frames with
    features that are not finite. Matrices that are no rotations are replaced by the nearest ones, and counted.

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
        cuts = [frame.index for frame in tracklets if frame.is_cut]
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
    features = motion_features(person.bodies)
    left_out["frames with features that are not finite are left out"] += int((~features.usable).sum())
    left_out["matrices were no rotations and are replaced by the nearest ones"] += features.repaired
    seen = person.seen & features.usable
    for shot in np.split(np.arange(len(person)), np.searchsorted(person.frames, cuts)):
        shot = shot[seen[shot]]
        if len(shot) < 2:
            left_out["tracklets with fewer than two frames seen are left out"] += len(shot) > 0
            continue
        times = person.frames[shot] - person.frames[shot[0]]
        poses = np.zeros((times[-1] + 1, NUM_POSE_FEATURES), np.float32)
        poses[times] = features.values[shot]
        present = np.zeros(len(poses), bool)
        present[times] = True
        yield Clip(poses, present)
