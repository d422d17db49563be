"""ViTDet as a stage of the chain: batches of frames in, the people of each out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fourd_humans import checkpoints
from fourd_humans.checkpoints.loading import load_strictly
from fourd_humans.checkpoints.mapped import load_mapped
from fourd_humans.detection.limits import Limits
from fourd_humans.detection.settings import Detectron2Settings, ViTDetSettings
from fourd_humans.detection.vitdet.boxes import clip
from fourd_humans.detection.vitdet.masks import paste
from fourd_humans.detection.vitdet.model import Instances, vitdet_h
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
    upload,
)
from fourd_humans.errors import UsageError
from fourd_humans.people import Detections, Frame, Mask

PERSON = 0  # among the 80 classes of COCO, in the order of their numbers
MOST = 1000  # in a frame; as many as there are proposals
MASKS = 16  # of a frame, on average, that are computed at once
ROUNDS = 16  # of suppression on a GPU at first; real pictures take about half of them


class Network(Protocol):
    """What the stage asks of a network: that of `ViTDet`, which says what each part does."""

    image_size: int
    classes: int

    @property
    def backbone(self) -> nn.Module: ...

    def to(self, device: torch.device) -> Self: ...

    def eval(self) -> Self: ...

    def features(self, images: Sequence[Tensor], size: int | None = None) -> list[Tensor]: ...

    def detect(
        self,
        features: Sequence[Tensor],
        sizes: Tensor,
        *,
        score_threshold: float,
        nms_threshold: float = 0.5,
        classes: Sequence[int] | None = None,
        max_detections: int = 100,
        rounds: int | None = None,
    ) -> Instances: ...

    def masks(self, features: Sequence[Tensor], boxes: Tensor, pictures: Tensor, classes: Tensor) -> Tensor: ...


class ViTDetDetector:
    """Finds people with `model`, on `device`; the defaults are the released tracker's.

    score_threshold, min_width, min_height: who is kept (pixels of the frame); others with at least half the score are
    among the rejected. nms_threshold: overlap from which the lesser of two boxes is a repetition.
    category: the COCO class, 0..79, that is looked for.
    batch_size: frames at once; halved where the GPU's memory runs out.
    image_size: longer side of what the network sees, a multiple of 32; None is what it was trained with.
    precision: of the backbone's matrix products; auto: bfloat16 on CUDA GPUs, float32 elsewhere. head_precision: of the
    proposals and heads. compile: let torch.compile make the backbone faster, slowly.
    """

    def __init__(
        self,
        model: Network,
        device: torch.device | str,
        *,
        score_threshold: float = 0.8,
        nms_threshold: float = 0.5,
        min_width: float = 50,
        min_height: float = 100,
        category: int = PERSON,
        batch_size: int = 4,
        image_size: int | None = None,
        precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        head_precision: Literal["float32", "bfloat16", "float16"] = "float32",
        compile: bool = False,
    ) -> None:
        if image_size is not None and (image_size < 32 or image_size % 32):
            raise UsageError(f"ViTDet takes a detection.image_size that is a multiple of 32, not {image_size}")
        if not 0 <= category < model.classes:
            raise UsageError(f"ViTDet takes a detection.category from 0 to {model.classes - 1}, not {category}")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self._compiled = compile
        if compile:  # for batches of one size, to which smaller ones are filled up
            compile_module(self.model.backbone)
        self.limits = Limits(score_threshold, min_width, min_height)
        self.nms_threshold = nms_threshold
        self.category = category
        self.batches = Batches(
            batch_size, "frames", "try a smaller detection.image_size, detection.precision=bfloat16, or --device cpu"
        )
        self.image_size = image_size or model.image_size
        self.dtype = choose_dtype(precision, self.device)
        self.head_dtype = choose_dtype(head_precision, self.device)
        self._stream = own_stream(self.device, 0)
        self._rounds = ROUNDS if self.device.type == "cuda" else None

    @classmethod
    def from_checkpoint(cls, path: Path | str | None, device: torch.device | str, **options: Any) -> ViTDetDetector:
        """The stage with detectron2's COCO weights; None takes the installed ones.

        Raises: UsageError if none are installed; FourDHumansError if the file does not hold this network.
        """
        path = path or checkpoints.find("vitdet-h")
        if path is None:
            raise UsageError(
                "the weights of ViTDet-H are not installed: '4dhumans models download vitdet-h' fetches them, "
                "'--set detection.checkpoint=FILE' uses your own, '--boxes FILE' does without"
            )
        with torch.device("meta"):
            model = vitdet_h()
        load_strictly(model, load_mapped(path), path)
        return cls(model, device, **options)

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """The people of each frame, best first, with masks; who was found and not kept is in `rejected`.

        Raises: FourDHumansError where the GPU's memory does not hold even one frame's detection.
        """
        with in_stream(self._stream), float32_convolutions():
            return [people for batch in self.batches.run(frames, self._detect) for people in batch]

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        pixels = [pixels_on(frame.image, frame.pixels, self.device) for frame in frames]
        images = [resize(picture, self.image_size) for picture in pixels]
        if self._compiled:
            images += images[:1] * (self.batches.size - len(images))
        with autocast(self.device, self.dtype):
            features = [level[: len(frames)].float() for level in self.model.features(images, self.image_size)]
        with autocast(self.device, self.head_dtype):
            found = self._find(features, images[: len(frames)], frames)
            while not found["certain"].all():  # a crowd: boxes remove one another in longer chains
                assert self._rounds is not None
                self._rounds *= 2
                found = self._find(features, images[: len(frames)], frames)
            results, wanted = [], []
            for i in range(len(frames)):
                there = found["scores"][i] > 0
                boxes, scores = found["frame_boxes"][i][there], found["scores"][i][there]
                indices, rejected = self.limits.filter(boxes, scores)
                results.append(Detections(boxes[indices], scores[indices], rejected=rejected))
                wanted += (i * len(there) + np.flatnonzero(there)[indices]).tolist()
            grids = iter(self._grids(features, found, wanted))
        for frame, people in zip(frames, results, strict=True):
            people.masks = [deferred_mask(next(grids), box, frame.size) for box in people.boxes]
        return results

    def _find(
        self, features: Sequence[Tensor], images: Sequence[Tensor], frames: Sequence[Frame]
    ) -> dict[str, NDArray[Any]]:
        """Everybody, with the masks of those who are likely to be wanted: all that is known of the batch, in one copy.

        boxes, classes: as in `Instances`, and frame_boxes in pixels of the frames. places: (R,) of people among all of
        them (B·N), whose masks are in grids (R, 28, 28).
        """
        shapes = np.array(
            [[image.shape[1:], frame.size] for image, frame in zip(images, frames, strict=True)], np.float32
        )
        seen, size_in_frame = upload(shapes, self.device).unbind(1)  # (B, 2): height, width
        found = self.model.detect(
            features,
            seen,
            score_threshold=self.limits.score / 2,
            nms_threshold=self.nms_threshold,
            classes=[self.category],
            max_detections=MOST,
            rounds=self._rounds,
        )
        scale = (size_in_frame / seen).flip(1).repeat(1, 2)
        boxes = clip(found.boxes.float() * scale[:, None], size_in_frame)
        scores = found.scores.float()
        size = boxes[..., 2:] - boxes[..., :2]
        likely = (
            (scores >= self.limits.score) & (size[..., 0] >= self.limits.width) & (size[..., 1] >= self.limits.height)
        )
        places = scores.masked_fill(~likely, 0).flatten().topk(min(MASKS * len(frames), scores.numel())).indices
        tensors = {"boxes": found.boxes, "classes": found.classes, "certain": found.certain}
        tensors |= {"frame_boxes": boxes, "scores": scores, "places": places}
        tensors["grids"] = self._masks(features, found.boxes, found.classes, places)
        return download(tensors)

    def _masks(self, features: Sequence[Tensor], boxes: Tensor, classes: Tensor, places: Tensor) -> Tensor:
        pictures = places // boxes.shape[1]
        return self.model.masks(features, boxes.flatten(0, 1)[places], pictures, classes.flatten()[places])

    def _grids(
        self, features: Sequence[Tensor], found: dict[str, NDArray[Any]], wanted: Sequence[int]
    ) -> list[NDArray[np.float32]]:
        """The masks (28, 28) of people at places among all of them: those that are there, and in a crowd more."""
        grids = dict(zip(found["places"].tolist(), found["grids"], strict=True))
        missing = [place for place in wanted if place not in grids]
        for start in range(0, len(missing), len(found["places"])):
            part = missing[start : start + len(found["places"])]
            boxes, classes = upload(found["boxes"], self.device), upload(found["classes"], self.device)
            more = self._masks(features, boxes, classes, upload(np.array(part), self.device))
            grids |= dict(zip(part, download({"grids": more})["grids"], strict=True))
        return [grids[place] for place in wanted]


def deferred_mask(probabilities: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int]) -> Mask:
    """`paste`, once the mask is asked for its pixels: by a later stage, while the next frames are detected."""
    return Mask.deferred(size, partial(paste, probabilities, box, size))


def build(settings: ViTDetSettings, device: str) -> ViTDetDetector:
    """The detector that the settings ask for. Raises: as `ViTDetDetector.from_checkpoint`."""
    return ViTDetDetector.from_checkpoint(settings.checkpoint, device, **options_of(settings))


def options_of(settings: ViTDetSettings | Detectron2Settings) -> dict[str, Any]:
    """The settings as arguments of `ViTDetDetector`."""
    return settings.model_dump(exclude={"backend", "checkpoint"})


def resize(pixels: Tensor, longer_side: int) -> Tensor:
    """A frame (H, W, 3) uint8 with its longer side resized, as float32 (3, h, w) of whole numbers in 0..255.

    Bilinear, and smoothed where it shrinks, as the network was trained.
    """
    height, width = pixels.shape[:2]
    scale = longer_side / max(height, width)
    size = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
    picture = pixels.permute(2, 0, 1)[None].float()
    if size == (height, width):
        return picture[0]
    return functional.interpolate(picture, size, mode="bilinear", antialias=True)[0].round_().clamp_(0, 255)
