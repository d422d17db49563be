"""The stages of the chain: what each is, and which one a configuration asks for.

A stage is a callable. Adding a detector, say, is one module with a callable and one branch here. Modules of stages that
are not asked for are not imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from fourd_humans import checkpoints
from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.body.model import BodyModel
from fourd_humans.config import CameraConfig, Config
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, intrinsics_from
from fourd_humans.motion.hold import hold_pose
from fourd_humans.people import Bodies, Detections, Frame
from fourd_humans.tracking.buffer import Complete
from fourd_humans.tracking.cost import TextureDistance
from fourd_humans.tracking.tracker import PosePredictor, Tracker

if TYPE_CHECKING:
    from fourd_humans.motion.pose_transformer import PoseTransformer
    from fourd_humans.rendering.renderer import Renderer

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


def make_cut_detector(config: Config) -> Callable[[np.ndarray], bool]:
    if not config.shots.detect:
        return lambda image: False
    from fourd_humans.video.cuts import CutDetector

    return CutDetector(config.shots.threshold).update


def require_models(config: Config) -> None:
    """Raises: UsageError listing every model file that the configuration needs and that is not there."""
    missing = []
    needs_vitdet = config.detection.backend in ("vitdet", "detectron2") and not config.detection.checkpoint
    if needs_vitdet and not checkpoints.installed("vitdet-h"):
        missing.append("ViTDet-H (4dhumans models download vitdet-h, or --set detection.checkpoint=FILE, or --boxes)")
    needs_hmr2 = config.recovery.backend == "hmr2" and not config.recovery.checkpoint
    if needs_hmr2 and not (checkpoints.installed("hmr2b") or checkpoints.installed("hmr2a")):
        missing.append("HMR 2.0 (4dhumans models download hmr2b, or --set recovery.checkpoint=FILE)")
    if missing:
        raise UsageError(f"the {config.model} model needs weights that are not installed: {'; '.join(missing)}")


def make_body_model(config: Config, device: torch.device) -> BodyModel:
    """SMPL for `paper` where the user has added it, the open body otherwise."""
    if config.model == "paper":
        smpl = checkpoints.find("smpl")
        if smpl is not None:
            return BodyModel.from_file(smpl).to(device)
        log.warning(
            "SMPL is not installed, so poses are shown on the open body, with betas set to zero; "
            "add it with: 4dhumans models add-smpl FILE"
        )
    return BodyModel.open_body().to(device)


def make_detector(config: Config, device: torch.device) -> Detector:
    chosen = config.detection
    limits: dict[str, Any] = {
        "score_threshold": chosen.score_threshold,
        "nms_threshold": chosen.nms_threshold,
        "min_width": chosen.min_width,
        "min_height": chosen.min_height,
    }
    if chosen.backend == "movenet":
        from fourd_humans.detection.movenet import MoveNetDetector

        return MoveNetDetector(image_size=chosen.image_size, device=str(device), threads=1, **limits)
    if chosen.backend == "precomputed":
        from fourd_humans.detection.precomputed import PrecomputedDetections

        if chosen.boxes is None:
            raise UsageError("detection.backend 'precomputed' needs a file of boxes: --boxes FILE")
        return PrecomputedDetections(Path(chosen.boxes))
    if chosen.backend in ("vitdet", "detectron2"):
        from fourd_humans.detection.detectron2 import detectron2_detector
        from fourd_humans.detection.vitdet.stage import ViTDetDetector

        load = ViTDetDetector.from_checkpoint if chosen.backend == "vitdet" else detectron2_detector
        return load(
            chosen.checkpoint,
            device,
            **limits,
            category=chosen.category,
            batch_size=chosen.batch_size,
            image_size=chosen.image_size,
            precision=chosen.precision,
            compile=chosen.compile,
        )
    raise UsageError(f"there is no detection.backend '{chosen.backend}'; choose movenet, vitdet, detectron2 or given")


def make_recovery(config: Config, body_model: BodyModel, device: torch.device) -> Recovery:
    chosen = config.recovery
    intrinsics = make_intrinsics(config.camera)
    if chosen.backend == "landmarks":
        from fourd_humans.recovery.landmarks.recovery import LandmarkRecovery

        return LandmarkRecovery(body_model, intrinsics, device=str(device), threads=1)
    if chosen.backend == "hmr2":
        from fourd_humans.recovery.hmr2.stage import HMR2Recovery

        return HMR2Recovery.from_checkpoint(
            chosen.checkpoint,
            body_model,
            device,
            intrinsics,
            batch_size=chosen.batch_size,
            precision=chosen.precision,
            antialias=chosen.antialias,
            compile=chosen.compile,
        )
    raise UsageError(f"there is no recovery.backend '{chosen.backend}'; choose landmarks or hmr2")


def make_atlas(body_model: BodyModel) -> TextureAtlas:
    """Where on the body each texel lies; SMPL's own faces have an atlas of their own (4dhumans models)."""
    if body_model.shape_space == OPEN_BODY:
        return TextureAtlas.open_body()
    released = checkpoints.find("smpl-texture")
    return TextureAtlas.from_folder(released.parent) if released else TextureAtlas.of_faces(len(body_model.faces))


