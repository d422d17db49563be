"""The built-in recovery as a stage of the chain: landmarks of every detected person, and bodies fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fourd_humans.body.joints import NUM_JOINTS
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, crop_camera, project
from fourd_humans.people import Bodies, Detections, Float, Frame, Mask, Rejected
from fourd_humans.recovery.landmarks.fitting import Fit, Targets, fit, moved_to
from fourd_humans.recovery.landmarks.measurements import POINTS, SEEN, Measurements, measure
from fourd_humans.recovery.landmarks.network import LandmarkNetwork, Landmarks, mask_in_frame
from fourd_humans.recovery.landmarks.points import Array, BodyPoints
from fourd_humans.recovery.landmarks.regions import Regions, cut_out, regions_of
from fourd_humans.recovery.landmarks.rows import join, rows, split
from fourd_humans.recovery.landmarks.start import first_rotations
from fourd_humans.recovery.landmarks.view import lens, rays, towards

ASPECT = 192 / 256  # width to height of the box that HMR 2.0 crops around, whose square the crop camera refers to


class LandmarkRecovery:
    """Recovers bodies in batches of frames.

    body_model: what is fitted. intrinsics: the camera of frames of a given (height, width).
    presence_threshold: below it the landmark network sees nobody in the box, and the detection is rejected.
    batch_size: people whose landmarks are found at once; more is slower on a CPU.
    device, threads: of the network, see `onnx.load_session`.
    """

    def __init__(
        self,
        body_model: BodyModel,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        *,
        presence_threshold: float = 0.1,
        batch_size: int = 4,
        device: str = "cpu",
        threads: int = 0,
    ) -> None:
        self.body_model = body_model
        self.intrinsics = intrinsics
        self.presence_threshold = presence_threshold
        self.batch_size = batch_size
        self.network = LandmarkNetwork(device, threads)
        self.points = BodyPoints(body_model, np.array(POINTS))

    def __call__(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[Detections, Bodies]]:
        """The detections in which somebody is, with masks, and their bodies; the others are added to `rejected`."""
        cameras = [self.intrinsics(frame.size) for frame in frames]
        if not any(len(found) for found in detections):
            return [(found, self._nobody(camera)) for found, camera in zip(detections, cameras, strict=True)]
        regions = [regions_of(found.keypoints, found.boxes) for found in detections]
        landmarks = self._landmarks(frames, regions)
        measured = [measure(seen, found.keypoints) for seen, found in zip(landmarks, detections, strict=True)]
        lenses = [lens(camera, frame.size) for camera, frame in zip(cameras, frames, strict=True)]
        fitted = self._fit(measured, regions, lenses, cameras)
        results = []
        for i, (frame, found) in enumerate(zip(frames, detections, strict=True)):
            parts = range(len(found))
            masks: list[Mask | None] = [
                mask_in_frame(landmarks[i].segmentation[row], regions[i], row, frame.size) for row in parts
            ]
            bodies = self._bodies(*fitted[i], measured[i], lenses[i], cameras[i], found.boxes)
            results.append(self._keep(replace(found, masks=masks), bodies, landmarks[i].presence))
        return results

    def _landmarks(self, frames: Sequence[Frame], regions: Sequence[Regions]) -> list[Landmarks]:
        """Frame by frame; the network sees people of several frames at once."""
        everybody = join(regions)
        pictures = np.concatenate([cut_out(frame.image, r) for frame, r in zip(frames, regions, strict=True)])
        starts = range(0, len(pictures), self.batch_size)
        batches = [slice(start, start + self.batch_size) for start in starts]
        found = join([self.network(pictures[batch], rows(everybody, batch)) for batch in batches])
        return split(found, [len(around) for around in regions])

    def _fit(
        self,
        measured: Sequence[Measurements],
        regions: Sequence[Regions],
        lenses: Sequence[Intrinsics],
        cameras: Sequence[Intrinsics],
    ) -> list[tuple[Fit, Float]]:
        """Frame by frame, bodies in the frames of the `cameras` in use, and their 45 joints.

        Everybody is fitted at once, each as a camera with the frame's lens sees them straight on.
        """
        seen = [
            rays(people.pixels, camera, towards(around.center, camera))
            for people, around, camera in zip(measured, regions, lenses, strict=True)
        ]
        people = join(measured)
        metres = people.metres * _size(people.metres, self.points)[:, None, None]
        targets = Targets(metres, people.surety_3d, np.concatenate(seen), people.surety_2d)
        whole = fit(self.points, targets, SEEN, first_rotations(self.points, POINTS, metres))

        counts = [len(around) for around in regions]
        turn = np.concatenate([towards(r.center, camera) for r, camera in zip(regions, cameras, strict=True)])
        farther = [camera.focal_length / real.focal_length for camera, real in zip(cameras, lenses, strict=True)]
        pelvis = self.points.pelvis(whole.betas)  # the point about which a body turns
        away = pelvis + whole.place
        away[:, 2] *= np.repeat(farther, counts)
        rotations = whole.rotations.copy()
        rotations[:, 0] = turn @ rotations[:, 0]
        turned = Fit(rotations, whole.betas, np.einsum("nij,nj->ni", turn, away) - pelvis)
        joints = np.split(self._joints(rotations, whole.betas), np.cumsum(counts)[:-1])
        return list(zip(split(turned, counts), joints, strict=True))

    def _bodies(
        self,
        fitted: Fit,
        joints: Float,
        measured: Measurements,
        seen_through: Intrinsics,
        camera: Intrinsics,
        boxes: Float,
    ) -> Bodies:
        place, betas = fitted.place, fitted.betas
        if camera != seen_through:  # the foreshortening is another, so what fits best stands a little elsewhere
            joint = np.array(POINTS)[SEEN]
            seen = joint < NUM_JOINTS  # all but the skeleton's hands
            targets = rays(measured.pixels[:, seen], camera, np.tile(np.eye(3), (len(boxes), 1, 1)))
            place = moved_to(joints[:, joint[seen]].astype(float), targets, measured.surety_2d[:, seen], place)
        standing = place.astype(np.float32)
        sides = boxes[:, 2:] - boxes[:, :2]
        center, size = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(sides[:, 1], sides[:, 0] / ASPECT)
        rotations = fitted.rotations.astype(np.float32)
        return Bodies(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=betas.astype(np.float32),
            camera_crop=crop_camera(standing, center, size, camera),
            crop_center=center.astype(np.float32),
            crop_size=size,
            camera=standing,
            joints_3d=joints,
            joints_2d=project(joints, standing, camera),
            focal_length=camera.focal_length,
            principal_point=camera.principal_point,
            shape_space=self.body_model.shape_space,
        )

    def _joints(self, rotations: Array, betas: Array) -> Float:
        turns, shape = rotations.astype(np.float32), betas.astype(np.float32)
        return self.body_model.joints_of_arrays(turns[:, :1], turns[:, 1:], shape)

    def _nobody(self, camera: Intrinsics) -> Bodies:
        return Bodies.empty(self.body_model.shape_space, camera.focal_length, camera.principal_point)

    def _keep(self, found: Detections, bodies: Bodies, presence: Float) -> tuple[Detections, Bodies]:
        kept = presence >= self.presence_threshold
        rejected = [
            Rejected(tuple(found.boxes[i].tolist()), float(found.scores[i]), "no landmarks were found in the box")
            for i in np.flatnonzero(~kept)
        ]
        return replace(found[kept], rejected=[*found.rejected, *rejected]), bodies[kept]


# Bones, as numbers of COCO keypoints, that tell a person's size in the network's metres.
_BONES = np.array([(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (5, 11), (6, 12)])


def _size(metres: Array, body: BodyPoints) -> Array:
    """(N,) how many times as large the mean body is as the landmarks, by the lengths of its bones."""
    identity = np.tile(np.eye(3), (1, 24, 1, 1))
    rest = body.pose(identity, np.zeros((1, 10))).points

    def length(points: Array) -> Array:
        return np.linalg.norm(points[:, _BONES[:, 0]] - points[:, _BONES[:, 1]], axis=2)

    return length(rest).sum(1) / np.maximum(length(metres).sum(1), 0.1)
