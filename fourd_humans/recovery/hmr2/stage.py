"""HMR 2.0 as a stage of the chain: people of several frames in, their bodies out, in batches that fill the device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fourd_humans import checkpoints
from fourd_humans.body.model import BodyModel
from fourd_humans.devices import (
    Batches,
    autocast,
    choose_dtype,
    compile_module,
    download,
    float32_convolutions,
    in_stream,
    own_stream,
    pixels_on,
)
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, frame_intrinsics, full_image_camera, project
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.people import Bodies, Detections, Float, Frame, Rejected
from fourd_humans.recovery.hmr2.crops import check_boxes, crop_people
from fourd_humans.recovery.hmr2.model import HMR2
from fourd_humans.recovery.settings import HMR2Settings

Precision = Literal["auto", "float32", "bfloat16", "float16"]
BYTES_PER_CROP = 32 * 2**20  # activations of ViT-H and the posed body, with room to spare
MOST_ON_GPU = 64  # beyond this a larger batch is not faster
MOST_ON_CPU = 8
POOL_ON_GPU = 32  # people from which on a GPU is well used
SIZES = (8, 16, 32, 48, 64)  # that batches are filled up to on a GPU: each new size would cost preparations


class HMR2Recovery:
    """Recovers the body of every detected person with `model`, on `device`.

    The released networks' betas are SMPL's. For another `body_model` they mean nothing: it gets its mean shape.
    intrinsics: the camera of frames of a given (height, width).
    batch_size: people at once; None chooses by the memory that is free. Where memory runs out it is halved.
    precision: of the encoder; auto: bfloat16 on CUDA GPUs, float32 elsewhere. float16 is for GPUs. The decoder,
    rotations, bodies and cameras are always float32.
    antialias: blur before shrinking (see `crop_people`). compile: let torch.compile make the network faster, slowly.
    people_at_once: how many the stage likes to be given, of as many frames as that takes.
    """

    def __init__(
        self,
        model: HMR2,
        body_model: BodyModel,
        device: torch.device | str,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        *,
        batch_size: int | None = None,
        precision: Precision = "auto",
        antialias: bool = False,
        compile: bool = False,
    ) -> None:
        self.device = torch.device(device)
        on_gpu = self.device.type == "cuda"
        self.model = model.to(self.device).eval()
        if compile:
            compile_module(self.model)
        self.body_model = body_model if self.device.type == "cpu" else copy.deepcopy(body_model).to(self.device)
        self.intrinsics = intrinsics
        self.people_at_once = min(POOL_ON_GPU, batch_size or POOL_ON_GPU) if on_gpu else 1
        self.sizes = SIZES if on_gpu or compile else ()
        self.dtype = choose_dtype(precision, self.device)
        self.antialias = antialias
        self.knows_shape = body_model.shape_space == model.shape_space
        self._batch_size = batch_size
        self._batches: Batches | None = None
        self._stream = own_stream(self.device, 1)

    @classmethod
    def from_checkpoint(
        cls,
        path: Path | str | None,
        body_model: BodyModel,
        device: torch.device | str,
        intrinsics: Callable[[tuple[int, int]], Intrinsics],
        **options: Any,
    ) -> HMR2Recovery:
        """The stage with a checkpoint's weights; None takes the installed HMR 2.0b, or else 2.0a.

        Raises: UsageError if none is installed; FourDHumansError if the file is not a HMR 2.0 checkpoint.
        """
        path = path or checkpoints.find("hmr2b") or checkpoints.find("hmr2a")
        if path is None:
            raise UsageError(
                "the weights of HMR 2.0 are not installed: '4dhumans models download hmr2b' fetches them, "
                "'--set recovery.checkpoint=FILE' uses your own"
            )
        return cls(HMR2.from_checkpoint(path), body_model, device, intrinsics, **options)

    def __call__(self, frames: Sequence[Frame], detections: Sequence[Detections]) -> list[tuple[Detections, Bodies]]:
        """Per frame, the detections that could be used with their bodies; the others are in `rejected`."""
        usable = [_usable(found, frame.size) for frame, found in zip(frames, detections, strict=True)]
        squares = [crop_squares(found.boxes) for found in usable]
        rows = self._recover(frames, squares)
        results = []
        start = 0
        for frame, found, (center, side) in zip(frames, usable, squares, strict=True):
            camera = frame_intrinsics(self.intrinsics(frame.size), frame.size, frame.focal_length)
            if rows is None or not len(found):
                empty = Bodies.empty(self.body_model.shape_space, camera.focal_length, camera.principal_point)
                results.append((found, empty))
                continue
            own = {name: values[start : start + len(found)] for name, values in rows.items()}
            start += len(found)
            results.append(_without_failures(found, self._bodies(own, center, side, camera)))
        return results

    def _bodies(self, rows: dict[str, Float], center: Float, side: Float, intrinsics: Intrinsics) -> Bodies:
        camera = full_image_camera(rows["camera_crop"], center, side, intrinsics)
        return Bodies(
            **rows,
            crop_center=center,
            crop_size=side,
            camera=camera,
            joints_2d=project(rows["joints_3d"], camera, intrinsics),
            focal_length=intrinsics.focal_length,
            principal_point=intrinsics.principal_point,
            shape_space=self.body_model.shape_space,
        )

    @torch.inference_mode()
    def _recover(self, frames: Sequence[Frame], squares: Sequence[tuple[Float, Float]]) -> dict[str, Float] | None:
        """The network's answer and the posed joints for the people in the squares, as fields of `Bodies`; None for
        nobody."""
        people = [(i, row) for i, (_, side) in enumerate(squares) for row in range(len(side))]
        if not people:
            return None
        with in_stream(self._stream), float32_convolutions():

            def work(batch: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
                crops = []
                for i, group in groupby(batch, itemgetter(0)):
                    (center, side), rows = squares[i], [row for _, row in group]
                    pixels = pixels_on(frames[i].image, frames[i].pixels, self.device)
                    crops.append(crop_people(pixels, center[rows], side[rows], self.device, self.antialias))
                return self._recover_batch(torch.cat(crops))

            parts = self.batches.run(people, work)
            return download({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    @property
    def batches(self) -> Batches:
        """Made when the first people come, since it depends on what else is in the device's memory."""
        if self._batches is None:
            size = self._batch_size or fitting_batch_size(self.device)
            self._batches = Batches(size, "people", "try recovery.precision=bfloat16, or --device cpu")
        return self._batches

    def _recover_batch(self, crops: Tensor) -> dict[str, Tensor]:
        """The answer for (N, 3, 256, 256) crops. The batch is filled up to one of the fixed sizes."""
        count = len(crops)
        size = min(next((size for size in self.sizes if size >= count), count), max(count, self.batches.size))
        if size > count:
            crops = functional.pad(crops, (0, 0, 0, 0, 0, 0, 0, size - count))
        with autocast(self.device, self.dtype):
            found = self.model(crops)
        betas = found.betas if self.knows_shape else torch.zeros_like(found.betas)
        rows = {
            "global_orient": found.global_orient,
            "body_pose": found.body_pose,
            "betas": betas,
            "camera_crop": found.camera_crop,
            "joints_3d": self.body_model.joints(found.global_orient, found.body_pose, betas),
        }
        return {name: values[:count] for name, values in rows.items()}


