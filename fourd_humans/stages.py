"""The stages of the chain: what each is, and which one a configuration asks for.

A stage is a callable. Adding a detector, say, is one module with a callable and one branch here. Modules of stages that
are not asked for are not imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.camera import Intrinsics, intrinsics_from
from fourd_humans.config import CameraConfig, Config
from fourd_humans.errors import UsageError
from fourd_humans.people import Bodies, Detections, Frame

log = logging.getLogger(__name__)


class Detector(Protocol):
    """Finds the people of each frame."""

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]: ...


class Recovery(Protocol):
    """Recovers the bodies of detected people; returns the detections it could use, row by row with their bodies."""

    def __call__(
        self, frames: Sequence[Frame], detections: Sequence[Detections]
    ) -> list[tuple[Detections, Bodies]]: ...


class Appearance(Protocol):
    """Fills in the texture of each body."""

    def __call__(
        self, frames: Sequence[Frame], detections: Sequence[Detections], bodies: Sequence[Bodies]
    ) -> list[Bodies]: ...


def choose_device(name: str) -> torch.device:
    """auto: the first GPU there is, or the CPU. Raises: UsageError for a device that torch does not have here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device '{name}' cannot be used here; try --device cpu ({str(error).splitlines()[0]})"
        ) from error
    return device


def make_intrinsics(config: CameraConfig) -> Callable[[tuple[int, int]], Intrinsics]:
    """The camera's intrinsics for a frame of a given (height, width)."""
    matrix = None if config.intrinsics is None else np.reshape(config.intrinsics, (3, 3))
    return partial(intrinsics_from, focal_length=config.focal_length, field_of_view=config.field_of_view, matrix=matrix)


def make_shot_detector(config: Config) -> Callable[[np.ndarray], bool]:
    if not config.shots.detect:
        return lambda image: False
    from fourd_humans.video.shots import ShotDetector

    return ShotDetector(config.shots.threshold).update


def make_body_model(config: Config, device: torch.device) -> BodyModel:
    """SMPL for `paper` where the user has added it, the open body otherwise."""
    if config.model == "paper":
        from fourd_humans.checkpoints.store import find

        smpl = find("smpl")
        if smpl is not None:
            return BodyModel.from_file(smpl).to(device)
        log.warning(
            "SMPL is not installed, so poses are shown on the open body, with betas set to zero; "
            "add it with: 4dhumans models add-smpl FILE"
        )
    return BodyModel.open_body().to(device)


def make_detector(config: Config, device: torch.device) -> Detector:
    detection = config.detection
    limits = {
        "score_threshold": detection.score_threshold,
        "nms_threshold": detection.nms_threshold,
        "min_width": detection.min_width,
        "min_height": detection.min_height,
    }
    if detection.backend == "movenet":
        from fourd_humans.detection.movenet import MoveNetDetector

        return MoveNetDetector(image_size=detection.image_size, device=str(device), threads=1, **limits)
    if detection.backend == "given":
        from fourd_humans.detection.given import GivenDetector

        if detection.boxes is None:
            raise UsageError("detection.backend 'given' needs a file of boxes: --boxes FILE")
        return GivenDetector(Path(detection.boxes))
    raise UsageError(
        f"there is no detection.backend '{detection.backend}'; choose movenet, vitdet, detectron2 or given"
    )


def make_recovery(config: Config, body_model: BodyModel, device: torch.device) -> Recovery:
    intrinsics = make_intrinsics(config.camera)
    if config.recovery.backend == "landmarks":
        from fourd_humans.recovery.landmarks.recovery import LandmarkRecovery

        return LandmarkRecovery(body_model, intrinsics, device=str(device), threads=1)
    raise UsageError(f"there is no recovery.backend '{config.recovery.backend}'; choose landmarks or hmr2")


def make_appearance(config: Config, body_model: BodyModel) -> Appearance:
    from fourd_humans.appearance.texture import Appearance as Textures

    return Textures(body_model, TextureAtlas.open_body())


def make_tracker(config: Config, body_model: BodyModel, frame_count: int | None) -> Tracker:
    """A tracker for one video. Of a video with fewer frames than a track needs to be believed, every person is."""
    settings = config.tracking
    return Tracker(
        texture_distance=make_texture_distance(config),
        predict_poses=make_pose_predictor(config),
        history=settings.history,
        max_age=settings.max_age,
        min_hits=min(settings.min_hits, frame_count or settings.min_hits),
        threshold=settings.threshold,
        texture_mixing=settings.texture_mixing,
        pose_distance_limit=settings.pose_distance_limit,
        joints=partial(posed_joints, body_model),
    )
