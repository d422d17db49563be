"""Settings of body recovery. `recovery.backend` chooses one; each has the fields of its class and no others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fourd_humans.settings import Integer, PrecisionOrAuto, Settings, Share


class LandmarkSettings(Settings):
    """See `recovery.landmarks.recovery.LandmarkRecovery`."""

    backend: Literal["landmarks"] = "landmarks"
    """landmarks (lite), hmr2 (paper), or precomputed: bodies from a file."""
    interpolate: bool = True
    """Find landmarks of people who move evenly in some frames of a batch, and interpolate them in between."""


class HMR2Settings(Settings):
    """See `recovery.hmr2.stage.HMR2Recovery`."""

    backend: Literal["hmr2"] = "hmr2"
    """landmarks (lite), hmr2 (paper), or precomputed: bodies from a file."""
    batch_size: Annotated[Integer, Field(ge=1, le=4096)] | None = None
    """People at once; null: as many as fit into the GPU's free memory."""
    checkpoint: str | None = None
    """File with other weights; null: the installed HMR 2.0b, or else 2.0a."""
    precision: PrecisionOrAuto = "auto"
    """Of the image encoder: float32, bfloat16 or float16; auto: bfloat16 on CUDA GPUs, float32 elsewhere."""
    compile: bool = False
    """Use torch.compile: a minute or more at the start, faster afterwards."""
    antialias: bool = False
    """Blur before shrinking crops, as the released image demo does."""


class PrecomputedBodySettings(Settings):
    """See `recovery.precomputed.PrecomputedRecovery`."""

    backend: Literal["precomputed"] = "precomputed"
    """landmarks (lite), hmr2 (paper), or precomputed: bodies from a file."""
    bodies: str | None = None
    """File of bodies: earlier results, PHALP's, or an npz."""
    min_overlap: Share = 0.5
    """Least overlap (IoU) of a detected box with the box of the file's person."""


AnyRecoverySettings = Annotated[
    LandmarkSettings | HMR2Settings | PrecomputedBodySettings, Field(discriminator="backend")
]
