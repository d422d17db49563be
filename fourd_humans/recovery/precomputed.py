"""Bodies from a file instead of a network: our results, PHALP's, or any other system's in an npz.

So recoveries can be compared by tracking and by actions with everything else the same (supplement, S.6 and S.7).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.geometry.boxes import intersection_over_union
from fourd_humans.geometry.camera import Intrinsics, frame_intrinsics, full_image_camera, project
from fourd_humans.geometry.crops import crop_cameras, with_crop_camera
from fourd_humans.people import Bodies, Detections, Float, Frame, Rejected
from fourd_humans.recovery.body_files import read_bodies
from fourd_humans.recovery.settings import PrecomputedBodySettings

log = logging.getLogger(__name__)


class PrecomputedRecovery:
    """Gives each detected person the body of the file whose box overlaps best; who has none is rejected.

    path: see `read_bodies`. min_overlap: least overlap (IoU) of a detected box with the file's.
    Betas of another body model than `body_model` mean nothing to it: it gets its mean shape. The cameras are those of
    `intrinsics`: translations are converted so that the body's origin stays at its pixel.

    Raises: UsageError or FourDHumansError where the file is missing or wrong.
    """

    def __init__(
        self,
        path: Path | str,
        body_model: BodyModel,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        *,
        min_overlap: float = 0.5,
    ) -> None:
        self.file = read_bodies(path)
        self.body_model = body_model
        self.intrinsics = intrinsics
        self.min_overlap = min_overlap
        self._said_shape = False

    def __call__(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[Detections, Bodies]]:
        """Per frame, the detections that have a body in the file, with their bodies; the others are in `rejected`."""
        return [self._recover(frame, found) for frame, found in zip(frames, detections, strict=True)]

    def _recover(self, frame: Frame, found: Detections) -> tuple[Detections, Bodies]:
        camera = frame_intrinsics(self.intrinsics(frame.size), frame.size, frame.focal_length)
        people = self.file.people(frame)
        rows, columns = np.zeros(0, int), np.zeros(0, int)
        if people is not None:
            overlap = intersection_over_union(found.boxes, people.boxes)
            rows, columns = linear_sum_assignment(-overlap)
            good = overlap[rows, columns] >= self.min_overlap
            rows, columns = rows[good], columns[good]
        rejected = [
            Rejected(tuple(found.boxes[i].tolist()), float(found.scores[i]), "no precomputed body overlaps the box")
            for i in sorted(set(range(len(found))) - set(rows.tolist()))
        ]
        kept = replace(found[rows], rejected=[*found.rejected, *rejected])
        if people is None or not len(rows):
            return kept, Bodies.empty(self.body_model.shape_space, camera.focal_length, camera.principal_point)
        return kept, self._bodies(people.bodies[columns], people.boxes[columns], camera)

    def _bodies(self, bodies: Bodies, boxes: Float, camera: Intrinsics) -> Bodies:
        """Of `body_model`, in the camera in use."""
        if bodies.shape_space != self.body_model.shape_space:
            self._say_shape(bodies.shape_space)
            bodies = replace(bodies, betas=np.zeros_like(bodies.betas), shape_space=self.body_model.shape_space)
        if Intrinsics(bodies.focal_length, bodies.principal_point) != camera:
            crops = crop_cameras(with_crop_camera(bodies, boxes))
            bodies = replace(
                bodies,
                camera=full_image_camera(crops.camera, crops.center, crops.size, camera),
                focal_length=camera.focal_length,
                principal_point=camera.principal_point,
            )
        joints = self.body_model.joints_of_arrays(bodies.global_orient, bodies.body_pose, bodies.betas)
        return replace(bodies, joints_3d=joints, joints_2d=project(joints, bodies.camera, camera), texture=None)

    def _say_shape(self, other: str) -> None:
        if not self._said_shape:
            log.warning(
                "%s has betas of %s, and the body here is %s: it keeps its mean shape",
                self.file.path, other or "an unnamed body model", self.body_model.shape_space,
            )  # fmt: skip
            self._said_shape = True


def build(
    settings: PrecomputedBodySettings,
    body_model: BodyModel,
    intrinsics: Callable[[tuple[int, int]], Intrinsics],
    device: str,
) -> PrecomputedRecovery:
    """The bodies of the file that the settings name. Raises: UsageError where they name none."""
    if settings.bodies is None:
        raise UsageError("recovery.backend 'precomputed' needs a file of bodies: --bodies FILE")
    return PrecomputedRecovery(settings.bodies, body_model, intrinsics, min_overlap=settings.min_overlap)
