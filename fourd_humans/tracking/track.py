"""The state of a track: its recent observations and its prediction."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fourd_humans.people import Bodies, Detections, Float


@dataclass(frozen=True)
class Observation:
    """What the tracker compares, of one detection.

    pose: (229,) global_orient 9, body_pose 207, betas 10, camera_crop 3 with the last divided by 200.
    location: (99,), see `motion.location`. texture: (4, 256, 256), see `people.Bodies`.
    score: the detector's. annotated: whether the person was annotated; the track is then confirmed at once.
    """

    frame: int
    pose: Float
    location: Float
    texture: Float
    score: float
    annotated: bool = False


@dataclass(frozen=True)
class Expected:
    """The prediction for a frame: pose (229,) and location (99,)."""

    pose: Float
    location: Float


@dataclass(frozen=True)
class TrackRecord:
    """What is known of one track at one frame.

    time_since_seen: 0 where the person was detected; otherwise frames since, and detection and body are predicted ones.
    detection, body: one row each.
    predicted_pose, predicted_location: (229,) and (99,), what the track expects of the frame after this one.
    """

    frame: int
    id: int
    time_since_seen: int
    detection: Detections
    body: Bodies
    predicted_pose: Float
    predicted_location: Float


class TrackState(Enum):
    """A track is tentative until it has been matched often enough."""

    TENTATIVE = "tentative"
    CONFIRMED = "confirmed"


@dataclass
class Track:
    """A person's identity with its recent history, oldest first.

    times: (H,), poses: (H, 229), locations: (H, 99): the last H observations; a young track repeats its first.
    texture: (4, 256, 256), all that was seen of the person so far, newer observations weighing little.
    expected: at the frame being worked on. next: at the frame after it.
    last_seen: the detection and the body, without texture, of the last observation.
    unreported: records of a tentative track, reported once it is confirmed.
    """

    id: int
    times: NDArray[np.int64]
    poses: Float
    locations: Float
    texture: Float
    expected: Expected
    next: Expected
    hits: int = 1
    time_since_seen: int = 0
    state: TrackState = TrackState.TENTATIVE
    last_seen: tuple[Detections, Bodies] | None = None
    unreported: list[TrackRecord] = field(default_factory=list)

    @classmethod
    def create(cls, id: int, observation: Observation, history: int) -> Self:
        """A tentative track whose history repeats its first observation, which is also what it expects next."""
        expected = Expected(observation.pose, observation.location)
        return cls(
            id,
            times=np.full(history, observation.frame),
            poses=np.repeat(observation.pose[None], history, axis=0),
            locations=np.repeat(observation.location[None], history, axis=0),
            texture=observation.texture.copy(),  # else it would keep the textures of the whole frame alive
            expected=expected,
            next=expected,
        )

    def update(self, observation: Observation, is_cut: bool, mixing: float) -> None:
        """Append an observation. Where `is_cut`, the old locations mean nothing: the new one replaces them."""
        self.times = np.append(self.times[1:], observation.frame)
        self.poses = np.concatenate([self.poses[1:], observation.pose[None]])
        self.locations = np.concatenate([self.locations[1:], observation.location[None]])
        if is_cut:
            self.locations[:] = observation.location
        self.texture = mix_textures(self.texture, observation.texture, mixing * observation.score**2)
        self.hits += 1
        self.time_since_seen = 0


def mix_textures(old: Float, new: Float, alpha: float) -> Float:
    """(4, 256, 256): where both were seen, (1 - alpha)·old + alpha·new; where one was, that one.

    The last channel is 1 where a texel was seen and -1 where not; unseen texels are 0.
    """
    mixed = np.empty_like(old)
    _mix(old.reshape(4, -1), new.reshape(4, -1), alpha, mixed.reshape(4, -1))
    return mixed


@njit(nogil=True, cache=True)
def _mix(old, new, alpha, mixed):  # type: ignore[no-untyped-def]
    for texel in range(old.shape[1]):
        in_old, in_new = old[3, texel] > 0.5, new[3, texel] > 0.5
        weight = (alpha if in_old else 1.0) if in_new else 0.0  # of the new
        mixed[3, texel] = 1 if in_old or in_new else -1
        for channel in range(3):
            if in_old or in_new:
                mixed[channel, texel] = (1 - weight) * old[channel, texel] + weight * new[channel, texel]
            else:
                mixed[channel, texel] = 0
