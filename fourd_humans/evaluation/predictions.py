"""Predictions for a dataset's people, row by row: from arrays, from result files, or by running a model.

Points are numbered as in `datasets.people`: the 45 joints, and after them SMPL's 24.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans import stages
from fourd_humans.body.model import BodyModel
from fourd_humans.config import Config, to_yaml
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.people import COMMON_14, NUM_POINTS, SKELETON_24, AnnotatedPeople
from fourd_humans.files.npz import read_npz
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.people import Bodies, Detections, Frame, TrackedFrame
from fourd_humans.results import load_tracklets
from fourd_humans.video.images import read_image

IMAGES_AT_ONCE = 32  # images between two savings of a run
ENOUGH_OVERLAP = 0.5  # of a tracked box with an annotated one, to be that person's


@dataclass(frozen=True)
class Predictions:
    """For N people: joints_3d (N, P, 3) metres, keypoints_2d (N, P, 2) pixels, vertices (N, V, 3) metres; or None.

    points: the number of each of the P points. What was not predicted is NaN.
    """

    points: tuple[int, ...]
    joints_3d: NDArray[np.floating] | None = None
    keypoints_2d: NDArray[np.floating] | None = None
    vertices: NDArray[np.floating] | None = None


def read_arrays(path: Path, people: AnnotatedPeople) -> Predictions:
    """From a ``.npz`` with ``joints_3d`` (N, P, 3), ``keypoints_2d`` (N, P, 2) or ``vertices``, in the dataset's order.

    P may be 14 (the common joints), 24 (SMPL's), 44, 45, 69 (45 and SMPL's 24), or as many as the dataset annotates.
    Raises: FourDHumansError naming the file, also where it has more or fewer people than the dataset.
    """
    arrays = {k: v for k, v in read_npz(path).items() if k in ("joints_3d", "keypoints_2d", "vertices")}
    if not arrays:
        raise FourDHumansError(f"{path} has none of joints_3d, keypoints_2d and vertices")
    for key, width in (("joints_3d", 3), ("keypoints_2d", 2), ("vertices", 3)):
        values = arrays.get(key)
        if values is not None and (values.ndim != 3 or values.shape[2] < width or len(values) != len(people)):
            raise FourDHumansError(
                f"{path}: its {key} are {values.shape}, but {people.name} has {len(people)} people, with {width} "
                "numbers a point"
            )
    counts = {arrays[key].shape[1] for key in ("joints_3d", "keypoints_2d") if key in arrays}
    if len(counts) > 1:
        raise FourDHumansError(f"{path}: its 2D and 3D joints are not the same number, {sorted(counts)}")
    known = {14: COMMON_14, 24: SKELETON_24, 44: range(44), 45: range(45), NUM_POINTS: range(NUM_POINTS)}
    known[len(people.points)] = people.points
    count = next(iter(counts), NUM_POINTS)
    if count not in known:
        raise FourDHumansError(f"{path}: which joints its {count} are is not known; give one of {sorted(known)}")
    flat = arrays.get("keypoints_2d")
    return Predictions(
        tuple(known[count]), arrays.get("joints_3d"), None if flat is None else flat[..., :2], arrays.get("vertices")
    )


def match_results(
    path: Path, people: AnnotatedPeople, body_model: BodyModel | None, *, completed: bool = False
) -> Predictions:
    """From result files: in every frame, each annotated person gets the tracked one whose box overlaps best, by half.

    path: a folder with a ``.pkl`` for each sequence, under the name of its folder of images, or the only one.
    body_model: that of the results; without it SMPL's 24 joints stay unknown. completed: hidden people count too.
    Raises: UsageError where a sequence's file is missing; FourDHumansError where a frame is.
    """
    rows_of: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, image in enumerate(people.images):
        rows_of[PurePosixPath(image).parent.name][PurePosixPath(image).name].append(row)
    points_3d = np.full((len(people), NUM_POINTS, 3), np.nan)
    points_2d = np.full((len(people), NUM_POINTS, 2), np.nan)
    if "" in rows_of:
        raise UsageError(f"the images of {people.name} are in no folders of sequences; give predictions as .npz")
    for sequence, frames in rows_of.items():
        file = path if path.is_file() else path / f"{sequence}.pkl"
        if path.is_file() and len(rows_of) > 1:
            raise UsageError(f"{people.name} has {len(rows_of)} sequences: give a folder with a result file for each")
        tracked = {PurePosixPath(frame.name).stem: frame for frame in load_tracklets(file)}
        for name, rows in frames.items():
            frame = tracked.get(PurePosixPath(name).stem)
            if frame is None:
                raise FourDHumansError(f"{file} has no frame '{name}' ({len(tracked)} frames in all)")
            chosen = np.arange(len(frame)) if completed else np.flatnonzero(frame.seen)
            overlap = intersection_over_union(people.boxes[rows], frame.detections.boxes[chosen])
            annotated, found = linear_sum_assignment(-overlap)
            good = overlap[annotated, found] >= ENOUGH_OVERLAP
            target = np.asarray(rows)[annotated[good]]
            points_3d[target], points_2d[target] = _points(frame, chosen[found[good]], body_model)
    return Predictions(tuple(range(NUM_POINTS)), points_3d, points_2d)


def recover(
    people: AnnotatedPeople, config: Config, output: Path, on_part: Callable[[int, int], None] = lambda done, of: None
) -> Predictions:
    """Run the configuration's recovery on the annotated boxes.

    Parts of the work are kept in `output` as they are done, so that an interrupted run goes on where it was.
    on_part: told how many people are done, of how many.
    Raises: UsageError where `output` has parts of another run; FourDHumansError where an image cannot be read.
    """
    _claim(output, people, config)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(people.images):
        rows_of[image].append(row)
    images = list(rows_of)
    points_3d = np.full((len(people), NUM_POINTS, 3), np.nan)
    points_2d = np.full((len(people), NUM_POINTS, 2), np.nan)
    stage: _Recovery | None = None
    done = 0
    for start in range(0, len(images), IMAGES_AT_ONCE):
        part = output / f"part_{start // IMAGES_AT_ONCE:05d}.npz"
        rows = [row for image in images[start : start + IMAGES_AT_ONCE] for row in rows_of[image]]
        if not part.exists():
            stage = stage or _Recovery(config)
            found = stage(people, [(image, rows_of[image]) for image in images[start : start + IMAGES_AT_ONCE]])
            unfinished = part.with_suffix(".unfinished.npz")
            np.savez(unfinished, joints_3d=found[0], keypoints_2d=found[1])
            os.replace(unfinished, part)
        with np.load(part, allow_pickle=False) as stored:
            points_3d[rows], points_2d[rows] = stored["joints_3d"], stored["keypoints_2d"]
        done += len(rows)
        on_part(done, len(people))
    return Predictions(tuple(range(NUM_POINTS)), points_3d, points_2d)


class _Recovery:
    """The recovery stage of a configuration, loaded when it is first needed."""

    def __init__(self, config: Config) -> None:
        device = stages.choose_device(config)
        self.body_model = stages.make_body_model(config, device)
        self.recover = stages.make_recovery(config, self.body_model, device)

    def __call__(
        self, people: AnnotatedPeople, images: Sequence[tuple[str, list[int]]]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """(K, 69, 3) and (K, 69, 2) of the people in some images, NaN where the stage refuses a box."""
        frames = []
        detections = []
        for index, (image, rows) in enumerate(images):
            frames.append(Frame(index, 0.0, image, read_image(people.folder / image)))
            boxes = people.boxes[rows].astype(np.float32)
            detections.append(Detections(boxes, np.ones(len(rows), np.float32), annotations=list(range(len(rows)))))
        parts_3d, parts_2d = [], []
        for (_, rows), (kept, bodies) in zip(images, self.recover(frames, detections), strict=True):
            points_3d, points_2d = (
                np.full((len(rows), NUM_POINTS, 3), np.nan),
                np.full((len(rows), NUM_POINTS, 2), np.nan),
            )
            places = list(kept.annotations or [])
            points_3d[places], points_2d[places] = points_of(bodies, self.body_model)
            parts_3d.append(points_3d)
            parts_2d.append(points_2d)
        return np.concatenate(parts_3d), np.concatenate(parts_2d)


@torch.inference_mode()
def points_of(bodies: Bodies, body_model: BodyModel | None) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """All points of N bodies: (N, 69, 3) metres in each body's own position, (N, 69, 2) pixels (of the 45 only)."""
    points_3d = np.full((len(bodies), NUM_POINTS, 3), np.nan)
    points_2d = np.full((len(bodies), NUM_POINTS, 2), np.nan)
    points_3d[:, : bodies.joints_3d.shape[1]] = bodies.joints_3d
    points_2d[:, : bodies.joints_2d.shape[1]] = bodies.joints_2d
    if body_model is not None and len(bodies):
        device = body_model.J_template.device
        parameters = (bodies.global_orient, bodies.body_pose, bodies.betas)
        skeleton = body_model.skeleton(*(torch.from_numpy(np.ascontiguousarray(p)).to(device) for p in parameters))
        points_3d[:, list(SKELETON_24)] = skeleton.cpu().numpy()
    return points_3d, points_2d


def _points(
    frame: TrackedFrame, rows: NDArray[np.int64], body_model: BodyModel | None
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    bodies = frame.bodies[rows]
    if body_model is not None and len(bodies) and bodies.shape_space != body_model.shape_space:
        raise FourDHumansError(
            f"the results have the betas of '{bodies.shape_space}', but the body model is '{body_model.shape_space}'"
        )
    return points_of(bodies, body_model)


def _claim(output: Path, people: AnnotatedPeople, config: Config) -> None:
    """Make `output` the folder of this run, or check that it is. Raises: UsageError where it is another's."""
    sample = hashlib.sha256(people.boxes.tobytes() + "\n".join(people.images).encode()).hexdigest()
    own = {"dataset": people.name, "people": len(people), "sample": sample, "configuration": to_yaml(config)}
    path = output / "run.json"
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != own:
            raise UsageError(f"{output} holds a run with other settings or data; choose another --output folder")
        return
    output.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8")
