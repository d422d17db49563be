"""How far apart two people's looks are: the `r` that the tracker's cost expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.appearance.encoder import TextureAutoencoder

EMBEDDING_SCALE = 1000.0
DISTANCE_SCALE = 100.0


class EncoderDistance:
    """The released distance: both textures, cut down to the texels seen in both, embedded and compared.

    batch_size: pairs embedded at a time, which bounds the memory.
    """

    def __init__(self, encoder: TextureAutoencoder, device: torch.device | str = "cpu", batch_size: int = 4) -> None:
        self.encoder = encoder.to(device).eval()
        self.device = device
        self.batch_size = batch_size

    @torch.no_grad()
    def __call__(
        self, tracks: Sequence[NDArray], detections: Sequence[NDArray], pairs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """(K,) distances of the pairs (K, 2) of indices into textures (4, 256, 256)."""
        distances = [np.zeros(0)]
        for start in range(0, len(pairs), self.batch_size):
            chunk = pairs[start : start + self.batch_size]
            old = torch.from_numpy(np.stack([tracks[i] for i, _ in chunk])).to(self.device)
            new = torch.from_numpy(np.stack([detections[j] for _, j in chunk])).to(self.device)
            seen = (old[:, 3:] > 0.5) & (new[:, 3:] > 0.5)
            embeddings = self.encoder.encode(torch.cat([old * seen, new * seen])).flatten(1) / EMBEDDING_SCALE
            difference = embeddings[: len(chunk)] - embeddings[len(chunk) :]
            distances.append(DISTANCE_SCALE * difference.square().sum(1).cpu().numpy().astype(np.float64))
        return np.concatenate(distances)
