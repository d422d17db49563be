"""Settings of body recovery. `recovery.backend` chooses one; each has the fields of its class and no others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fourd_humans.settings import Integer, Precision, Settings


class LandmarkSettings(Settings):
    """See `recovery.landmarks.recovery.LandmarkRecovery`."""

    backend: Literal["landmarks"] = "landmarks"
    """landmarks (lite) or hmr2 (paper)."""


class HMR2Settings(Settings):
    """See `recovery.hmr2.stage.HMR2Recovery`."""

    backend: Literal["hmr2"] = "hmr2"
    """landmarks (lite) or hmr2 (paper)."""
    batch_size: Annotated[Integer, Field(ge=1, le=4096)] | None = None
    """People at once; null: as many as fit into the GPU's free memory."""
    checkpoint: str | None = None
    """File with other weights; null: the installed HMR 2.0b, or else 2.0a."""
    precision: Precision = "float32"
    """Of the image encoder: float32, bfloat16 or float16; bfloat16 suits GPUs."""
    compile: bool = False
    """Use torch.compile: a minute or more at the start, faster afterwards."""
    antialias: bool = False
    """Blur before shrinking crops, as the released image demo does."""


AnyRecoverySettings = Annotated[LandmarkSettings | HMR2Settings, Field(discriminator="backend")]
