"""What the frames of a video tell of its shots: which way is up, and whether the camera moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from fourd_humans.geometry.camera import Intrinsics, assumed_intrinsics
from fourd_humans.motion.gravity import GravityEstimator
from fourd_humans.people import CameraMotion, Gravity, Shot, TrackedFrame

Array = NDArray[np.float64]

MIN_KNOWN = 0.7  # share of a shot's keyframes whose homography must be known
STILL = 0.003  # of the longer side: how far the image's corners move between keyframes of a static camera
STILL_IN_ALL = 0.02  # and between any two frames
RIGID = 0.03  # how far K⁻¹HK of a rotating camera may be from a rotation: the focal length is only assumed

SHOT_CLASSES = (Shot, Gravity, Intrinsics)
"""What the state of a `ShotEstimator` consists of, for `files.state`."""


class ShotEstimator:
    """Takes the frames of a video in order, and gives its shots at the end; memory is bounded by the keyframes.

    >>> ShotEstimator().finish()
    []
    """

    def __init__(self) -> None:
        self._done: list[Shot] = []
        self._current: _Current | None = None

    def update(self, frame: TrackedFrame) -> None:
        """Take the next frame."""
        if self._current is None or frame.is_cut:
            self._end()
            self._current = _Current(frame.index)
        self._current.update(frame)

    def finish(self) -> list[Shot]:
        """All shots, in order."""
        self._end()
        return self._done

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process; of the classes in `SHOT_CLASSES`."""
        current = self._current
        if current is None:
            return {"done": self._done, "current": None}
        values = {each.name: getattr(current, each.name) for each in fields(current)}
        return {"done": self._done, "current": values | {"people": current.people.state()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another estimator was."""
        self._done, self._current = list(state["done"]), None
        if state["current"] is not None:
            self._current = _Current(**{**state["current"], "people": GravityEstimator()})
            self._current.people.restore(state["current"]["people"])

    def _end(self) -> None:
        if self._current is not None:
            self._done.append(self._current.shot())
            self._current = None


@dataclass
class _Current:
    """The shot that is going on. homographies: of its keyframes, from the keyframe before each."""

    first_frame: int
    last_frame: int = 0
    size: tuple[int, int] = (0, 0)
    camera: Intrinsics | None = None
    people: GravityEstimator = field(default_factory=GravityEstimator)
    homographies: list[tuple[int, Array]] = field(default_factory=list)

    def update(self, frame: TrackedFrame) -> None:
        self.last_frame, self.size = frame.index, frame.size
        if len(frame):
            used = Intrinsics(frame.bodies.focal_length, frame.bodies.principal_point)
            self.camera = assumed_intrinsics(used, frame.size)
        if frame.camera_homography is not None:
            self.homographies.append((frame.index, frame.camera_homography))
        self.people.update(frame)

    def shot(self) -> Shot:
        motion, rotations = self._camera_motion()
        rotation_at = None if motion != "rotating" else rotation_function(self.first_frame, rotations)
        kept = tuple((index, tuple(map(tuple, rotation.tolist()))) for index, rotation in rotations)
        return Shot(
            self.first_frame,
            self.last_frame,
            self.people.estimate(rotation_at) if motion != "moving" else None,
            motion,
            kept if motion == "rotating" else (),
        )

    def _camera_motion(self) -> tuple[CameraMotion, list[tuple[int, Array]]]:
        if not self.homographies:
            return "unknown", []
        known = [homography for _, homography in self.homographies if np.isfinite(homography).all()]
        if len(known) < MIN_KNOWN * len(self.homographies):
            return ("moving" if known else "unknown"), []
        steps = [_largest_move(homography, self.size) for homography in known]
        whole = reduce(
            np.matmul, known[::-1]
        )  # multi_dot looks for the best order, which takes the cube of their number
        if np.median(steps) < STILL and max(_largest_move(whole, self.size), max(steps)) < STILL_IN_ALL:
            return "static", []
        if self.camera is None:
            return "unknown", []
        rotations, total, errors = [], np.eye(3), []
        for index, homography in self.homographies:
            if np.isfinite(homography).all():  # else it is taken to have stood still since the last keyframe
                step, error = rotation_of(homography, self.camera)
                total = total @ step.T
                errors.append(error)
            rotations.append((index, total))
        return ("rotating" if np.median(errors) < RIGID else "moving"), rotations


def rotation_of(homography: Array, camera: Intrinsics) -> tuple[Array, float]:
    """The rotation (3, 3) of camera coordinates that comes nearest to a homography (3, 3) of pixels, and how far it is
    from it, as the largest difference of an entry of K⁻¹HK, scaled to determinant 1."""
    f, (x, y) = camera.focal_length, camera.principal_point
    k = np.array([[f, 0, x], [0, f, y], [0, 0, 1]])
    matrix = np.linalg.inv(k) @ homography @ k
    matrix /= np.cbrt(np.linalg.det(matrix))
    u, _, vt = np.linalg.svd(matrix)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return rotation, float(np.abs(matrix - rotation).max())


def rotation_function(first_frame: int, rotations: list[tuple[int, Array]]) -> Callable[[int], Array]:
    """The rotation (3, 3) from any frame's camera to that of `first_frame`, interpolated (slerp) between keyframes."""
    if not rotations:
        return lambda frame: np.eye(3)
    frames = np.array([first_frame, *(index for index, _ in rotations)], float)
    between = Slerp(frames, Rotation.from_matrix(np.stack([np.eye(3), *(matrix for _, matrix in rotations)])))

    def rotation_at(frame: int) -> Array:
        matrix: Array = between(np.clip(frame, frames[0], frames[-1])).as_matrix()
        return matrix

    return rotation_at


def _largest_move(homography: Array, size: tuple[int, int]) -> float:
    """How far the corners of an image of `size` (height, width) move, as a share of the longer side."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], float)
    moved = np.c_[corners, np.ones(4)] @ homography.T
    moved = moved[:, :2] / np.where(np.abs(moved[:, 2:]) > 1e-9, moved[:, 2:], 1e-9)
    return float(np.linalg.norm(moved - corners, axis=1).max() / max(size))
