"""What the chain reaches on the demo scene, where everything is known: who is who, where, and in which pose.

`given` hands the true boxes and bodies of the people in sight to the chain in place of its detector and recovery, so
that only appearance, tracking and completion are measured. Nothing is tuned to the scene.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.people import COMMON_14, PELVIS_JOINT
from fourd_humans.evaluation.pose import mpjpe, pa_mpjpe
from fourd_humans.evaluation.tracking import FrameBoxes, TrackingScores, evaluate_tracking, scores
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.people import Bodies, Detections, Frame, TrackedFrame

IN_SIGHT = 0.25  # share of the body's pixels from which a person is given, and is to be found


@dataclass(frozen=True)
class Truth:
    """The ground truth of a scene, for T frames and P people; the arrays as `demo_scene.make_demo_scene` writes them.

    in_sight: (T, P) enough is seen of the person to be found. present: (T, P) in the picture, be it hidden.
    """

    arrays: dict[str, NDArray[Any]]
    intrinsics: Intrinsics
    size: tuple[int, int]
    shape_space: str

    @property
    def in_sight(self) -> NDArray[np.bool_]:
        return self.arrays["present"] & (self.arrays["visibility"] >= IN_SIGHT)

    @property
    def hidden(self) -> NDArray[np.bool_]:
        """(T, P) in the picture but out of sight, between two frames in sight."""
        seen = self.in_sight
        before, after = np.cumsum(seen, axis=0) > 0, np.cumsum(seen[::-1], axis=0)[::-1] > 0
        return self.arrays["present"] & ~seen & before & after

    def longest_hidden(self) -> NDArray[np.int64]:
        """(P,) the most frames in a row that each person is hidden."""
        longest = np.zeros(self.hidden.shape[1], np.int64)
        run = longest.copy()
        for row in self.hidden:
            run = np.where(row, run + 1, 0)
            longest = np.maximum(longest, run)
        return longest

    def boxes(self) -> list[FrameBoxes]:
        """The people in sight as ground truth for tracking; where others are in the picture counts as not annotated."""
        frames = []
        for t, seen in enumerate(self.in_sight):
            all_boxes, others = self.arrays["boxes"][t].astype(float), self.arrays["present"][t] & ~seen
            frames.append(FrameBoxes(self.arrays["ids"][seen].astype(np.int64), all_boxes[seen], all_boxes[others]))
        return frames


def read_truth(path: Path | str) -> Truth:
    """The npz of a demo scene. Raises: UsageError or FourDHumansError where it is not there, or not one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        height, width = (int(n) for n in arrays["size"])
        x, y = (float(n) for n in arrays["principal_point"])
        intrinsics = Intrinsics(float(arrays["focal_length"]), (x, y))
        return Truth(arrays, intrinsics, (height, width), str(arrays["shape_space"]))
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}") from error
    except (OSError, ValueError, KeyError) as error:
        raise FourDHumansError(f"{path} is no ground truth of a demo scene: {error}") from error


class GroundTruthStages:
    """Detector and recovery that know the truth: `detect` gives the people in sight, `recover` their bodies."""

    def __init__(self, truth: Truth) -> None:
        self.truth = truth

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """True boxes of whole bodies, also of parts that are hidden or outside; `annotations` are rows of the truth."""
        found = []
        for frame in frames:
            people = np.flatnonzero(self.truth.in_sight[frame.index])
            boxes = self.truth.arrays["boxes"][frame.index][people].astype(np.float32)
            found.append(Detections(boxes, np.ones(len(people), np.float32), annotations=people.tolist()))
        return found

    def recover(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[Detections, Bodies]]:
        return [(found, self._bodies(frame.index, found)) for frame, found in zip(frames, detections, strict=True)]

    def _bodies(self, t: int, found: Detections) -> Bodies:
        arrays, intrinsics, rows = self.truth.arrays, self.truth.intrinsics, list(found.annotations or [])
        return Bodies(
            global_orient=arrays["global_orient"][t][rows],
            body_pose=arrays["body_pose"][t][rows],
            betas=arrays["betas"][rows],
            camera=arrays["camera"][t][rows],
            joints_3d=arrays["joints_3d"][t][rows],
            joints_2d=arrays["joints_2d"][t][rows],
            focal_length=intrinsics.focal_length,
            principal_point=intrinsics.principal_point,
            shape_space=self.truth.shape_space,
        )