def make_appearance(config: Config, body_model: BodyModel) -> Appearance:
    from fourd_humans.appearance.texture import Appearance as Textures

    return Textures(body_model, make_atlas(body_model))


def make_tracker(
    config: Config, body_model: BodyModel, network: PoseTransformer | None, frame_count: int | None
) -> Tracker:
    """A tracker for one video. Of a video with fewer frames than a track needs to be believed, every person is."""
    chosen = config.tracking
    return Tracker(
        texture_distance=make_texture_distance(config, body_model),
        predict_poses=make_pose_predictor(network),
        history=chosen.history,
        max_age=chosen.max_age,
        min_hits=min(chosen.min_hits, frame_count or chosen.min_hits),
        threshold=chosen.threshold,
        texture_mixing=chosen.texture_mixing,
        pose_distance_limit=chosen.pose_distance_limit,
        joints=body_model.joints_of_arrays,
    )


def make_texture_distance(config: Config, body_model: BodyModel) -> TextureDistance:
    """The released encoder's distance where its weights are asked for or installed (`paper`), texels' otherwise."""
    encoder: Path | str | None = config.appearance.encoder
    if encoder is None and config.model == "paper":
        encoder = checkpoints.find("texture-encoder")
    if encoder is not None:
        from fourd_humans.appearance.distance import EncoderDistance
        from fourd_humans.appearance.encoder import TextureAutoencoder

        return EncoderDistance(TextureAutoencoder.from_checkpoint(encoder), choose_device(config.device))
    from fourd_humans.appearance.distance import ColourDistance, texel_areas

    return ColourDistance(texel_areas(make_atlas(body_model), body_model.v_template.cpu().numpy(), body_model.faces))


def make_motion_network(config: Config, device: torch.device) -> PoseTransformer | None:
    """The pose transformer that predicts and completes, or None where poses are held (motion.predictor=hold)."""
    chosen = config.motion
    if chosen.predictor == "hold":
        return None
    if chosen.predictor != "transformer":
        raise UsageError(f"there is no motion.predictor '{chosen.predictor}'; choose transformer or hold")
    from fourd_humans.motion.checkpoint import BUILT_IN, load_pose_transformer

    released = checkpoints.find("pose-predictor") if config.model == "paper" else None
    return load_pose_transformer(chosen.checkpoint or released or BUILT_IN, device)


def make_pose_predictor(network: PoseTransformer | None) -> PosePredictor:
    if network is None:
        return hold_pose
    from fourd_humans.motion.predictor import PosePredictor as Predictor

    return Predictor(network)


def make_completion(config: Config, body_model: BodyModel, network: PoseTransformer | None) -> Complete | None:
    """What fills in hidden people, or None where the tracker's own predictions stay (motion.complete=false)."""
    if not config.motion.complete:
        return None
    from fourd_humans.motion.completion import complete

    return partial(complete, body_model=body_model, network=network)


def make_renderer(config: Config, body_model: BodyModel) -> Renderer:
    from fourd_humans.rendering.renderer import Renderer

    settings = config.render
    return Renderer(body_model, settings.views, settings.supersample, settings.alpha, settings.depth_scale)
