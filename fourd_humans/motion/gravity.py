"""Which way is up, and where the floor is, from the people of a shot.

Two cues, both of people who stand or walk upright:

- **bodies**: from the ankles to the shoulders of the recovered body. Recoveries pull steep views towards level ones, so
  this is worth a few degrees, but it needs only one person in one place;
- **the image**: everybody stands on one plane and is as tall everywhere. From where a person's ankles and shoulders
  are seen, near and far, left and right, follows the horizon and the direction in which verticals converge, as in
  self-calibration from pedestrians (Lv, Zhao and Nevatia, "Self-calibration of a camera from video of a walking
  human", ICPR 2002).

Both are fitted at once by robust least squares. Everything is in the frame of a camera with ordinary perspective (see
`geometry.camera.assumed_intrinsics`), x right, y down, z away.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from fourd_humans.geometry.camera import (
    Intrinsics,
    assumed_intrinsics,
    look_at_rotations,
    ray_directions,
)
from fourd_humans.people import Bodies, Gravity, TrackedFrame

Array = NDArray[np.float64]

# Of the 45 joints.
RIGHT_ANKLE, RIGHT_KNEE, RIGHT_HIP, LEFT_HIP, LEFT_KNEE, LEFT_ANKLE = range(25, 31)
SHOULDERS, ANKLES, NECK = (33, 34), (RIGHT_ANKLE, LEFT_ANKLE), 37
SHOULDERS_AHEAD = 0.065  # metres by which the shoulders of a standing body lie in front of its ankles
FEET = (19, 20, 21, 22, 23, 24)  # toes and heels
LEGS = ((RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE), (LEFT_HIP, LEFT_KNEE, LEFT_ANKLE))

BENT = 25.0  # degrees of bending in knees or hips at which a frame counts half
MIN_UPRIGHT = 0.05  # of an observation
MIN_CONFIDENCE = 0.05  # of the recovery, so that a person of whom it is never sure still counts
MIN_LENGTH = 0.1  # metres from ankles to shoulders
MIN_FRAMES = 3  # of a person
MIN_FORWARD = 0.1  # cosine from the optical axis up to which points are used
# So that neither memory nor the fit grows with the length of a shot, which may be hours of a street:
MAX_OBSERVATIONS = 512  # of one person, thinned evenly where there are more
MAX_IN_ALL = 2048  # of everybody; where there are more, those of the people who were seen longest are kept, and
MAX_PEOPLE = 32  # that many people
STEP = 1 / 3  # seconds within which frames of one walk tell nothing new
MAX_STEPS = 3.0  # that one person counts for, so that nobody outweighs all others
BODY_STD = math.radians(9)  # of the direction of one person's body, over all frames
IMAGE_STD = 0.05  # of where the shoulders are seen, of the distance to the ankles
HEIGHT_STD = 0.12  # of the logarithm of the heights of people around their mean
PITCH_STD, ROLL_STD = math.radians(30), math.radians(8)  # how cameras are usually held
STARTS = np.radians([0.0, 15.0, 30.0, 45.0])  # of the pitch, from which the fit is tried
CERTAIN = math.radians(5)  # standard deviation at which the confidence is one half
DISAGREEMENT = math.radians(15)  # between both cues, at which one person's image cue is worth half the confidence
LEVEL_CONFIDENCE = 0.3  # from which scenes are levelled


@dataclass(frozen=True)
class _Observation:
    """One person in one frame, upright enough to tell something.

    upright: how far, in 0..1. weight: against other frames of the person, by that and the recovery's confidence.
    body: (3,) unit vector from the ankles to the shoulders. ankles, shoulders: (3,) rays with z = 1. feet: (6, 3),
    metres in the camera frame. whole: the person lies within the image.
    """

    frame: int
    time: float
    upright: float
    weight: float
    body: Array
    ankles: Array
    shoulders: Array
    feet: Array
    whole: bool

    def rotated(self, rotation: Array) -> _Observation:
        """In another camera's frame, which `rotation` (3, 3) leads to."""
        ankles, shoulders = rotation @ self.ankles, rotation @ self.shoulders
        inside = min(ankles[2], shoulders[2]) > MIN_FORWARD
        return replace(
            self,
            body=rotation @ self.body,
            ankles=ankles / max(ankles[2], MIN_FORWARD),
            shoulders=shoulders / max(shoulders[2], MIN_FORWARD),
            feet=self.feet @ rotation.T,
            whole=self.whole and bool(inside),
        )


