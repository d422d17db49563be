"""One person over time as the action transformer takes it: pose features at 30 frames a second, gaps marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import UsageError
from fourd_humans.motion.interpolation import turn
from fourd_humans.people import NUM_JOINTS, Float, TrackedFrame, concatenate
from fourd_humans.pose_features import DEPTH_SCALE, ROTATIONS, motion_features
from fourd_humans.tracklets import Tracklets

RATE = 30.0  # frames a second that the networks are trained at
SAME_RATE = 0.02  # relative difference between frame rates that is not resampled
SNAP = 0.1  # of a source frame's duration: nearer to a frame than this, its values are taken as they are
LONGEST_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class ActionTrack:
    """One person within one shot, n frames at `RATE` frames a second.

    id: the person's. start: number of the first frame at `RATE`, counted from time 0 of the video.
    poses: (n, 229) pose features. joints: (n, 135) 3D joints in the camera frame with the depth offset divided by 200.
    detected: (n,) bool; the values of other frames mean nothing.
    appearance: (n, F) features of the image, or None.
    labels: (n, C) in 0..1, or None. label_source: (n,) 2 where annotated, 1 where pseudo-labelled, 0 where neither.
    """

    id: int
    start: int
    poses: Float
    joints: Float
    detected: NDArray[np.bool_]
    appearance: Float | None = None
    labels: Float | None = None
    label_source: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.detected)

    @property
    def stop(self) -> int:
        return self.start + len(self)


def tracks_of(
    tracklets: Tracklets | Sequence[TrackedFrame], ids: Sequence[int] | None = None, rate: float | None = None
) -> list[ActionTrack]:
    """Everybody's track, resampled to `RATE`, cut where a new shot begins.

    Between two successive frames of the video in which a person was detected, rotations are interpolated on the sphere
    and everything else linearly; where either is missing the frame counts as undetected, as do predicted bodies and
    bodies with numbers that are not finite.

    ids: only these people. rate: frames a second of the results, instead of what their times say.
    Raises: UsageError where times do not increase or span more than a day.
    """
    frames = list(tracklets)
    if not frames:
        return []
    times = frame_times(frames, rate)
    shots = np.cumsum([frame.is_cut for frame in frames])
    people = sorted({int(id) for frame in frames for id in frame.ids[frame.seen]})
    tracks = []
    for id in people if ids is None else [id for id in people if id in set(ids)]:
        found = [
            (i, int(row)) for i, frame in enumerate(frames) for row in np.flatnonzero(frame.seen & (frame.ids == id))
        ]
        indices = np.array([i for i, _ in found])
        bodies = concatenate([frames[i].bodies[int(row)] for i, row in found])
        features = motion_features(bodies)
        camera = bodies.camera / np.array([1, 1, DEPTH_SCALE], np.float32)
        joints = (bodies.joints_3d + camera[:, None]).reshape(-1, 3 * NUM_JOINTS)
        usable = features.usable & np.isfinite(joints).all(1)
        for shot in np.unique(shots[indices[usable]]):
            chosen = usable & (shots[indices] == shot)
            tracks.append(_resample(id, times, indices[chosen], features.values[chosen], joints[chosen]))
    return tracks


def frame_times(frames: Sequence[TrackedFrame], rate: float | None = None) -> NDArray[np.float64]:
    """Seconds of each frame, on a clock that runs at exactly `RATE` where the frame rate is about that.

    Raises: UsageError where times do not increase or span more than a day.
    """
    index = np.array([frame.index for frame in frames], float)
    times = np.array([frame.time for frame in frames], float)
    if rate is not None:
        times = index / rate
    steps = np.diff(times)
    if not np.isfinite(times).all() or (steps <= 0).any() or times[-1] - times[0] > LONGEST_SECONDS:
        raise UsageError("the times of the results do not increase, or span more than a day: give --rate")
    if len(steps) and abs(np.median(steps) * RATE - 1) < SAME_RATE and np.ptp(np.diff(index)) == 0:
        times = index / np.diff(index)[0] / RATE
    return times


def _resample(
    id: int, times: NDArray[np.float64], indices: NDArray[np.int64], poses: Float, joints: Float
) -> ActionTrack:
    """The track of a person who was detected in the frames `indices`, which have these values."""
    start, last = (round(float(times[i]) * RATE) for i in (indices[0], indices[-1]))
    clock = np.arange(start, last + 1) / RATE
    after = np.searchsorted(times, clock).clip(0, len(times) - 1)
    before = np.where((times[after] > clock) & (after > 0), after - 1, after)
    span = np.maximum(times[after] - times[before], 1e-9)
    share = np.clip((clock - times[before]) / span, 0, 1)
    after = np.where(share < SNAP, before, after)
    before = np.where(share > 1 - SNAP, after, before)
    share = np.where(before == after, 0, share).astype(np.float32)
    row = np.full(len(times), -1)
    row[indices] = np.arange(len(indices))
    first, second = row[before], row[after]
    detected = (first >= 0) & (second >= 0)
    values = poses[first] * (1 - share[:, None]) + poses[second] * share[:, None]
    between = detected & (share > 0)
    rotations = poses[:, ROTATIONS].reshape(-1, 24, 3, 3)
    values[between, ROTATIONS] = turn(rotations[first[between]], rotations[second[between]], share[between]).reshape(
        -1, 216
    )
    resampled = joints[first] * (1 - share[:, None]) + joints[second] * share[:, None]
    keep = detected[:, None]
    return ActionTrack(id, start, np.where(keep, values, 0).astype(np.float32), np.where(keep, resampled, 0), detected)
