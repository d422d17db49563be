"""The texture atlas: which point of the body's surface each texel of a 256x256 texture map shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.npz import read_npy
from fourd_humans.people import TEXTURE_SIZE


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
            return _checked(stored["fmap"], stored["bmap"])

    @staticmethod
    def from_folder(folder: Path | str) -> TextureAtlas:
        """The released atlas of SMPL's own faces: ``fmap_256.npy`` and ``bmap_256.npy`` in a folder.

        Raises: FourDHumansError naming the folder if they are missing or something else.
        """
        try:
            faces, barycentric = (read_npy(Path(folder) / name) for name in ("fmap_256.npy", "bmap_256.npy"))
        except FourDHumansError as error:
            raise FourDHumansError(f"{folder} holds no texture atlas: {error}") from error
        if faces.shape != (TEXTURE_SIZE, TEXTURE_SIZE) or barycentric.shape != (TEXTURE_SIZE, TEXTURE_SIZE, 3):
            raise FourDHumansError(f"{folder}: the atlas has the shapes {faces.shape} and {barycentric.shape}")
        if faces.dtype.kind not in "iuf" or barycentric.dtype.kind != "f" or not np.isfinite(barycentric).all():
            raise FourDHumansError(f"{folder}: the atlas holds no numbers")
        return _checked(faces, barycentric)

    @staticmethod
    def of_faces(count: int) -> TextureAtlas:
        """An atlas for a mesh of which only the number of faces is known: as many texels for each, face after face.

        It serves to compare textures of that mesh with each other, not to look at them.
        """
        each = TEXTURE_SIZE**2 // count
        texel = np.arange(TEXTURE_SIZE**2)
        faces = np.where(texel < each * count, texel // max(each, 1), -1)
        spots = np.random.default_rng(0).dirichlet(np.full(3, 3.0), max(each, 1))  # somewhere inside each face
        barycentric = np.where((faces >= 0)[:, None], spots[texel % max(each, 1)], 0)
        return _checked(faces.reshape(TEXTURE_SIZE, -1), barycentric.reshape(TEXTURE_SIZE, -1, 3))

    def points(self, vertices: NDArray[np.floating], faces: NDArray[np.integer]) -> NDArray[np.floating]:
        """Surface points of all shown texels, in the row-major order of ``faces_of_texels >= 0``.

        vertices: (..., V, 3). faces: (F, 3). Returns (..., T, 3).
        """
        shown = self.faces_of_texels >= 0
        corners = vertices[..., faces[self.faces_of_texels[shown]], :]
        return (corners * self.barycentric[shown][..., None]).sum(-2)


def _checked(faces: NDArray[np.number], barycentric: NDArray[np.floating]) -> TextureAtlas:
    """Weights summing to 1, which files in half precision do not, and arrays that no caller can change for others."""
    total = barycentric.astype(np.float32).sum(-1, keepdims=True)
    weights = np.where(faces[..., None] >= 0, barycentric / np.where(total == 0, 1, total), 0).astype(np.float32)
    numbers = faces.astype(np.int32)
    numbers.setflags(write=False)
    weights.setflags(write=False)
    return TextureAtlas(numbers, weights)
