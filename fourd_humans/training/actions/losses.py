"""The loss of action recognition."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SCALE = 10.0
PSEUDO_LABELLED, ANNOTATED = 1, 2


def action_loss(logits: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
    """10 times the mean binary cross-entropy over the chosen tokens and all classes; 0 where none is chosen.

    logits, labels: (..., C); labels in 0..1 may be soft. chosen: (...) bool, see `with_labels`.
    """
    if not chosen.any():
        return 0.0 * logits.sum()
    return SCALE * functional.binary_cross_entropy_with_logits(logits[chosen], labels[chosen])


def with_labels(detected: Tensor, source: Tensor, least: int) -> Tensor:
    """(...) bool: tokens with a detection and a label of at least this kind (pseudo-labelled 1, annotated 2)."""
    return detected & (source >= least)


def random_mask(detected: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """(B, T, P) bool: of each scene's detected tokens, the share `ratio` (rounded down) at random."""
    flat = detected.flatten(1)
    count = (ratio * flat.sum(1)).floor().long()
    order = torch.rand(flat.shape, generator=generator).to(flat.device).masked_fill(~flat, 2.0).argsort(1).argsort(1)
    return (order < count[:, None]).view_as(detected)
