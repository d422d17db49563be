"""Settings of motion prediction, completion and refinement."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from fourd_humans.settings import Settings


class MotionSettings(Settings):
    """How poses are predicted, hidden people filled in (`motion.completion`) and movements refined."""

    predictor: Literal["transformer", "hold"] = "transformer"
    """transformer, or hold: the last pose."""
    checkpoint: str | None = None
    """File of another pose transformer; null: the released one if `paper` has it installed, else the built-in one."""
    complete: bool = True
    """Fill in people while they are hidden."""
    refine: bool = True
    """Fit each person's bodies again over time: smooth movement and one shape, see `motion.refinement`."""

    @model_validator(mode="after")
    def _checkpoint_needs_transformer(self) -> MotionSettings:
        if self.predictor == "hold" and self.checkpoint is not None:
            raise ValueError("has no checkpoint when the predictor is hold")
        return self
