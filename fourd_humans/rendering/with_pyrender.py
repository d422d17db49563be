"""Bodies drawn by pyrender, through OpenGL: an alternative to the built-in rasteriser for those who have it.

It needs the package pyrender and OpenGL without a window: EGL (a GPU's driver, or Mesa's) or OSMesa. The variable
PYOPENGL_PLATFORM chooses between them, before the first use.
"""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import NEAR
from fourd_humans.rendering.palette import linear_rgb
from fourd_humans.rendering.shading import vertex_normals

FROM_CAMERA = np.array([1.0, -1.0, -1.0])  # OpenGL's cameras look along −z with y up
AMBIENT, LIGHT = 0.25, 3.0
MARGIN = 0.1  # metres before and behind people


class PyrenderPainter:
    """Draws the people of one picture after another, always in the thread of the first.

    faces: (F, 3). samples: per pixel and direction.
    Raises: UsageError where pyrender is not installed or finds no OpenGL.
    """

    def __init__(self, faces: NDArray[np.int64], samples: int) -> None:
        if not os.environ.get("DISPLAY"):
            os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        try:
            import pyrender
        except ImportError as error:
            raise UsageError(
                "render.backend 'pyrender' needs pyrender and OpenGL: pip install 'fourd-humans[pyrender]', "
                f"or leave render.backend at numba ({error})"
            ) from error
        self._pyrender = pyrender
        self._faces, self._samples = faces, samples
        self._renderer: Any = None

    def draw(
        self,
        image: NDArray[np.uint8],
        vertices: NDArray[np.float64],
        colours: NDArray[np.float64],
        alphas: NDArray[np.float64],
        intrinsics: Intrinsics,
        behind: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Draw P people over `image`, in place.

        vertices: (P, V, 3) in the camera's frame. colours: (P, 3) sRGB 0..255. alphas: (P,), of which the first holds
        for all. behind: (h, w) depths of what was drawn before, at the samples; who is farther is not drawn there.
        Returns the depths (h, w) of what was drawn, infinite where nothing was.
        """
        size = image.shape[0] * self._samples, image.shape[1] * self._samples
        colour, depth = self._render(vertices, colours, intrinsics, size)
        drawn = np.isfinite(depth) if behind is None else depth < behind
        cover = (drawn * alphas[0]).astype(np.float32)
        layer = np.concatenate([colour * cover[..., None], cover[..., None]], axis=2)  # premultiplied
        layer = cv2.resize(layer, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
        mixed = layer[..., :3] + image * (1 - layer[..., 3:])
        np.copyto(image, np.clip(mixed.round(), 0, 255).astype(np.uint8))
        return depth

    def _render(
        self, vertices: NDArray[np.float64], colours: NDArray[np.float64], camera: Intrinsics, size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(h, w, 3) colours 0..255 and (h, w) depths, infinite where nothing is."""
        pyrender = self._pyrender
        scene = pyrender.Scene(bg_color=[0.0, 0.0, 0.0], ambient_light=[AMBIENT] * 3)
        for points, colour in zip(vertices, colours, strict=True):
            if not np.isfinite(points).all():
                continue
            red, green, blue = linear_rgb((int(colour[0]), int(colour[1]), int(colour[2])))
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=[red, green, blue, 1.0], metallicFactor=0.1, roughnessFactor=0.6
            )
            primitive = pyrender.Primitive(
                positions=points * FROM_CAMERA, indices=self._faces, normals=self._normals(points), material=material
            )
            scene.add(pyrender.Mesh([primitive]))
        focal, (x, y) = camera.focal_length * self._samples, camera.principal_point
        near, far = _depth_range(vertices[..., 2])
        scene.add(
            pyrender.IntrinsicsCamera(focal, focal, x * self._samples, y * self._samples, znear=near, zfar=far),
            pose=np.eye(4),
        )
        scene.add(pyrender.DirectionalLight(intensity=LIGHT), pose=np.eye(4))
        colour, depth = self._offscreen(size).render(scene)
        return colour[..., :3].astype(np.float32), np.where(depth > 0, depth, np.inf).astype(np.float32)

    def _normals(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        normals: NDArray[np.float64] = vertex_normals(points[None], self._faces)[0] * FROM_CAMERA
        return normals

    def _offscreen(self, size: tuple[int, int]) -> Any:
        """The renderer for pictures of `size` (height, width)."""
        try:
            if self._renderer is None:
                self._renderer = self._pyrender.OffscreenRenderer(size[1], size[0])
        except Exception as error:  # each platform of PyOpenGL has its own
            raise UsageError(
                f"render.backend 'pyrender' finds no OpenGL: install EGL or OSMesa, or set render.backend to numba "
                f"({type(error).__name__}: {' '.join(str(error).split())})"
            ) from error
        self._renderer.viewport_height, self._renderer.viewport_width = size
        return self._renderer


def _depth_range(depths: NDArray[np.float64]) -> tuple[float, float]:
    """The near and the far plane, as narrow as people allow: OpenGL's depths have 24 bits."""
    finite = depths[np.isfinite(depths)]
    if not len(finite):
        return NEAR, 2 * NEAR
    return max(NEAR, float(finite.min()) - MARGIN), max(2 * NEAR, float(finite.max()) + MARGIN)
