"""The built-in recovery as a stage of the chain: landmarks of every detected person, and bodies fitted to them.

The network's landmarks in metres are those of a camera that looks straight at the person, so each person is fitted in
such a camera's frame, and the body is rotated back into the frame of the camera in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.joints import NUM_JOINTS
from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import Array, BodyPoints
from fourd_humans.geometry.camera import (
    Intrinsics,
    assumed_intrinsics,
    frame_intrinsics,
    look_at_rotations,
    project,
    ray_directions,
)
from fourd_humans.people import Bodies, Detections, Float, Frame, Mask, Rejected
from fourd_humans.recovery.landmarks.fitting import (
    Fit,
    Targets,
    best_translation,
    fit,
    initial_rotations,
)
from fourd_humans.recovery.landmarks.interpolation import interpolated_people, reaches_into
from fourd_humans.recovery.landmarks.measurements import (
    DOUBTFUL,
    POINT_OF_PIXEL,
    POINTS,
    Measurements,
    interpolated,
    mean_distance,
    measure,
    nearest,
    person_size,
)
from fourd_humans.recovery.landmarks.network import LandmarkNetwork, Landmarks
from fourd_humans.recovery.landmarks.regions import (
    Regions,
    crop,
    hide_others,
    mask_in_frame,
    regions_of,
)
from fourd_humans.recovery.settings import LandmarkSettings

MOST_PARALLEL = 4  # people read at once on a CPU: recovery is then no longer the slowest stage
MIN_FORWARD = 0.05  # cosine from the optical axis: nothing is projected from beside the camera
# Bones, as pairs of COCO keypoints, whose lengths give a person's size in the network's metres.
_BONES = np.array([(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (5, 11), (6, 12)])

T = TypeVar("T")


class LandmarkRecovery:
    """Recovers bodies in batches of frames.

    body_model: what is fitted. intrinsics: the camera of frames of a given (height, width).
    presence_threshold: below it the landmark network sees nobody in the box, and the detection is rejected.
    batch_size: people whose landmarks are found at once; on a CPU, more take a sixth longer each.
    parallel: how many such batches are read at the same time.
    interpolate: find landmarks of people who move evenly in some frames only, and interpolate them in between.
    device, threads: of the network, see `load_session`.
    """

    def __init__(
        self,
        body_model: BodyModel,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        *,
        presence_threshold: float = 0.1,
        batch_size: int = 1,
        parallel: int = 1,
        interpolate: bool = True,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        self.body_model = body_model
        self.intrinsics = intrinsics
        self.presence_threshold = presence_threshold
        self.batch_size = batch_size
        self.interpolate = interpolate
        self.network = LandmarkNetwork(device, threads)
        self.points = BodyPoints(body_model, POINTS)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="landmarks")

    def __call__(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[Detections, Bodies]]:
        """The detections in which somebody is, with masks, and their bodies; the others are added to the rejected."""
        cameras = [frame_intrinsics(self.intrinsics(f.size), f.size, f.focal_length) for f in frames]
        if not any(len(found) for found in detections):
            return [(found, self._nobody(camera)) for found, camera in zip(detections, cameras, strict=True)]
        regions = [regions_of(found.keypoints, found.boxes) for found in detections]
        landmarks = self._landmarks(frames, detections, regions)
        measured = [
            measure(seen, found.keypoints, person_size(region.side))
            for seen, found, region in zip(landmarks, detections, regions, strict=True)
        ]
        assumed = [assumed_intrinsics(camera, frame.size) for camera, frame in zip(cameras, frames, strict=True)]
        fitted = self._fit(measured, regions, assumed, cameras)
        results = []
        for i, (frame, found) in enumerate(zip(frames, detections, strict=True)):
            masks: list[Mask | None] = [
                mask_in_frame(segmentation, to_frame, frame.size)
                for segmentation, to_frame in zip(landmarks[i].segmentation, regions[i].to_frame(), strict=True)
            ]
            bodies = self._bodies(*fitted[i], measured[i], assumed[i], cameras[i], found)
            results.append(self._keep(replace(found, masks=masks), bodies, landmarks[i].presence))
        return results

    def _landmarks(
        self, frames: Sequence[Frame], detections: Sequence[Detections], regions: Sequence[Regions]
    ) -> list[Landmarks]:
        """Frame by frame, of every person the reading of the picture that is nearest to the keypoints.

        Of people who hardly move, only some frames are read, and their landmarks interpolated in between.
        """
        between = interpolated_people(frames, detections) if self.interpolate else {}
        rows = [[row for row in range(len(each)) if (i, row) not in between] for i, each in enumerate(detections)]
        read = self._read_nearest(
            frames,
            [replace(found[chosen], rejected=[]) for found, chosen in zip(detections, rows, strict=True)],
            [_rows(region, chosen) for region, chosen in zip(regions, rows, strict=True)],
        )
        people = {(i, row): _rows(read[i], [k]) for i, chosen in enumerate(rows) for k, row in enumerate(chosen)}
        for (i, row), (before, after) in between.items():
            keypoints = detections[i].keypoints
            assert keypoints is not None
            share, size = (i - before[0]) / (after[0] - before[0]), person_size(regions[i].side[[row]])
            people[i, row] = interpolated(people[before], people[after], share, keypoints[[row]], size)
        return [
            _concatenate([people[i, row] for row in range(len(found))]) if len(found) else read[i]
            for i, found in enumerate(detections)
        ]

    def _read_nearest(
        self, frames: Sequence[Frame], detections: Sequence[Detections], regions: Sequence[Regions]
    ) -> list[Landmarks]:
        """Frame by frame, of every person the reading nearest to the keypoints.

        A back looks much like a front with left and right exchanged and near made far, so every reading is also
        considered mirrored. Where somebody else reaches into a person's box, the network may take them for the person:
        if the reading is far from the keypoints, the person is read again with the others hidden.
        """
        crops = [crop(frame.image, region) for frame, region in zip(frames, regions, strict=True)]
        readings = self._read(np.concatenate(crops), regions)
        again: list[tuple[int, int]] = []  # number of the frame, of the person
        hidden_crops: list[Float] = []
        for i, (found, region) in enumerate(zip(detections, regions, strict=True)):
            if found.keypoints is None:
                continue
            masks, size = readings[i].segmentation, person_size(region.side)
            readings[i] = nearest([readings[i], readings[i].mirrored()], found.keypoints, size)
            overlaps = reaches_into(found.boxes, found.keypoints)
            doubtful = mean_distance(readings[i], found.keypoints, size) > DOUBTFUL
            for row in np.flatnonzero(overlaps.any(1) & doubtful).tolist():
                others = np.flatnonzero(overlaps[row])
                hidden_crops.append(
                    hide_others(crops[i][row], row, others, region, found.boxes, found.keypoints, masks)
                )
                again.append((i, row))
        if again:
            second = self._read(np.stack(hidden_crops), [_rows(regions[i], slice(row, row + 1)) for i, row in again])
            for (i, row), reading in zip(again, second, strict=True):
                keypoints = detections[i].keypoints
                assert keypoints is not None
                person = slice(row, row + 1)
                options = [_rows(readings[i], person), reading, reading.mirrored()]
                best = nearest(options, keypoints[person], person_size(regions[i].side[person]))
                readings[i] = _replace_row(readings[i], row, best)
        return readings

    def _read(self, crops: Float, regions: Sequence[Regions]) -> list[Landmarks]:
        """The landmarks in crops, as many for each of `regions` as it has; the network sees several frames at once."""
        everybody = _concatenate(regions)
        starts = range(0, len(crops), self.batch_size)
        batches = [slice(start, start + self.batch_size) for start in starts]
        read = self._pool.map(lambda batch: self.network(crops[batch], _rows(everybody, batch)), batches)
        return _split(_concatenate(list(read)), [len(each) for each in regions])

    def _fit(
        self,
        measured: Sequence[Measurements],
        regions: Sequence[Regions],
        assumed: Sequence[Intrinsics],
        cameras: Sequence[Intrinsics],
    ) -> list[tuple[Fit, Float]]:
        """Frame by frame, bodies in the frames of the `cameras` in use, and their 45 joints."""
        image_points = [
            normalised(people.pixels, camera, look_at_rotations(region.center, camera))
            for people, region, camera in zip(measured, regions, assumed, strict=True)
        ]
        people = _concatenate(measured)
        landmarks_3d = people.landmarks_3d * _size(people.landmarks_3d, self.points)[:, None, None]
        targets = Targets(landmarks_3d, people.confidence_3d, np.concatenate(image_points), people.confidence_2d)
        whole = fit(self.points, targets, POINT_OF_PIXEL, initial_rotations(self.points, POINTS, landmarks_3d))

        counts = [len(each) for each in regions]
        look_at = np.concatenate(
            [look_at_rotations(r.center, camera) for r, camera in zip(regions, cameras, strict=True)]
        )
        farther = [camera.focal_length / real.focal_length for camera, real in zip(cameras, assumed, strict=True)]
        pelvis = self.points.pelvis(whole.betas)  # the point about which a body rotates
        position = pelvis + whole.translation
        position[:, 2] *= np.repeat(farther, counts)
        rotations = whole.rotations.copy()
        rotations[:, 0] = look_at @ rotations[:, 0]
        in_camera = Fit(rotations, whole.betas, np.einsum("nij,nj->ni", look_at, position) - pelvis)
        joints = np.split(self._joints(rotations, whole.betas), np.cumsum(counts)[:-1])
        return list(zip(_split(in_camera, counts), joints, strict=True))

    def _bodies(
        self,
        fitted: Fit,
        joints: Float,
        measured: Measurements,
        assumed: Intrinsics,
        camera: Intrinsics,
        detections: Detections,
    ) -> Bodies:
        translation = fitted.translation
        if camera != assumed:  # the foreshortening differs, so the translation that fits best differs a little, too
            joint = POINTS[POINT_OF_PIXEL]
            is_joint = joint < NUM_JOINTS  # all but the skeleton's hands
            image_points = normalised(measured.pixels[:, is_joint], camera, np.tile(np.eye(3), (len(detections), 1, 1)))
            translation = best_translation(
                joints[:, joint[is_joint]].astype(float), image_points, measured.confidence_2d[:, is_joint], translation
            )
        in_camera = translation.astype(np.float32)
        rotations = fitted.rotations.astype(np.float32)
        return Bodies(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=fitted.betas.astype(np.float32),
            camera=in_camera,
            joints_3d=joints,
            joints_2d=project(joints, in_camera, camera),
            focal_length=camera.focal_length,
            principal_point=camera.principal_point,
            shape_space=self.body_model.shape_space,
            confidence=None if detections.keypoints is None else measured.agreement.astype(np.float32),
        )

    def _joints(self, rotations: Array, betas: Array) -> Float:
        orient_and_pose, shape = rotations.astype(np.float32), betas.astype(np.float32)
        return self.body_model.joints_of_arrays(orient_and_pose[:, :1], orient_and_pose[:, 1:], shape)

    def _nobody(self, camera: Intrinsics) -> Bodies:
        return Bodies.empty(self.body_model.shape_space, camera.focal_length, camera.principal_point)

    def _keep(self, found: Detections, bodies: Bodies, presence: Float) -> tuple[Detections, Bodies]:
        kept = presence >= self.presence_threshold
        rejected = [
            Rejected(tuple(found.boxes[i].tolist()), float(found.scores[i]), "no landmarks in the box")
            for i in np.flatnonzero(~kept)
        ]
        return replace(found[kept], rejected=[*found.rejected, *rejected]), bodies[kept]


def build(
    settings: LandmarkSettings,
    body_model: BodyModel,
    intrinsics: Callable[[tuple[int, int]], Intrinsics],
    device: str,
) -> LandmarkRecovery:
    """The recovery that the settings ask for. On a CPU it reads several people at once, each in one thread."""
    on_cpu = device == "cpu"
    return LandmarkRecovery(
        body_model,
        intrinsics,
        batch_size=1 if on_cpu else 16,
        parallel=min(torch.get_num_threads(), MOST_PARALLEL) if on_cpu else 1,
        interpolate=settings.interpolate,
        device=device,
        threads=1,
    )


def normalised(pixels: NDArray[np.floating], camera: Intrinsics, rotations: Array) -> Array:
    """(N, L, 2) x / z and y / z of pixels (N, L, 2), in frames whose `rotations` (N, 3, 3) lead to `camera`'s frame."""
    directions = np.einsum("nji,nlj->nli", rotations, ray_directions(pixels, camera))
    points: Array = directions[..., :2] / np.maximum(directions[..., 2:], MIN_FORWARD)
    return points


