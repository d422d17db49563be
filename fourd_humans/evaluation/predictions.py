"""Predictions for a dataset's people: from arrays, from result files, or from bodies recovered in given boxes.

Points are numbered as in `datasets.people`: the 45 joints, and after them SMPL's 24.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.people import COMMON_14, NUM_POINTS, SKELETON_24, AnnotatedPeople
from fourd_humans.files.npz import read_npz
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.people import Bodies, TrackedFrame
from fourd_humans.results import load_tracklets

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
    points_3d, points_2d = _nothing_predicted(len(people))
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


def images_of(people: AnnotatedPeople) -> dict[str, list[int]]:
    """The images of the people, and the indices of the people in each."""
    indices: dict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(people.images):
        indices[image].append(index)
    return indices


def from_given_boxes(
    people: AnnotatedPeople, frames: Iterable[TrackedFrame], body_model: BodyModel | None
) -> Predictions:
    """From bodies recovered in the annotated boxes.

    frames: one for each of `images_of(people)`; a person's id is the number, from 1, of the box among the image's.
    """
    points_3d, points_2d = _nothing_predicted(len(people))
    for indices, frame in zip(images_of(people).values(), frames, strict=True):
        target = np.asarray(indices)[frame.ids - 1]
        points_3d[target], points_2d[target] = points_of(frame.bodies, body_model)
    return Predictions(tuple(range(NUM_POINTS)), points_3d, points_2d)


@torch.inference_mode()
def points_of(bodies: Bodies, body_model: BodyModel | None) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """All points of N bodies: (N, 69, 3) metres in each body's own position, (N, 69, 2) pixels (of the 45 only)."""
    points_3d, points_2d = _nothing_predicted(len(bodies))
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


def _nothing_predicted(count: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(N, 69, 3) and (N, 69, 2) of NaN."""
    return np.full((count, NUM_POINTS, 3), np.nan), np.full((count, NUM_POINTS, 2), np.nan)
