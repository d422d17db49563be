"""How HMR 2.0a and 2.0b are trained: the numbers of the paper's supplement (S.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from fourd_humans.training.hmr2.losses import LossWeights


@dataclass(frozen=True)
class Recipe:
    """The defaults are those of 2.0b.

    learning_rate, betas, weight_decay: AdamW's, of the network and of the discriminator; all parameters decay.
    schedule: of the learning rate: constant, or a cosine to 0. warm_up: steps in which it rises from 0.
    steps: of the optimiser. effective_batch: people of one step, over all devices and accumulated batches.
    people_of_a_sum: see `losses`. freeze_encoder: train all but the encoder, which then stays in evaluation mode.
    stochastic_depth: in the encoder's last block; 0 in the first. clip: of the gradient's norm; None: no clipping.
    readouts: how they begin: as PyTorch's linear layers do, or small, so that training begins at the mean pose, shape
    and camera, which is an option in the released code.
    """

    learning_rate: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = 0
    steps: int = 1_000_000
    effective_batch: int = 384
    people_of_a_sum: int = 48
    freeze_encoder: bool = False
    stochastic_depth: float = 0.55
    readouts: Literal["linear", "small"] = "linear"
    clip: float | None = None
    weights: LossWeights = field(default_factory=LossWeights)

    def factor(self, step: int) -> float:
        """On the learning rate in a step, counted from 0."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        falling = 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * min(1, step / self.steps)))
        return rising * falling


PRESETS = {
    "2.0b": Recipe(),
    "2.0a": Recipe(
        learning_rate=1e-4, steps=100_000, effective_batch=4096, people_of_a_sum=512, freeze_encoder=True,
        stochastic_depth=0.0,
    ),
}  # fmt: skip