@dataclass
class _Person:
    """The observations of one person, thinned out evenly as they grow many."""

    stride: int = 1
    skipped: int = 0
    observations: list[_Observation] = field(default_factory=list)

    def add(self, observation: _Observation) -> None:
        self.skipped += 1
        if self.skipped < self.stride:
            return
        self.skipped = 0
        self.observations.append(observation)
        if len(self.observations) > MAX_OBSERVATIONS:
            self.thin()

    def thin(self) -> None:
        """Keep every second one."""
        self.observations, self.stride = self.observations[::2], 2 * self.stride

    @property
    def frames(self) -> int:
        """In about how many the person was upright."""
        return self.stride * len(self.observations)

    def state(self) -> dict[str, Any]:
        """The person with the observations as one array for each of their fields."""
        columns = {
            each.name: np.array([getattr(observation, each.name) for observation in self.observations])
            for each in fields(_Observation)
        }
        return {"stride": self.stride, "skipped": self.skipped, "observations": columns}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> _Person:
        """The person with such a state."""
        columns = state["observations"]
        rows = zip(*(columns[each.name] for each in fields(_Observation)), strict=True)
        observations = [_Observation(*(v if v.ndim else v.item() for v in row)) for row in rows]
        return cls(state["stride"], state["skipped"], observations)


class GravityEstimator:
    """Collects the people of one shot, frame by frame, and tells which way is up.

    >>> estimator = GravityEstimator()
    >>> estimator.estimate() is None
    True
    """

    def __init__(self) -> None:
        self._people: dict[int, _Person] = defaultdict(_Person)
        self._focal_length = 0.0

    def update(self, frame: TrackedFrame) -> None:
        """Take the people who are seen in a frame of the shot."""
        seen = np.flatnonzero(frame.seen)
        if not len(seen):
            return
        bodies, (height, width) = frame.bodies[seen], frame.size
        boxes = frame.detections.boxes[seen]
        camera, rotations, origins = with_assumed_intrinsics(bodies, boxes, frame.size)
        self._focal_length = camera.focal_length
        joints = np.einsum("nij,nkj->nki", rotations, bodies.joints_3d)
        rays = ray_directions(bodies.joints_2d, camera)
        whole = np.all((boxes[:, :2] > 2) & (boxes[:, 2:] < (width - 2, height - 2)), axis=1)
        confidence = np.ones(len(seen)) if bodies.confidence is None else bodies.confidence
        with np.errstate(invalid="ignore"):  # of bodies that are not finite, which are passed over below
            upright = uprightness(joints)
            ahead = SHOULDERS_AHEAD * _forward(joints)
            bodies_up = joints[:, SHOULDERS].mean(1) - joints[:, ANKLES].mean(1) - ahead
        length = np.linalg.norm(bodies_up, axis=1)
        ankles, shoulders = rays[:, ANKLES].mean(1), rays[:, SHOULDERS].mean(1)
        over_ankles = shoulders - (ahead - shoulders * ahead[:, 2:]) / np.maximum(origins[:, 2:], 0.1)
        known = np.concatenate([bodies_up, rays[:, ANKLES].reshape(len(seen), -1), over_ankles, origins], 1)
        usable = (upright > MIN_UPRIGHT) & np.isfinite(known).all(1) & (length >= MIN_LENGTH)
        for row in np.flatnonzero(usable):
            id = int(frame.ids[seen[row]])
            self._people[id].add(
                _Observation(
                    frame=frame.index,
                    time=frame.time,
                    upright=float(upright[row]),
                    weight=float(upright[row]) * max(float(confidence[row]), MIN_CONFIDENCE),
                    body=bodies_up[row] / length[row],
                    ankles=ankles[row],
                    shoulders=over_ankles[row],
                    feet=joints[row, FEET] + origins[row],
                    whole=bool(whole[row]),
                )
            )
        count = sum(len(person.observations) for person in self._people.values())
        if count > MAX_IN_ALL or len(self._people) > 2 * MAX_PEOPLE:
            self._thin()

    def _thin(self) -> None:
        """Keep the people who were seen longest, with observations that leave room for as many again."""
        ranked = sorted(self._people.items(), key=lambda item: -item[1].frames)[:MAX_PEOPLE]
        self._people = defaultdict(_Person, sorted(ranked))
        for person in self._people.values():
            while len(person.observations) > MAX_IN_ALL // MAX_PEOPLE // 2:
                person.thin()

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process."""
        people = {id: person.state() for id, person in self._people.items()}
        return {"people": people, "focal_length": self._focal_length}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another estimator was."""
        people = {id: _Person.of_state(person) for id, person in state["people"].items()}
        self._people, self._focal_length = defaultdict(_Person, people), state["focal_length"]

    def estimate(self, rotation_at: Callable[[int], Array] | None = None) -> Gravity | None:
        """The direction up and the floor, or None where nobody stood upright.

        rotation_at: of a camera that turns, the rotation (3, 3) from a frame's camera to that of the shot's first
            frame, in which the answer then is.
        """
        people = [each.observations for each in self._people.values() if len(each.observations) >= MIN_FRAMES]
        if rotation_at is not None:
            people = [[each.rotated(rotation_at(each.frame)) for each in person] for person in people]
        if not people:
            return None
        problem = _Problem.of(people)
        fits = [least_squares(problem.residuals, problem.start(pitch), loss="soft_l1", f_scale=1.5) for pitch in STARTS]
        best = min(fits, key=lambda fit: fit.cost)
        up = up_direction(*best.x[:2])
        jacobian = np.asarray(best.jac)
        variance = np.diag(np.linalg.pinv(jacobian.T @ jacobian))[:2]
        bodies = (problem.bodies * problem.body_weights[:, None]).sum(0)
        apart = math.acos(float(np.clip(up @ bodies / np.linalg.norm(bodies), -1, 1)))
        witnesses = max(len(np.unique(problem.person)), 1)
        confidence = 1 / (1 + float(variance.sum()) / CERTAIN**2) / (1 + (apart / DISAGREEMENT) ** 2 / witnesses)
        floor = _floor([each for person in people for each in person], up)
        return Gravity((float(up[0]), float(up[1]), float(up[2])), floor, confidence, self._focal_length)


