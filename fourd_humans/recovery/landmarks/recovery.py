"""The built-in recovery as a stage of the chain: landmarks of every detected person, and bodies fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from fourd_humans.body.camera import Intrinsics, crop_camera, project
from fourd_humans.body.joints import COCO_17, OPENPOSE_NAMES
from fourd_humans.body.model import BodyModel
from fourd_humans.people import Bodies, Detections, Dropped, Float, Frame
from fourd_humans.recovery.landmarks.fitting import Fit, Targets, fit
from fourd_humans.recovery.landmarks.network import LandmarkNetwork, Landmarks, mask_in_frame
from fourd_humans.recovery.landmarks.points import LEFT_HAND, RIGHT_HAND, Array, BodyPoints
from fourd_humans.recovery.landmarks.regions import Regions, cut_out, regions_of
from fourd_humans.recovery.landmarks.rows import join, rows, split
from fourd_humans.recovery.landmarks.start import first_rotations

ASPECT = 192 / 256  # width to height of the box that HMR 2.0 crops around, whose square the crop camera refers to

# BlazePose's landmark (or the mean of two) -> the point of the body.
_FACE_AND_FEET = {
    "left_heel": (29,), "right_heel": (30,), "left_big_toe": (31,), "right_big_toe": (32,),
}  # fmt: skip
_COCO = (
    (0,),
    (2,),
    (5,),
    (7,),
    (8,),
    (11,),
    (12,),
    (13,),
    (14,),
    (15,),
    (16,),
    (23,),
    (24,),
    (25,),
    (26,),
    (27,),
    (28,),
)
_LANDMARKS = (
    *zip(COCO_17, _COCO, strict=True),
    *((OPENPOSE_NAMES.index(name), which) for name, which in _FACE_AND_FEET.items()),
    (LEFT_HAND, (17, 19)),
    (RIGHT_HAND, (18, 20)),
)
POINTS = [point for point, _ in _LANDMARKS]
# The limbs and trunk decide; the face turns the head, hands and feet turn wrists and ankles.
IMPORTANCE = np.array([0.3] * 5 + [1.0] * 12 + [0.5] * 4 + [0.4] * 2)
SEEN = np.concatenate([np.arange(len(POINTS)), np.arange(len(COCO_17))])  # in the picture: landmarks, then keypoints
KEYPOINTS_COUNT = 0.7  # the detector's keypoints beside the landmark network's, in the picture


class LandmarkRecovery:
    """Recovers bodies in batches of frames.

    body_model: what is fitted. intrinsics: the camera of frames of a given (height, width).
    presence_threshold: below it the landmark network sees nobody in the box, and the detection is dropped.
    batch_size: people whose landmarks are found at once. device, threads: of the network, see `onnx.load_session`.
    """

    def __init__(
        self,
        body_model: BodyModel,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        *,
        presence_threshold: float = 0.3,
        batch_size: int = 16,
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
        """The detections in which somebody is, with masks, and their bodies; the others are added to `dropped`."""
        cameras = [self.intrinsics(frame.size) for frame in frames]
        if not any(len(found) for found in detections):
            return [(found, self._nobody(camera)) for found, camera in zip(detections, cameras, strict=True)]
        regions = [regions_of(found.keypoints, found.boxes) for found in detections]
        landmarks = self._landmarks(frames, regions)
        fitted = self._fit(landmarks, detections, cameras)
        results = []
        for frame, found, around, seen, body, camera in zip(
            frames, detections, regions, landmarks, fitted, cameras, strict=True
        ):
            masks = [mask_in_frame(seen.segmentation[i], around, i, frame.size) for i in range(len(found))]
            bodies = self._bodies(body, found, camera)
            results.append(self._keep(replace(found, masks=masks), bodies, seen.presence))
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
        self, landmarks: Sequence[Landmarks], detections: Sequence[Detections], cameras: Sequence[Intrinsics]
    ) -> list[Fit]:
        """Frame by frame; everybody is fitted at once."""
        people = zip(landmarks, detections, cameras, strict=True)
        targets = join([targets_of(seen, found.keypoints, camera, self.points) for seen, found, camera in people])
        start = first_rotations(self.points, POINTS, targets.metres)
        return split(fit(self.points, targets, SEEN, start), [len(found) for found in detections])

    def _bodies(self, fitted: Fit, found: Detections, camera: Intrinsics) -> Bodies:
        rotations, betas = fitted.rotations.astype(np.float32), fitted.betas.astype(np.float32)
        device = self.body_model.J_template.device
        with torch.inference_mode():
            parameters = (torch.from_numpy(a).to(device) for a in (rotations[:, :1], rotations[:, 1:], betas))
            joints = self.body_model.joints(*parameters).cpu().numpy()
        place = fitted.place.astype(np.float32)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        center, size = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2, np.maximum(sides[:, 1], sides[:, 0] / ASPECT)
        return Bodies(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=betas,
            camera_crop=crop_camera(place, center, size, camera),
            crop_center=center.astype(np.float32),
            crop_size=size.astype(np.float32),
            camera=place,
            joints_3d=joints,
            joints_2d=project(joints, place, camera),
            focal_length=camera.focal_length,
            principal_point=camera.principal_point,
            shape_space=self.body_model.shape_space,
        )

    def _nobody(self, camera: Intrinsics) -> Bodies:
        return Bodies.empty(self.body_model.shape_space, camera.focal_length, camera.principal_point)

    def _keep(self, found: Detections, bodies: Bodies, presence: Float) -> tuple[Detections, Bodies]:
        kept = presence >= self.presence_threshold
        dropped = [
            Dropped(tuple(found.boxes[i].tolist()), float(found.scores[i]), "no landmarks were found in the box")
            for i in np.flatnonzero(~kept)
        ]
        return replace(found[kept], dropped=[*found.dropped, *dropped]), bodies[kept]


def targets_of(landmarks: Landmarks, keypoints: Float | None, camera: Intrinsics, body: BodyPoints) -> Targets:
    """What the fit aims at: the network's landmarks in space, made as large as the body; in the picture, its landmarks
    and the detector's keypoints (N, 17, 3)."""
    metres = np.stack([landmarks.metres[:, list(which)].mean(1) for _, which in _LANDMARKS], 1).astype(float)
    pixels = np.stack([landmarks.pixels[:, list(which)].mean(1) for _, which in _LANDMARKS], 1).astype(float)
    visible = np.stack([landmarks.visibility[:, list(which)].min(1) for _, which in _LANDMARKS], 1).astype(float)
    surety = visible * IMPORTANCE
    if keypoints is None:
        keypoints = np.zeros((len(metres), len(COCO_17), 3), np.float32)
    score = np.clip(keypoints[..., 2], 0, 1) * IMPORTANCE[: len(COCO_17)] * KEYPOINTS_COUNT
    pixels = np.concatenate([pixels, keypoints[..., :2]], 1)
    return Targets(
        metres=metres * _size(metres, body)[:, None, None],
        surety_3d=np.maximum(surety, 0.02),
        rays=(pixels - np.asarray(camera.principal_point)) / camera.focal_length,
        surety_2d=np.concatenate([surety, score], 1),
    )


# Bones, as numbers of COCO keypoints, that tell a person's size in the network's metres.
_BONES = np.array([(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (5, 11), (6, 12)])


def _size(metres: Array, body: BodyPoints) -> Array:
    """(N,) how many times as large the mean body is as the landmarks, by the lengths of its bones."""
    identity = np.tile(np.eye(3), (1, 24, 1, 1))
    rest = body.pose(identity, np.zeros((1, 10))).points

    def length(points: Array) -> Array:
        return np.linalg.norm(points[:, _BONES[:, 0]] - points[:, _BONES[:, 1]], axis=2)

    return length(rest).sum(1) / np.maximum(length(metres).sum(1), 0.1)