def _size(landmarks_3d: Array, body: BodyPoints) -> Array:
    """(N,) the mean body's size over that of landmarks (N, K, 3), by the lengths of bones."""
    identity = np.tile(np.eye(3), (1, 24, 1, 1))
    rest = body.pose(identity, np.zeros((1, 10))).points

    def length(points: Array) -> Array:
        return np.linalg.norm(points[:, _BONES[:, 0]] - points[:, _BONES[:, 1]], axis=2)

    return length(rest).sum(1) / np.maximum(length(landmarks_3d).sum(1), 0.1)


# Dataclasses whose fields are all arrays with the person first.


def _concatenate(parts: Sequence[T]) -> T:
    """There must be a part, though it may be of nobody."""
    names = [f.name for f in fields(parts[0])]  # type: ignore[arg-type]
    return type(parts[0])(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _split(whole: T, counts: Sequence[int]) -> list[T]:
    """The people of `whole` in parts of so many each."""
    ends = np.cumsum(counts)
    return [_rows(whole, slice(end - count, end)) for end, count in zip(ends, counts, strict=True)]


def _rows(whole: T, chosen: slice | list[int] | NDArray[np.int64]) -> T:
    names = [f.name for f in fields(whole)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {name: getattr(whole, name)[chosen] for name in names}
    return type(whole)(**changes)


def _replace_row(whole: T, row: int, by: T) -> T:
    """`whole` with the one person of `by` in place of person `row`."""
    return _concatenate([_rows(whole, slice(row)), by, _rows(whole, slice(row + 1, None))])