@dataclass(frozen=True)
class SceneScores:
    """tracking: of the people seen. identities: which result ids each true person had while in sight, most frequent
    first. hidden: person-frames out of sight between two in sight; completed: how many of them were filled in under the
    person's identity. completion_error: MPJPE of these in mm, and held_error what holding the last pose in sight would
    have had there; completion_place: how far the body was from its place, in metres. pose_error, pose_error_aligned:
    MPJPE and PA-MPJPE in mm of the people seen. NaN where there is nothing to measure.
    """

    tracking: TrackingScores
    identities: dict[int, list[int]]
    hidden: int
    completed: int
    completion_error: float
    held_error: float
    completion_place: float
    pose_error: float
    pose_error_aligned: float


def measure(frames: Iterable[TrackedFrame], truth: Truth) -> SceneScores:
    """Measure a run over the scene's video.

    Raises: FourDHumansError if the run has other frames than the scene.
    """
    results = list(frames)
    if [frame.index for frame in results] != list(range(len(truth.in_sight))):
        raise FourDHumansError(f"the scene has {len(truth.in_sight)} frames, the run {len(results)}")
    found = [FrameBoxes(f.ids[f.seen].astype(np.int64), f.detections.boxes[f.seen].astype(float)) for f in results]
    counts = evaluate_tracking(truth.boxes(), found)

    ids: dict[int, Counter[int]] = {person: Counter() for person in range(truth.in_sight.shape[1])}
    pose_errors: list[NDArray[np.float64]] = []
    for t, frame in enumerate(results):
        people, rows = np.flatnonzero(truth.in_sight[t]), np.flatnonzero(frame.seen)
        overlap = intersection_over_union(truth.arrays["boxes"][t][people], frame.detections.boxes[rows])
        for person, overlaps in zip(people.tolist(), overlap, strict=True):
            if overlaps.size and overlaps.max() >= 0.5:
                row = rows[overlaps.argmax()]
                ids[person][int(frame.ids[row])] += 1
                pose_errors.append(_pose_errors(frame.bodies.joints_3d[row], truth.arrays["joints_3d"][t, person]))

    errors, held, places = [], [], []
    for t, person in np.argwhere(truth.hidden):
        own = ids[person].most_common(1)
        rows = np.flatnonzero(results[t].ids == own[0][0]) if own else np.zeros(0, np.int64)
        if len(rows):
            bodies, true_joints = results[t].bodies, truth.arrays["joints_3d"]
            last = np.flatnonzero(truth.in_sight[:t, person])[-1]
            errors.append(_pose_errors(bodies.joints_3d[rows[0]], true_joints[t, person])[0])
            held.append(_pose_errors(true_joints[last, person], true_joints[t, person])[0])
            places.append(float(np.linalg.norm(bodies.camera[rows[0]] - truth.arrays["camera"][t, person])))
    seen_errors = np.array(pose_errors).reshape(-1, 2)
    return SceneScores(
        tracking=scores(counts),
        identities={int(truth.arrays["ids"][p]): [i for i, _ in had.most_common()] for p, had in ids.items()},
        hidden=int(truth.hidden.sum()),
        completed=len(errors),
        completion_error=_mean(errors),
        held_error=_mean(held),
        completion_place=_mean(places),
        pose_error=_mean(seen_errors[:, 0]),
        pose_error_aligned=_mean(seen_errors[:, 1]),
    )


def _pose_errors(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """MPJPE and PA-MPJPE of the 14 common joints, in mm: (2,). predicted, truth: (45, 3) metres."""
    root = [joints[list(PELVIS_JOINT)] for joints in (predicted, truth)]
    own, true = predicted[list(COMMON_14)], truth[list(COMMON_14)]
    return np.array([mpjpe(own - root[0], true - root[1]), pa_mpjpe(own, true)])


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
