"""The PHALP' tracker: association of detections to tracks by appearance, pose and location."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.errors import UsageError
from fourd_humans.geometry.crops import with_crop_camera
from fourd_humans.motion.location import predict_locations
from fourd_humans.people import DUPLICATE, Bodies, Detections, Mask, Rejected
from fourd_humans.tracking.cost import TextureDistance, association_cost
from fourd_humans.tracking.hidden_people import Joints, hidden_people
from fourd_humans.tracking.observation import observe
from fourd_humans.tracking.settings import TrackingSettings
from fourd_humans.tracking.track import Expected, Observation, Track, TrackRecord, TrackState

__all__ = ["Association", "TrackRecord", "Tracker"]

# (poses (T, H, 229), their frame numbers (T, H), frames after the last (T,)) -> poses (T, 229)
PosePredictor = Callable[[NDArray, NDArray, NDArray], NDArray]


TRACK_CLASSES = (Track, TrackState, TrackRecord, Expected, Detections, Bodies, Mask, Rejected)
"""What the state of a tracker consists of, for `files.state`."""


@dataclass(frozen=True)
class Association:
    """How one frame's detections were given to tracks: the track of each, and the (T, D) cost that decided it."""

    tracks: list[Track]
    cost: NDArray[np.float64]


class Tracker:
    """Gives every detection an identity, frame by frame.

    texture_distance: distance of two appearances, see `appearance.distance`.
    predict_poses: prediction of poses, see `motion.hold` for the simplest.
    history: observations a track remembers. max_age: frames a person may be hidden before the track ends.
    min_hits: frames in a row in which a new person must be detected before the track is confirmed.
    threshold: cost above which a detection is never given to a track.
    texture_mixing: how much a new observation changes a track's texture, times the detector's score squared.
    pose_distance_limit: the largest squared pose distance that counts.
    joints: posed joints (N, 45, 3) from global_orient, body_pose and betas, for hidden people whose predicted pose
        differs from the last one; without it they keep the last joints.

    Raises: UsageError if `history` is too short for a regression or a count is not positive.
    """

    def __init__(
        self,
        *,
        texture_distance: TextureDistance,
        predict_poses: PosePredictor,
        history: int = 7,
        max_age: int = 50,
        min_hits: int = 5,
        threshold: float = 100.0,
        texture_mixing: float = 0.1,
        pose_distance_limit: float = 1.5,
        joints: Joints | None = None,
    ) -> None:
        if history < 3:
            raise UsageError(f"tracking.history must be at least 3, for a line through the points, not {history}")
        if min_hits < 1 or max_age < 0:
            raise UsageError("tracking.min_hits must be at least 1 and tracking.max_age at least 0")
        self.texture_distance = texture_distance
        self.predict_poses = predict_poses
        self.history = history
        self.max_age = max_age
        self.min_hits = min_hits
        self.threshold = threshold
        self.texture_mixing = texture_mixing
        self.pose_distance_limit = pose_distance_limit
        self.joints = joints
        self.tracks: list[Track] = []
        self._next_id = 1

    def update(
        self, frame_index: int, size: tuple[int, int], detections: Detections, bodies: Bodies, is_cut: bool = False
    ) -> list[TrackRecord]:
        """Take the people of the next frame; get the confirmed tracks' records, of earlier frames too once confirmed.

        frame_index: number of the frame, greater than all before. size: (height, width) pixels.
        detections, bodies: row by row the same people, bodies with textures. is_cut: a new shot begins with this frame.

        Raises: ValueError for bodies that are not finite or not in front of the camera.
        """
        bodies = with_crop_camera(bodies, detections.boxes)
        observations = observe(frame_index, size, detections, bodies)
        association = self.associate(observations, is_cut)
        detections = replace(detections, rejected=[])  # of the frame, not of its people
        bodies = replace(bodies, texture=None)  # a megabyte each, which no track needs to keep

        hidden = [track for track in self.tracks if track.time_since_seen]
        people = dict(zip((track.id for track in hidden), hidden_people(hidden, size, self.joints), strict=True))
        for row, (track, observation) in enumerate(zip(association.tracks, observations, strict=True)):
            detection, body = track.last_seen = detections[row], bodies[row]
            people[track.id] = detection, replace(body, texture=observation.texture[None])
        return self._report(frame_index, people)

    def resolve_duplicates(
        self, frame_index: int, size: tuple[int, int], detections: Detections, bodies: Bodies, is_cut: bool = False
    ) -> tuple[Detections, Bodies]:
        """The people to `update` with, where the detector is not certain how many there are (`Detections.group`).

        Of detections that may be one person the best stays. Another one stays if it and the best are matched to two
        confirmed tracks that were both seen in the frame before; else it is added to the rejected. So two people who
        pass close to one another stay two, and one person who is detected twice never becomes a second track.
        Arguments as for `update`.
        """
        if detections.group is None:
            return detections, bodies
        observations = observe(frame_index, size, detections, with_crop_camera(bodies, detections.boxes))
        cost = self._cost(observations, [track.next for track in self.tracks])
        rows, columns = linear_sum_assignment(cost)
        expected = np.zeros(len(detections), bool)
        expected[columns] = (cost[rows, columns] <= self.threshold) & np.array(
            [self.tracks[row].state is TrackState.CONFIRMED and not self.tracks[row].time_since_seen for row in rows],
            bool,
        )
        groups, best = np.unique(detections.group, return_index=True)
        of_group = best[np.searchsorted(groups, detections.group)]
        is_best = (detections.group < 0) | (of_group == np.arange(len(detections)))
        kept = is_best | (expected & expected[of_group] & (not is_cut))
        rejected = [
            Rejected(tuple(detections.boxes[i].tolist()), float(detections.scores[i]), DUPLICATE)
            for i in np.flatnonzero(~kept)
        ]
        return (
            replace(detections[kept], rejected=[*detections.rejected, *rejected], group=None),
            bodies[kept],
        )

    def associate(self, observations: Sequence[Observation], is_cut: bool = False) -> Association:
        """One step on the features: match the observations of one frame, update all tracks, predict the next frame."""
        for track in self.tracks:
            track.time_since_seen += 1
            track.expected = track.next
        cost = self._cost(observations, [track.expected for track in self.tracks])
        owners: dict[int, Track] = {}
        for row, column in np.stack(linear_sum_assignment(cost), axis=1).tolist():
            if cost[row, column] <= self.threshold:
                track = owners[column] = self.tracks[row]
                track.update(observations[column], is_cut, self.texture_mixing)
                if track.hits >= self.min_hits or observations[column].annotated:
                    track.state = TrackState.CONFIRMED

        self.tracks = [track for track in self.tracks if self._lives_on(track)]
        self._predict()
        for column, observation in enumerate(observations):
            if column not in owners:
                owners[column] = self._start(observation)
        return Association([owners[column] for column in range(len(observations))], cost)

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process; of the classes in `TRACK_CLASSES`."""
        return {"tracks": self.tracks, "next_id": self._next_id}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another tracker with the same settings was."""
        self.tracks, self._next_id = state["tracks"], state["next_id"]

    def _cost(self, observations: Sequence[Observation], expected: Sequence[Expected]) -> NDArray[np.float64]:
        """(T, D), with what each track expects."""
        if not self.tracks or not observations:
            return np.zeros((len(self.tracks), len(observations)))
        return association_cost(
            (np.stack([e.pose for e in expected]), np.stack([e.location for e in expected]),
             [track.texture for track in self.tracks]),
            (np.stack([o.pose for o in observations]), np.stack([o.location for o in observations]),
             [o.texture for o in observations]),
            self.texture_distance, self.threshold, self.pose_distance_limit,
        )  # fmt: skip

    def _lives_on(self, track: Track) -> bool:
        """An unmatched track is forgotten at once while tentative, and after `max_age` frames when confirmed."""
        return track.time_since_seen <= (self.max_age if track.state is TrackState.CONFIRMED else 0)

    def _predict(self) -> None:
        """The prediction of every track for the next frame."""
        if not self.tracks:
            return
        times = np.stack([track.times for track in self.tracks])
        ahead = np.array([track.time_since_seen + 1 for track in self.tracks])
        poses = self.predict_poses(np.stack([track.poses for track in self.tracks]), times, ahead)
        locations = predict_locations(times, np.stack([track.locations for track in self.tracks]), ahead)
        for track, pose, location in zip(self.tracks, poses, locations, strict=True):
            track.next = Expected(pose, location)

    def _start(self, observation: Observation) -> Track:
        track = Track.create(self._next_id, observation, self.history)
        if self.min_hits == 1:
            track.state = TrackState.CONFIRMED
        self._next_id += 1
        self.tracks.append(track)
        return track

    def _report(self, frame_index: int, people: dict[int, tuple[Detections, Bodies]]) -> list[TrackRecord]:
        """The records of all confirmed tracks, with those kept back while a track was tentative."""
        records: list[TrackRecord] = []
        for track in self.tracks:
            predictions = track.next.pose, track.next.location
            track.unreported.append(
                TrackRecord(frame_index, track.id, track.time_since_seen, *people[track.id], *predictions)
            )
            if track.state is TrackState.CONFIRMED:
                records += track.unreported
                track.unreported = []
        return records


def build(
    settings: TrackingSettings,
    texture_distance: TextureDistance,
    predict_poses: PosePredictor,
    joints: Joints,
    frame_count: int | None,
) -> Tracker:
    """The tracker that the settings ask for, for one video.

    frame_count: of the video, where known. Where it is less than `min_hits`, it takes its place, so that people in an
    image or a very short video are tracked at all.
    """
    options = settings.model_dump() | {"min_hits": min(settings.min_hits, frame_count or settings.min_hits)}
    return Tracker(texture_distance=texture_distance, predict_poses=predict_poses, joints=joints, **options)
