"""Appearance distance: the `r` of the tracker's cost, 0 for equal textures.

The cost assumes a Cauchy distribution: half of the pairs of one person's textures are farther apart than 1 / 4.0536.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.appearance.encoder import TextureEncoder
from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.model import BodyModel
from fourd_humans.devices import Batches, download, float32_convolutions, in_stream, own_stream, upload
from fourd_humans.people import TEXTURE_SIZE, Float

EMBEDDING_SCALE = 1000.0
DISTANCE_SCALE = 100.0

# See docs/tracking.md for how these were chosen.
PATCH = 16  # texels on a side: about 12 cm of clothing
BRIGHTNESS_WEIGHT = 0.3  # of a difference in overall brightness: light changes, clothes do not
SCALE = 28.0  # squared colour distance to r
PRIOR = 0.8  # r without texels visible in both textures: between that of pairs of one person and of two
PRIOR_AREA = 0.02  # square metres visible in both that weigh as much as the prior


class EncoderDistance:
    """The released distance: both textures, restricted to the texels visible in both, are encoded and compared.

    batch_size: pairs embedded at a time, which bounds the memory; halved where it runs out.
    """

    def __init__(
        self, encoder: TextureEncoder, device: torch.device | str = "cpu", batch_size: int | None = None
    ) -> None:
        self.device = torch.device(device)
        self.encoder = encoder.to(self.device).eval()
        on_gpu = self.device.type == "cuda"
        self._batches = Batches(batch_size or (16 if on_gpu else 4), "pairs of people to compare", "try --device cpu")
        self._stream = own_stream(self.device, 2)

    @torch.inference_mode()
    def __call__(
        self, tracks: Sequence[NDArray], detections: Sequence[NDArray], pairs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """(K,) distances of the pairs (K, 2) of indices into textures (4, 256, 256)."""
        if not len(pairs):
            return np.zeros(0)
        with in_stream(self._stream), float32_convolutions():
            (old, old_rows), (new, new_rows) = self._batches.whole(
                lambda: [self._upload(textures, pairs[:, side]) for side, textures in enumerate((tracks, detections))]
            )

            def work(batch: Sequence[int]) -> Tensor:
                part = slice(batch[0], batch[-1] + 1)
                first, second = old[old_rows[part]], new[new_rows[part]]
                seen = (first[:, 3:] > 0.5) & (second[:, 3:] > 0.5)
                embeddings = self.encoder(torch.cat([first * seen, second * seen])).flatten(1) / EMBEDDING_SCALE
                return (embeddings[: len(batch)] - embeddings[len(batch) :]).square().sum(1)

            squares = download({"squares": torch.cat(self._batches.run(range(len(pairs)), work))})["squares"]
        return DISTANCE_SCALE * squares.astype(np.float64)

    def _upload(self, textures: Sequence[NDArray], indices: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
        """The textures at these indices, each once, and the row that each index finds its own in."""
        used, rows = np.unique(indices, return_inverse=True)
        return upload(np.stack([textures[i] for i in used]), self.device), upload(rows, self.device)


class ColourDistance:
    """A distance that needs no weights: the mean squared difference of the colours visible in both textures.

    Colours are first averaged over patches of 16x16 texels, which makes the distance robust to bodies that are slightly
    misplaced, and weighted by the surface area: the head has a fiftieth of the area but a third of the texels. With
    little visible in both, the distance tends to a prior between that of pairs of one person and of two. All pairs are
    compared at once in a few matrix products.
    """

    def __init__(self, areas: Float) -> None:
        """areas: (256, 256) square metres of surface of each texel, 0 where it shows none; see `texel_areas`."""
        side = TEXTURE_SIZE // PATCH
        row, column = np.divmod(np.arange(TEXTURE_SIZE**2), TEXTURE_SIZE)
        patches = row // PATCH * side + column // PATCH
        self.texels = np.flatnonzero(areas)
        self.texel_areas = areas.reshape(-1)[self.texels]
        shown, self.patches = np.unique(patches[self.texels], return_inverse=True)
        self.patch_areas = np.bincount(self.patches, self.texel_areas, len(shown))

    def __call__(
        self, tracks: Sequence[NDArray], detections: Sequence[NDArray], pairs: NDArray[np.integer]
    ) -> NDArray[np.float64]:
        """(K,) distances of the pairs (K, 2) of indices into textures (4, 256, 256)."""
        rows, row_of_pair = np.unique(pairs[:, 0], return_inverse=True)
        columns, column_of_pair = np.unique(pairs[:, 1], return_inverse=True)
        old_seen, old = self._describe([tracks[i] for i in rows])
        new_seen, new = self._describe([detections[j] for j in columns])

        # Sums over patches p of area_p · old_seen_p · new_seen_p · (…), for all pairs at once.
        weight = old_seen * self.patch_areas
        area = np.maximum(weight @ new_seen.T, 1e-12)
        squared, brightness = np.zeros_like(area), np.zeros_like(area)
        for a, b in zip(old, new, strict=True):
            from_old, from_new = weight * a, new_seen * b
            squared += (from_old * a) @ new_seen.T - 2 * from_old @ from_new.T + weight @ (from_new * b).T
            brightness += from_old @ new_seen.T - weight @ from_new.T
        brightness_part = (brightness / area) ** 2 / len(old)
        difference = np.maximum(squared / area - (1 - BRIGHTNESS_WEIGHT) * brightness_part, 0)

        distance = (SCALE * difference * area + PRIOR * PRIOR_AREA) / (area + PRIOR_AREA)
        return distance[row_of_pair, column_of_pair]

    def _describe(self, textures: Sequence[NDArray]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For each patch the share that is visible (N, P), and its mean colour (3, N, P)."""
        seen = np.zeros((len(textures), len(self.patch_areas)))
        colours = np.zeros((3, *seen.shape))
        for person, texture in enumerate(textures):
            flat = texture.reshape(4, -1)
            _average(flat, self.texels, self.texel_areas, self.patches, seen[person], colours[:, person])
        return seen / self.patch_areas, colours


@njit(nogil=True, cache=True)
def _average(texture, texels, areas, patches, seen, colours):  # type: ignore[no-untyped-def]
    """Visible area and its mean colour of each patch, written to `seen` (P,) and `colours` (3, P), which start at 0."""
    for t in range(len(texels)):
        texel, patch = texels[t], patches[t]
        if texture[3, texel] > 0.5:
            seen[patch] += areas[t]
            for channel in range(3):
                colours[channel, patch] += areas[t] * texture[channel, texel]
    for patch in range(len(seen)):
        if seen[patch] > 0:
            colours[:, patch] /= seen[patch]


def build(
    encoder: Path | str | None, atlas: TextureAtlas, body_model: BodyModel, device: torch.device
) -> EncoderDistance | ColourDistance:
    """The distance by the texture encoder in that file; without one, by colours."""
    if encoder is not None:
        return EncoderDistance(TextureEncoder.from_checkpoint(encoder), device)
    return ColourDistance(texel_areas(atlas, body_model.v_template.cpu().numpy(), body_model.faces))


def texel_areas(atlas: TextureAtlas, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> Float:
    """(256, 256) square metres of surface that each texel of the atlas shows, on a body with these vertices (V, 3)."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    face_areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    shown = atlas.faces_of_texels >= 0
    texels = np.bincount(atlas.faces_of_texels[shown], minlength=len(faces))
    areas = np.zeros(shown.shape, np.float32)
    areas[shown] = (face_areas / np.maximum(texels, 1))[atlas.faces_of_texels[shown]]
    return areas
