"""The texture atlas: which point of the body's surface each texel of a 256x256 texture map shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TextureAtlas:
    """For each texel the surface point whose colour it holds. Row 0 is the texture coordinate v = 1.

    faces_of_texels: (256, 256) int32 face number, −1 where the texture shows nothing.
    barycentric: (256, 256, 3) float32 weights of that face's corners, summing to 1; 0 where nothing is shown.
    """

    faces_of_texels: NDArray[np.int32]
    barycentric: NDArray[np.float32]

    @staticmethod
    @cache
    def open_body() -> TextureAtlas:
        """The atlas of the open body, made from its texture coordinates. It is read-only: all callers share it."""
        with np.load(str(files(__package__) / "data" / "texture_256.npz"), allow_pickle=False) as stored:
            faces, barycentric = stored["fmap"].astype(np.int32), stored["bmap"].astype(np.float32)
        total = barycentric.sum(-1, keepdims=True)  # stored in half precision
        barycentric = np.where(faces[..., None] >= 0, barycentric / np.where(total == 0, 1, total), 0)
        faces.setflags(write=False)
        barycentric.setflags(write=False)
        return TextureAtlas(faces, barycentric.astype(np.float32))

    def points(self, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.floating]:
        """Surface points of all shown texels, in the row-major order of ``faces_of_texels >= 0``.

        vertices: (..., V, 3). faces: (F, 3). Returns (..., T, 3).
        """
        shown = self.faces_of_texels >= 0
        corners = vertices[..., faces[self.faces_of_texels[shown]], :]
        return (corners * self.barycentric[shown][..., None]).sum(-2)
