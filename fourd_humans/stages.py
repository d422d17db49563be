"""The stages of the chain: what each is, and which one a configuration asks for.

A stage is a callable. The module of each network has a `build` function that takes its settings; modules of networks
that are not chosen are not imported. To add a detector: a module with `build`, its settings in
`detection/settings.py`, and one line in `DETECTORS`.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from fourd_humans import checkpoints, weights
from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.loading import OPEN_BODY
from fourd_humans.body.model import BodyModel
from fourd_humans.config import CameraSettings, Config
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, intrinsics_from
from fourd_humans.motion.hold import hold_pose
from fourd_humans.people import Bodies, Detections, Frame
from fourd_humans.tracking import tracker
from fourd_humans.tracking.buffer import Complete
from fourd_humans.tracking.cost import TextureDistance
from fourd_humans.tracking.tracker import PosePredictor, Tracker

if TYPE_CHECKING:
    from fourd_humans.motion.pose_transformer import PoseTransformer
    from fourd_humans.motion.refinement import Refinement
    from fourd_humans.rendering.renderer import Renderer

log = logging.getLogger(__name__)

# The module of each detection.backend and recovery.backend.
DETECTORS = {
    "movenet": "fourd_humans.detection.movenet",
    "vitdet": "fourd_humans.detection.vitdet.stage",
    "detectron2": "fourd_humans.detection.detectron2",
    "precomputed": "fourd_humans.detection.precomputed",
}
RECOVERIES = {
    "landmarks": "fourd_humans.recovery.landmarks.recovery",
    "hmr2": "fourd_humans.recovery.hmr2.stage",
    "precomputed": "fourd_humans.recovery.precomputed",
}
# Networks that are as fast on the CPU: they leave it only for a device that is named.
SMALL = {"movenet", "precomputed", "landmarks"}
MOST_THREADS = 8  # that fill textures


class Detector(Protocol):
    """Detects the people in each frame."""

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]: ...


class Recovery(Protocol):
    """Recovers the bodies of detected people; returns the detections it could use, each with its body.

    One with an attribute `people_at_once` is given frames until they hold so many people.
    """

    def __call__(
        self, frames: Sequence[Frame], detections: Sequence[Detections]
    ) -> list[tuple[Detections, Bodies]]: ...


class Appearance(Protocol):
    """Fills in the texture of each body."""

    def __call__(
        self, frames: Sequence[Frame], detections: Sequence[Detections], bodies: Sequence[Bodies]
    ) -> list[Bodies]: ...


def choose_device(config: Config) -> torch.device:
    """The device of the configuration's large networks, and of everything if it names one.

    auto: the first CUDA GPU, Apple's GPU, or the CPU; the CPU also where all networks are small, as in `lite`.
    Raises: UsageError for a device that torch does not have here.
    """
    name = config.device
    if name == "auto" and {config.detection.backend, config.recovery.backend} <= SMALL:
        name = "cpu"
    elif name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"the device '{name}' cannot be used here; try --device cpu ({str(error).splitlines()[0]})"
        ) from error
    return device


def shares_frames(config: Config, device: torch.device) -> bool:
    """Whether stages take the frames from one copy of them on a GPU."""
    return device.type == "cuda" and not {config.detection.backend, config.recovery.backend} <= SMALL


def make_intrinsics(config: CameraSettings) -> Callable[[tuple[int, int]], Intrinsics]:
    """The camera's intrinsics for a frame of a given (height, width)."""
    matrix = None if config.intrinsics is None else np.reshape(config.intrinsics, (3, 3))
    return partial(intrinsics_from, focal_length=config.focal_length, field_of_view=config.field_of_view, matrix=matrix)


def make_cut_detector(config: Config, size: tuple[int, int] | None = None) -> Callable[[np.ndarray], bool]:
    """Whether a new shot begins with an image, asked for every one; size: (height, width) of the video."""
    if not config.shots.detect:
        return lambda image: False
    from fourd_humans.video.cuts import CutDetector

    return CutDetector(config.shots.threshold, size).update


