"""The stages of the chain: what each is, and which one a configuration asks for.

A stage is a callable. Adding a detector, say, is one module with a callable and one branch here. Modules of stages that
are not asked for are not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from fourd_humans.body.camera import Intrinsics, intrinsics_from
from fourd_humans.config import CameraConfig, Config
from fourd_humans.errors import UsageError
from fourd_humans.people import Bodies, Detections, Frame


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