def with_assumed_intrinsics(
    bodies: Bodies, boxes: NDArray[np.floating], size: tuple[int, int]
) -> tuple[Intrinsics, Array, Array]:
    """How N bodies stand in the frame of a camera with ordinary perspective (`assumed_intrinsics`).

    The recovery knows how a body is turned relative to its line of sight, which differs between the cameras.
    boxes: (N, 4) xyxy pixels. size: (height, width) of the frame.
    Returns that camera, rotations (N, 3, 3) from the frame that the bodies are in to that camera's, about each body's
    own origin, and translations (N, 3): the origins are seen at the same pixels, and bodies are as large there.
    """
    used = Intrinsics(bodies.focal_length, bodies.principal_point)
    camera = assumed_intrinsics(used, size)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    rotations = look_at_rotations(centers, camera) @ look_at_rotations(centers, used).swapaxes(1, 2)
    depth = bodies.camera[:, 2:] * camera.focal_length / used.focal_length
    pixels = used.focal_length * bodies.camera[:, :2] / bodies.camera[:, 2:] + np.asarray(used.principal_point)
    return camera, rotations, ray_directions(pixels, camera) * depth


@dataclass(frozen=True)
class _Problem:
    """bodies: (P, 3) directions of the P people, with their weights (P,). ankles, shoulders: (M, 3) rays; weights:
    (M,), of which the sum over a person is how many independent frames there are. person: (M,) whose they are."""

    bodies: Array
    body_weights: Array
    ankles: Array
    shoulders: Array
    weights: Array
    person: NDArray[np.int64]

    @staticmethod
    def of(people: list[list[_Observation]]) -> _Problem:
        bodies, body_weights, weights = [], [], []
        for observations in people:
            weight = np.array([each.weight for each in observations])
            direction = (np.stack([each.body for each in observations]) * weight[:, None]).sum(0)
            bodies.append(direction / np.linalg.norm(direction))
            upright = np.array([each.upright for each in observations])
            body_weights.append(upright.mean())
            whole = np.array([each.whole for each in observations])
            duration = np.ptp([each.time for each in observations])
            independent = min(duration / STEP + 1, MAX_STEPS) * (upright * whole).mean()
            weights.append(weight * whole / max((weight * whole).sum(), 1e-9) * independent)
        kept = np.concatenate(weights) > 0
        ankles = np.stack([each.ankles for person in people for each in person])
        shoulders = np.stack([each.shoulders for person in people for each in person])
        person = np.repeat(np.arange(len(people)), [len(observations) for observations in people])
        return _Problem(
            np.stack(bodies), np.array(body_weights), ankles[kept], shoulders[kept], np.concatenate(weights)[kept],
            person[kept],
        )  # fmt: skip

    def start(self, pitch: float) -> Array:
        """The unknowns: pitch, roll, and of each person the logarithm of the height from ankles to shoulders over that
        of the camera above the floor."""
        return np.concatenate([[pitch, 0.0], np.full(len(self.bodies), math.log(0.6))])

    def residuals(self, unknowns: Array) -> Array:
        pitch, roll, heights = unknowns[0], unknowns[1], unknowns[2:]
        up = up_direction(pitch, roll)
        bodies = (self.bodies - up) / BODY_STD * np.sqrt(self.body_weights)[:, None]
        # The camera stands at height 1. Ankles stand on the floor, in the direction in which they are seen.
        feet = self.ankles / np.maximum(-self.ankles @ up, 1e-3)[:, None]
        tops = feet + np.exp(heights[self.person])[:, None] * up
        expected = tops / np.maximum(tops[:, 2:], 1e-2)
        length = np.maximum(np.linalg.norm(self.shoulders - self.ankles, axis=1), 1e-6)
        image = (expected - self.shoulders)[:, :2] / length[:, None] / IMAGE_STD * np.sqrt(self.weights)[:, None]
        alike = (heights - heights.mean()) / HEIGHT_STD if len(heights) > 1 else np.zeros(0)
        usual = [pitch / PITCH_STD, roll / ROLL_STD, 0.5 * (heights.mean() - math.log(0.6))]
        return np.concatenate([bodies.ravel(), image.ravel(), alike, usual])


