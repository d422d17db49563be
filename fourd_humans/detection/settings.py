"""Settings of the detectors. `detection.backend` chooses one; each has the fields of its class and no others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fourd_humans.settings import Integer, Pixels, Precision, PrecisionOrAuto, Settings, Share


class DetectorSettings(Settings):
    """What every detector has."""

    backend: str
    batch_size: Annotated[Integer, Field(ge=1, le=1024)] = 4
    """Frames at once."""


class MoveNetSettings(DetectorSettings):
    """See `detection.movenet.MoveNetDetector`."""

    backend: Literal["movenet"] = "movenet"
    """movenet (lite), vitdet (paper), detectron2, or precomputed: boxes from a file."""
    batch_size: Annotated[Integer, Field(ge=1, le=1024)] = 9
    """Frames at once."""
    interpolate: bool = True
    """Detect people in the first and last frame of a batch, and in between only where they do not move evenly."""
    tiles: Literal["auto", "none"] = "auto"
    """auto: where people are small, also look for them in parts of the frame, which takes several times as long."""
    score_threshold: Share = 0.15
    """Least score of a person."""
    nms_threshold: Share = 0.6
    """Overlap (IoU) above which two boxes with similar keypoints are one person."""
    min_width: Pixels = 0.0
    """Least width of a box, in pixels of the frame."""
    min_height: Pixels = 0.0
    """Least height of a box, in pixels of the frame."""
    image_size: Annotated[Integer, Field(ge=64, le=2048)] = 448
    """Longer side of the picture that the network sees, in pixels."""


class _ViTDetFields(DetectorSettings):
    score_threshold: Share = 0.8
    """Least score of a person."""
    nms_threshold: Share = 0.5
    """Overlap (IoU) above which the box with the lower score is a duplicate."""
    min_width: Pixels = 50.0
    """Least width of a box, in pixels of the frame."""
    min_height: Pixels = 100.0
    """Least height of a box, in pixels of the frame."""
    image_size: Annotated[Integer, Field(ge=32, le=4096, multiple_of=32)] = 1024
    """Longer side of the picture that the network sees, in pixels: a multiple of 32."""
    category: Annotated[Integer, Field(ge=0, le=79)] = 0
    """COCO class to detect, 0 being people."""
    precision: PrecisionOrAuto = "auto"
    """Of the backbone: float32, bfloat16 or float16; auto: bfloat16 on CUDA GPUs, float32 elsewhere."""
    head_precision: Precision = "float32"
    """Of proposals, boxes and masks: float32, float16 (faster on a GPU) or bfloat16 (as fast, less exact)."""
    compile: bool = False
    """Use torch.compile for the backbone: minutes at the start, faster afterwards."""
    checkpoint: str | None = None
    """File with other weights; null: the installed ones."""


class ViTDetSettings(_ViTDetFields):
    """See `detection.vitdet.stage.ViTDetDetector`; the defaults are the released tracker's."""

    backend: Literal["vitdet"] = "vitdet"
    """movenet (lite), vitdet (paper), detectron2, or precomputed: boxes from a file."""


class Detectron2Settings(_ViTDetFields):
    """See `detection.detectron2`: the same network as ViTDet, run by detectron2."""

    backend: Literal["detectron2"] = "detectron2"
    """movenet (lite), vitdet (paper), detectron2, or precomputed: boxes from a file."""


class PrecomputedSettings(DetectorSettings):
    """See `detection.precomputed.PrecomputedDetections`."""

    backend: Literal["precomputed"] = "precomputed"
    """movenet (lite), vitdet (paper), detectron2, or precomputed: boxes from a file."""
    boxes: str | None = None
    """File of boxes: MOT text, COCO json, or earlier results."""


AnyDetectorSettings = Annotated[
    MoveNetSettings | ViTDetSettings | Detectron2Settings | PrecomputedSettings, Field(discriminator="backend")
]
