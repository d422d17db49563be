"""ViTDet as a stage of the chain: batches of frames in, the people of each out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from fourd_humans.detection.vitdet.masks import paste
from fourd_humans.detection.vitdet.model import Instances, vitdet_h
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Detections, Frame

log = logging.getLogger(__name__)

PERSON = 0  # among the 80 classes of COCO, in the order of their numbers
MOST = 1000  # in a frame; as many as there are proposals


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
        sizes: Sequence[tuple[int, int]],
        *,
        score_threshold: float,
        nms_threshold: float = 0.5,
        classes: Sequence[int] | None = None,
        max_detections: int = 100,
    ) -> list[Instances]: ...

    def masks(self, features: Sequence[Tensor], found: Sequence[Instances]) -> list[Tensor]: ...


class ViTDetDetector:
    """Finds people with `model`, on `device`; the defaults are the released tracker's.

    score_threshold, min_width, min_height: who is kept (pixels of the frame); others with at least half the score are
    among the rejected. nms_threshold: overlap from which the lesser of two boxes is a repetition.
    category: the COCO class, 0..79, that is looked for.
    batch_size: frames at once; halved where the GPU's memory runs out.
    image_size: longer side of what the network sees, a multiple of 32; None is what it was trained with.
    precision: of the network's matrix products. compile: let torch.compile make the backbone faster, slowly.
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
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
        compile: bool = False,
    ) -> None:
        if image_size is not None and (image_size < 32 or image_size % 32):
            raise UsageError(f"ViTDet takes a detection.image_size that is a multiple of 32, not {image_size}")
        if not 0 <= category < model.classes:
            raise UsageError(f"ViTDet takes a detection.category from 0 to {model.classes - 1}, not {category}")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        if compile:
            self.model.backbone.compile()
        self.limits = Limits(score_threshold, min_width, min_height)
        self.nms_threshold = nms_threshold
        self.category = category
        self.batch_size = batch_size
        self.image_size = image_size or model.image_size
        self.dtype: torch.dtype = getattr(torch, precision)

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
        results: list[Detections] = []
        while len(results) < len(frames):
            batch = frames[len(results) : len(results) + self.batch_size]
            try:
                results += self._detect(batch)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise FourDHumansError(
                        "the GPU's memory does not hold the detection of even one frame: try "
                        "--set detection.precision=bfloat16, a smaller detection.image_size, or --device cpu"
                    ) from error
                self.batch_size = len(batch) // 2
                log.warning("the GPU's memory is full: detecting in %d frames at once from now on", self.batch_size)
        return results

    @torch.inference_mode()
    def _detect(self, frames: Sequence[Frame]) -> list[Detections]:
        images = [resize(frame.image, self.image_size, self.device) for frame in frames]
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            features = self.model.features(images, self.image_size)
            found = self.model.detect(
                features,
                [(image.shape[1], image.shape[2]) for image in images],
                score_threshold=self.limits.score / 2,
                nms_threshold=self.nms_threshold,
                classes=[self.category],
                max_detections=MOST,
            )
            results, kept = [], []
            for frame, image, instances in zip(frames, images, found, strict=True):
                boxes, scores = _in_frame(instances, image, frame)
                indices, rejected = self.limits.filter(boxes, scores)
                results.append(Detections(boxes[indices], scores[indices], masks=[], rejected=rejected))
                kept.append(instances[torch.from_numpy(indices).to(self.device)])
            masks = self.model.masks(features, kept)
        for frame, people, probabilities in zip(frames, results, masks, strict=True):
            pairs = zip(probabilities.cpu().numpy(), people.boxes, strict=True)
            people.masks = [paste(over_box, box, frame.size) for over_box, box in pairs]
        return results


def build(settings: ViTDetSettings, device: str) -> ViTDetDetector:
    """The detector that the settings ask for. Raises: as `ViTDetDetector.from_checkpoint`."""
    return ViTDetDetector.from_checkpoint(settings.checkpoint, device, **options_of(settings))


def options_of(settings: ViTDetSettings | Detectron2Settings) -> dict[str, Any]:
    """The settings as arguments of `ViTDetDetector`."""
    return settings.model_dump(exclude={"backend", "checkpoint"})


def resize(image: NDArray[np.uint8], longer_side: int, device: torch.device | str = "cpu") -> Tensor:
    """A frame (H, W, 3) with its longer side resized, as float32 (3, h, w) of whole numbers in 0..255, on `device`.

    Bilinear, and smoothed where it shrinks, as the network was trained.
    """
    height, width = image.shape[:2]
    scale = longer_side / max(height, width)
    size = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None].float()
    if size == (height, width):
        return pixels[0]
    return functional.interpolate(pixels, size, mode="bilinear", antialias=True)[0].round_().clamp_(0, 255)


def _in_frame(found: Instances, image: Tensor, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes (N, 4) and scores (N,) from pixels of the network's input to those of the frame."""
    height, width = frame.size
    scale = np.array([width / image.shape[2], height / image.shape[1]] * 2, np.float32)
    boxes = found.boxes.float().cpu().numpy() * scale
    return np.clip(boxes, 0, np.array([width, height] * 2, np.float32)), found.scores.float().cpu().numpy()