def up_direction(pitch: float, roll: float) -> Array:
    """(3,) up in the frame of a camera that looks down by `pitch` and is turned by `roll` about its optical axis."""
    return np.array([math.sin(roll) * math.cos(pitch), -math.cos(roll) * math.cos(pitch), -math.sin(pitch)])


def uprightness(joints: NDArray[np.floating]) -> Array:
    """(...) how far bodies (..., 45, 3) are upright, in 0..1: knees and hips are straight."""
    hips, knees, ankles = (joints[..., indices, :] for indices in zip(*LEGS, strict=True))
    knee = _bend(hips, knees, ankles).mean(-1)
    hip = _bend(joints[..., [NECK], :], hips, knees).mean(-1)
    return 1 / (1 + (knee / BENT) ** 4) / (1 + (hip / BENT) ** 4)


def _forward(joints: NDArray[np.floating]) -> Array:
    """(..., 3) unit vectors in which the trunks of bodies (..., 45, 3) face."""
    left = joints[..., LEFT_HIP, :] - joints[..., RIGHT_HIP, :]
    ahead = np.cross(left, joints[..., NECK, :] - joints[..., [RIGHT_HIP, LEFT_HIP], :].mean(-2))
    unit: Array = ahead / np.maximum(np.linalg.norm(ahead, axis=-1, keepdims=True), 1e-9)
    return unit


def _bend(start: NDArray[np.floating], middle: NDArray[np.floating], end: NDArray[np.floating]) -> Array:
    """(...) degrees by which ways from (..., 3) over (..., 3) to (..., 3) are not straight."""
    a, b = middle - start, end - middle
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def _floor(observations: Sequence[_Observation], up: Array) -> float:
    """The height of the floor along `up`, below the camera where negative, in metres: the median of the lowest points
    of the feet, weighted by how upright people are."""
    lowest = np.array([(each.feet @ up).min() for each in observations])
    return weighted_median(lowest, np.array([each.weight for each in observations]))


def weighted_median(values: Array, weights: Array) -> float:
    """The least of `values` (N,) up to which half of `weights` (N,) lies."""
    order = np.argsort(values)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(values[order][min(half, len(values) - 1)])
