"""Fits the people of a batch of frames, each in the frame of a camera that looks straight at their box.

Where the focal length is unknown the one of `assumed_intrinsics` is used for the fit, as by the built-in recovery: with
the released convention's nothing would be foreshortened. The bodies are then brought into the camera in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.body.tensor_points import TensorBodyPoints
from fourd_humans.geometry.camera import (
    Intrinsics,
    assumed_intrinsics,
    look_at_rotations,
    project,
    ray_directions,
)
from fourd_humans.people import Bodies, Detections, Float, Frame
from fourd_humans.recovery.landmarks.fitting import best_translation
from fourd_humans.recovery.landmarks.recovery import normalised
from fourd_humans.training.pseudo_gt.fitting import FitResult, FitSettings, FittedBodies, Keypoints, OnStage, fit

Array = NDArray[np.float64]

HIPS = (11, 12)  # of COCO's keypoints
RELEASED_SIGMA = 100.0  # pixels, of Geman and McClure's function in the released reprojection loss
RELEASED_SIDE = 1000.0  # pixels, of the picture's longer side there


@dataclass(frozen=True)
class PeopleFit:
    """The fits of N people of a frame.

    bodies: in the camera in use. errors: (N,) mean distance of the joints to the keypoints, over the box's longer side,
    weighted by confidence. start_errors: (N,) the same of the regressor's body. reprojection_losses: (N,) as the
    released fits have them. joints_2d: (N, 17, 2) the fitted COCO joints, pixels.
    """

    bodies: Bodies
    errors: Float
    start_errors: Float
    reprojection_losses: Float
    joints_2d: Float


class PeopleFitter:
    """Fits `body_model` to COCO keypoints of detected people, on `device`.

    min_confidence: keypoints below it do not count.
    """

    def __init__(
        self,
        body_model: BodyModel,
        device: torch.device | str = "cpu",
        settings: FitSettings | None = None,
        *,
        min_confidence: float = 0.3,
    ) -> None:
        self.device = torch.device(device)
        self.dtype = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        self.body_model = body_model
        self.points = TensorBodyPoints(body_model, np.array(COCO_17), self.device, self.dtype)
        self.settings = settings or FitSettings()
        self.min_confidence = min_confidence

    def __call__(
        self,
        frames: Sequence[Frame],
        detections: Sequence[Detections],
        bodies: Sequence[Bodies],
        on_stage: OnStage = lambda name, bodies: None,
    ) -> list[PeopleFit]:
        """Per frame, the fits of its detections, which need keypoints, starting from `bodies`.

        A person whose start is not finite has a fit that is not finite either.
        """
        people = [
            _Views(frame, found, start, self.min_confidence)
            for frame, found, start in zip(frames, detections, bodies, strict=True)
        ]
        counts = [len(found) for found in detections]
        if not sum(counts):
            return [self._empty(start) for start in bodies]
        pelvis = [self.body_model.pelvis_of(start.betas) for start in bodies]
        starts = [view.start(at) for view, at in zip(people, pelvis, strict=True)]
        keypoints = Keypoints(*(self._tensor([getattr(v, name) for v in people]) for name in _Views.MEASURED))
        start = FittedBodies(*(self._tensor([getattr(s, name) for s in starts]) for name in _Start.FIELDS))
        whole = fit(self.points, keypoints, start, self.settings, on_stage)
        return [self._in_camera(view, part) for view, part in zip(people, _split(whole, counts), strict=True)]

    def _in_camera(self, view: _Views, found: FitResult) -> PeopleFit:
        """The fits of one frame, from their own cameras' frames into that of the camera in use."""
        if not len(view.box_size):
            return self._empty(view.bodies)
        rotations, betas, translation = (
            part.cpu().double().numpy()
            for part in (found.bodies.rotations, found.bodies.betas, found.bodies.translation)
        )
        pixels = view.to_pixels(found.joints.cpu().double().numpy())
        pelvis = self.body_model.pelvis_of(betas.astype(np.float32)).astype(float)
        position = (pelvis + translation) * [1, 1, view.camera.focal_length / view.assumed.focal_length]
        look_at = look_at_rotations(view.center, view.camera)
        rotations[:, 0] = look_at @ rotations[:, 0]
        parameters = [a.astype(np.float32) for a in (rotations[:, :1], rotations[:, 1:], betas)]
        joints = self.body_model.joints_of_arrays(*parameters)
        camera = np.einsum("nij,nj->ni", look_at, position) - pelvis
        targets = normalised(pixels, view.camera, np.tile(np.eye(3), (len(betas), 1, 1)))
        camera = best_translation(joints[:, COCO_17].astype(float), targets, np.ones(targets.shape[:2]), camera)
        fitted = replace(
            view.bodies,
            global_orient=parameters[0],
            body_pose=parameters[1],
            betas=parameters[2],
            camera=np.where(view.is_usable[:, None], camera, np.nan).astype(np.float32),
            joints_3d=joints,
            joints_2d=project(joints, camera, view.camera),
            texture=None,
            camera_crop=None,
            crop_center=None,
            crop_size=None,
        )
        errors, start_errors = (_mean_distance(points, view) for points in (pixels, view.bodies.joints_2d[:, COCO_17]))
        return PeopleFit(fitted, errors, start_errors, _released_loss(pixels, view), pixels.astype(np.float32))

    def _empty(self, bodies: Bodies) -> PeopleFit:
        nothing = np.zeros(0, np.float32)
        return PeopleFit(bodies, nothing, nothing, nothing, np.zeros((0, len(COCO_17), 2), np.float32))

    def _tensor(self, parts: Sequence[Array]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate(parts), device=self.device, dtype=self.dtype)