def make_body_model(config: Config, device: torch.device) -> BodyModel:
    """SMPL for `paper` where the user has added it, the open body otherwise."""
    if config.model == "paper":
        smpl = checkpoints.find("smpl")
        if smpl is not None:
            return BodyModel.from_file(smpl).to(device)
        log.warning(
            "SMPL is not installed: bodies are the open body in its mean shape, and betas are zero; "
            "add it with: 4dhumans models add-smpl FILE"
        )
    return BodyModel.open_body().to(device)


def make_detector(config: Config, device: torch.device) -> Detector:
    settings = config.detection
    build = importlib.import_module(DETECTORS[settings.backend]).build
    detector: Detector = build(settings, _device_of(settings.backend, config, device))
    return detector


def make_recovery(config: Config, body_model: BodyModel, device: torch.device) -> Recovery:
    settings = config.recovery
    build = importlib.import_module(RECOVERIES[settings.backend]).build
    recovery: Recovery = build(
        settings, body_model, make_intrinsics(config.camera), _device_of(settings.backend, config, device)
    )
    return recovery


def _device_of(backend: str, config: Config, device: torch.device) -> str:
    return "cpu" if backend in SMALL and config.device == "auto" else str(device)


def make_atlas(body_model: BodyModel) -> TextureAtlas:
    """The surface point of each texel. For SMPL's faces the released layout, if it is installed."""
    if body_model.shape_space == OPEN_BODY:
        return TextureAtlas.open_body()
    released = checkpoints.find("smpl-texture")
    return TextureAtlas.from_folder(released.parent) if released else TextureAtlas.of_faces(len(body_model.faces))


def make_appearance(config: Config, body_model: BodyModel, device: torch.device) -> Appearance:
    """On the CPU, in several threads where the networks leave it to others."""
    from fourd_humans.appearance.texture import Appearance as Textures

    threads = min(os.cpu_count() or 1, MOST_THREADS) if device.type == "cuda" else 1
    return Textures(body_model, make_atlas(body_model), threads)


def make_texture_distance(config: Config, body_model: BodyModel, device: torch.device) -> TextureDistance:
    """The released encoder's distance where its weights are given or, for `paper`, installed; colours otherwise.

    The encoder was trained on the released layout of SMPL's texture: without SMPL and that layout it means nothing.

    Raises: UsageError where an encoder is given and SMPL or the layout are not there.
    """
    from fourd_humans.appearance import distance

    encoder, missing = weights.texture_encoder(config, body_model.shape_space)
    if config.appearance.encoder is not None and missing:
        raise UsageError(f"appearance.encoder needs {missing}")
    if missing:
        log.warning("appearance is compared by colours; the published texture encoder needs %s", missing)
    return distance.build(encoder, make_atlas(body_model), body_model, device)


def make_motion_network(config: Config, device: torch.device) -> PoseTransformer | None:
    """The pose transformer that predicts and completes, or None where poses are held (motion.predictor=hold).

    It stays off Apple's GPUs, which have no float64, in which the built-in network interpolates.
    """
    from fourd_humans.motion import checkpoint

    released = checkpoints.find("pose-predictor") if config.model == "paper" else None
    settings = config.motion
    if config.model == "paper" and released is None and settings.predictor != "hold" and settings.checkpoint is None:
        log.warning(
            "pose-predictor is not installed: poses are predicted by the built-in pose transformer; "
            "install it with: 4dhumans models download pose-predictor"
        )
    return checkpoint.build(settings, released, torch.device("cpu") if device.type == "mps" else device)


def make_tracker(
    config: Config,
    body_model: BodyModel,
    texture_distance: TextureDistance,
    network: PoseTransformer | None,
    frame_count: int | None,
) -> Tracker:
    """A tracker for one video of so many frames."""
    return tracker.build(
        config.tracking, texture_distance, make_pose_predictor(network), body_model.joints_of_arrays, frame_count
    )


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


def make_refinement(config: Config, body_model: BodyModel) -> Refinement | None:
    """What refines each person's bodies over time, or None where they stay as recovered (motion.refine=false)."""
    if not config.motion.refine:
        return None
    from fourd_humans.motion.refinement import Refinement

    return Refinement(body_model)


def make_renderer(config: Config, body_model: BodyModel) -> Renderer:
    from fourd_humans.rendering import renderer

    return renderer.build(config.render, body_model)
