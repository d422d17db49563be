"""How well appearance separates people: distances of same-person and different-person pairs in real videos.

    python benchmarks/appearance.py VIDEO...

Runs the stages of `lite` on each video and tracks people by location and pose alone, which gives correct identities in
short clips of people who keep apart. Then every track's texture is compared with the detections of some frames later.
Prints, for each video and gap, the distribution of r over pairs of the same and of different people, how often a same
pair is nearer than a different one (the area under the ROC curve), and the factor on `appearance.distance.SCALE` that
would move the median of same pairs to where the tracker's cost expects it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans.appearance.distance import ColourDistance
from fourd_humans.motion.hold import hold_pose
from fourd_humans.people import Frame
from fourd_humans.pipeline import Pipeline
from fourd_humans.tracking.cost import TEXTURE_RATE, TextureDistance
from fourd_humans.tracking.observation import observe
from fourd_humans.tracking.track import TrackState
from fourd_humans.tracking.tracker import Tracker
from fourd_humans.video import open_source

GAPS = (1, 15, 45)  # frames between two observations of a person


@dataclass(frozen=True)
class Textures:
    """The textures of one frame's people with their identities: those of the tracks, and the frame's own."""

    ids: list[int]
    tracks: list[NDArray]
    detections: list[NDArray]


def confirmed_people(path: Path, pipeline: Pipeline) -> Iterator[Textures]:
    """The people of each frame whose tracks are confirmed."""
    tracker = Tracker(texture_distance=lambda tracks, detections, pairs: np.zeros(len(pairs)), predict_poses=hold_pose)
    for frame in open_source(path):
        if not isinstance(frame, Frame):
            continue
        found, bodies = pipeline.recover([frame], pipeline.detect([frame]))[0]
        (bodies,) = pipeline.appearance([frame], [found], [bodies])
        observations = observe(frame.index, frame.size, found, bodies)
        owners = tracker.associate(observations).tracks
        confirmed = [i for i, track in enumerate(owners) if track.state is TrackState.CONFIRMED]
        yield Textures(
            [owners[i].id for i in confirmed],
            [owners[i].texture for i in confirmed],
            [observations[i].texture for i in confirmed],
        )


def compare(frames: list[Textures], gap: int, distance: TextureDistance) -> tuple[NDArray, NDArray]:
    """r of all pairs of the same person, and of all of different people, `gap` frames apart."""
    same: list[float] = []
    different: list[float] = []
    for before, after in zip(frames[:-gap], frames[gap:], strict=True):
        pairs = np.array([(i, j) for i in range(len(before.ids)) for j in range(len(after.ids))]).reshape(-1, 2)
        if not len(pairs):
            continue
        for (i, j), r in zip(pairs, distance(before.tracks, after.detections, pairs), strict=True):
            (same if before.ids[i] == after.ids[j] else different).append(float(r))
    return np.array(same), np.array(different)


def area_under_curve(same: NDArray, different: NDArray) -> float:
    """The share of (same, different) couples in which the same pair is the nearer, ties counting half."""
    ordered = np.sort(same)
    below = np.searchsorted(ordered, different, "left") + np.searchsorted(ordered, different, "right")
    return float(below.mean() / 2 / len(same))


def row(name: str, gap: int | str, same: NDArray, different: NDArray) -> str:
    def quantiles(values: NDArray) -> str:
        if not len(values):
            return f"{'-':>24}"
        return "".join(f"{q:8.3f}" for q in np.quantile(values, (0.1, 0.5, 0.9)))

    curve = f"{area_under_curve(same, different):8.4f}" if len(same) and len(different) else f"{'-':>8}"
    return f"{name:24} {gap:>4} {len(same):6} {quantiles(same)} {len(different):6} {quantiles(different)} {curve}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO")
    arguments = parser.parse_args()
    pipeline = Pipeline()
    distance = pipeline.texture_distance

    print(f"{'':24} {'':4} {'same':>6} {'r at 10, 50, 90 %':>24} {'other':>6} {'r at 10, 50, 90 %':>24} {'area':>8}")
    every_same, every_different = [], []
    for path in arguments.videos:
        frames = list(confirmed_people(path, pipeline))
        for gap in GAPS:
            same, different = compare(frames, gap, distance)
            print(row(path.name, gap, same, different))
            every_same.append(same)
            every_different.append(different)
    same, different = np.concatenate(every_same), np.concatenate(every_different)
    print(row("all", "all", same, different))
    if len(same) and isinstance(distance, ColourDistance):
        print(
            f"SCALE times {1 / TEXTURE_RATE / np.median(same):.3f} brings the same pairs' median to 1 / {TEXTURE_RATE}"
        )


if __name__ == "__main__":
    main()