@dataclass(frozen=True)
class _Start:
    """rotations: (N, 24, 3, 3). betas: (N, 10). translation: (N, 3); in the frames of the cameras of `_Views`."""

    FIELDS = ("rotations", "betas", "translation")

    rotations: Array
    betas: Array
    translation: Array


class _Views:
    """The people of a frame, each seen by a camera that looks straight at the middle of their box."""

    MEASURED = ("points", "confidence", "box_size")

    def __init__(self, frame: Frame, found: Detections, bodies: Bodies, min_confidence: float) -> None:
        if found.keypoints is None and len(found):
            raise ValueError("fits need detections with keypoints")
        keypoints = np.zeros((0, len(COCO_17), 3)) if found.keypoints is None else found.keypoints.astype(float)
        boxes = found.boxes.astype(float)
        numbers = (bodies.global_orient, bodies.body_pose, bodies.betas, bodies.camera)
        self.is_usable = np.all([np.isfinite(each).all(tuple(range(1, each.ndim))) for each in numbers], axis=0)
        self.frame, self.bodies = frame, bodies
        self.camera = Intrinsics(bodies.focal_length, bodies.principal_point)
        self.assumed = assumed_intrinsics(self.camera, frame.size)
        self.center = (boxes[:, :2] + boxes[:, 2:]) / 2
        self.look_at = look_at_rotations(self.center, self.assumed)
        self.pixels, scores = keypoints[..., :2], np.clip(keypoints[..., 2], 0, 1)
        self.points = normalised(self.pixels, self.assumed, self.look_at)
        self.confidence = np.where((scores >= min_confidence) & np.isfinite(self.points).all(2), scores, 0.0)
        self.points = np.where(self.confidence[..., None] > 0, self.points, 0.0)
        self.box_size = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(1), 1.0) / self.assumed.focal_length

    def start(self, pelvis: Float) -> _Start:
        """The regressor's bodies; their pelvis (N, 3) stays at its pixel."""
        rotations = np.concatenate([self.bodies.global_orient, self.bodies.body_pose], 1).astype(float)
        rotations[:, 0] = look_at_rotations(self.center, self.camera).swapaxes(1, 2) @ rotations[:, 0]
        position = pelvis + self.bodies.camera.astype(float)
        pixels = project(np.zeros((len(position), 1, 3)), position, self.camera)[:, 0]
        depth = position[:, 2:] * (self.assumed.focal_length / self.camera.focal_length)
        position = ray_directions(pixels, self.assumed) * np.maximum(depth, 0.5)
        translation = np.einsum("nji,nj->ni", self.look_at, position) - pelvis
        rotations[~self.is_usable] = np.eye(3)
        betas = np.where(self.is_usable[:, None], self.bodies.betas, 0.0)
        return _Start(rotations, betas, np.where(self.is_usable[:, None], translation, [0.0, 0.0, 5.0]))

    def to_pixels(self, joints: Array) -> Array:
        """(N, K, 2) normalised points of the people's cameras as pixels of the frame."""
        rays = np.concatenate([joints, np.ones((*joints.shape[:2], 1))], 2)
        directions = np.einsum("nij,nkj->nki", self.look_at, rays)
        flat = directions[..., :2] / np.maximum(directions[..., 2:], 1e-3)
        pixels: Array = flat * self.assumed.focal_length + np.array(self.assumed.principal_point)
        return pixels


def _mean_distance(joints: NDArray[np.floating], view: _Views) -> Float:
    """(N,) from joints (N, 17, 2) to the keypoints, weighted by confidence, over the box's longer side."""
    counts = view.confidence > 0
    distance = np.where(counts, np.linalg.norm(np.where(counts[..., None], joints - view.pixels, 0), axis=2), 0)
    mean = (distance * view.confidence).sum(1) / np.maximum(view.confidence.sum(1), 1e-6)
    return np.asarray(mean / (view.box_size * view.assumed.focal_length), np.float32)


def _released_loss(joints: Array, view: _Views) -> Float:
    """(N,) the reprojection loss in the units of the released fits (ProHMR's): hips do not count."""
    confidence = view.confidence.copy()
    confidence[:, HIPS] = 0
    square = (np.where(confidence[..., None] > 0, joints - view.pixels, 0)) ** 2
    robust = RELEASED_SIGMA**2 * square / (RELEASED_SIGMA**2 + square)
    scale = (RELEASED_SIDE / max(view.frame.size)) ** 2
    return (scale * confidence[..., None] ** 2 * robust).sum((1, 2)).astype(np.float32)


def _split(whole: FitResult, counts: Sequence[int]) -> list[FitResult]:
    parts = []
    for rows in np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1]):
        chosen = torch.as_tensor(rows, device=whole.joints.device)
        bodies = FittedBodies(
            whole.bodies.rotations[chosen], whole.bodies.betas[chosen], whole.bodies.translation[chosen]
        )
        parts.append(FitResult(bodies, whole.joints[chosen]))
    return parts