def build(
    settings: HMR2Settings,
    body_model: BodyModel,
    intrinsics: Callable[[tuple[int, int]], Intrinsics],
    device: str,
) -> HMR2Recovery:
    """The recovery that the settings ask for. Raises: as `HMR2Recovery.from_checkpoint`."""
    options = settings.model_dump(exclude={"backend", "checkpoint"})
    return HMR2Recovery.from_checkpoint(settings.checkpoint, body_model, device, intrinsics, **options)


def fitting_batch_size(device: torch.device) -> int:
    """How many people at once fill the device and fit into half of its free memory."""
    if device.type != "cuda":
        return MOST_ON_CPU
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(1, min(MOST_ON_GPU, free // 2 // BYTES_PER_CROP))


def _usable(detections: Detections, size: tuple[int, int]) -> Detections:
    return _keep(detections, check_boxes(detections.boxes, size))


def _without_failures(detections: Detections, bodies: Bodies) -> tuple[Detections, Bodies]:
    """Drop people for whom the network's numbers are not finite or put them behind the camera."""
    numbers = np.concatenate([bodies.camera, bodies.joints_3d.reshape(len(bodies), -1)], axis=1)
    finite = np.isfinite(numbers).all(1)
    reasons = [None if good else "no finite body in front of the camera" for good in finite & (bodies.camera[:, 2] > 0)]
    return _keep(detections, reasons), bodies[[i for i, reason in enumerate(reasons) if reason is None]]


def _keep(detections: Detections, reasons: Sequence[str | None]) -> Detections:
    """The detections without a reason against them; the others among the rejected."""
    if not any(reasons):
        return detections
    rejected = [
        Rejected(tuple(map(float, detections.boxes[i])), float(detections.scores[i]), reason)  # type: ignore[arg-type]
        for i, reason in enumerate(reasons)
        if reason is not None
    ]
    kept = detections[[i for i, reason in enumerate(reasons) if reason is None]]
    return replace(kept, rejected=[*kept.rejected, *rejected])
