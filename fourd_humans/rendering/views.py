"""The scene from the side and from above.

A recovered depth is only as good as the focal length it was computed with. With the released default, which is that of
a strong telephoto lens, people stand tens of metres away and far apart. So that the views show people beside
one another, depths are scaled to what an ordinary lens would have meant (`ordinary_depth_scale`); the position across
the picture does not depend on the lens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.rendering.labels import caption

ORDINARY_FIELD_OF_VIEW = 55.0  # degrees across the longer side: a phone's or a camcorder's
MARGIN = 1.1  # metres around people's positions, enough for most of a body
SMALLEST = 4.0  # metres that a view shows at least, so that one person does not fill it
GROWTH, SHRINKAGE = 0.2, 0.004  # share of the difference by which the shown range grows and shrinks per frame
DISTANCE = 60.0  # of the virtual camera, in widths of its view: almost no perspective
PAPER, LINES = (247, 247, 245), (222, 222, 218)

# Rows: the directions to the right, downwards and away of the virtual camera, in the frame of the real one.
FROM_THE_SIDE = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
FROM_ABOVE = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
DIRECTIONS = {"side": FROM_THE_SIDE, "top": FROM_ABOVE}
CAPTIONS = {"side": "from the side, camera at the left", "top": "from above, camera at the bottom"}


def ordinary_depth_scale(focal_length: float, size: tuple[int, int]) -> float:
    """The factor that makes depths those of an ordinary lens; 1 where the lens is not longer than that.

    focal_length: pixels, for a frame of `size` (height, width).
    """
    ordinary = max(size) / 2 / math.tan(math.radians(ORDINARY_FIELD_OF_VIEW) / 2)
    return min(1.0, ordinary / focal_length)


class SteadyRange:
    """The part of the scene that the views show. It grows quickly and shrinks slowly: the views are steady while
    people move within it, and recover from a single wrong body far away."""

    def __init__(self) -> None:
        self._range: NDArray[np.float64] | None = None

    def update(self, positions: NDArray[np.floating], restart: bool = False) -> NDArray[np.float64]:
        """positions: (P, 3) of this frame's people; `restart` at a new shot. Returns (2, 3) lowest and highest."""
        if len(positions):
            wanted = np.stack([positions.min(0) - MARGIN, positions.max(0) + MARGIN])
            if self._range is None or restart:
                self._range = wanted
            else:
                outwards = (wanted - self._range) * [[-1.0], [1.0]] > 0
                self._range = self._range + (wanted - self._range) * np.where(outwards, GROWTH, SHRINKAGE)
        return np.array([[-2.0, -2.0, 2.0], [2.0, 2.0, 6.0]]) if self._range is None else self._range


@dataclass(frozen=True)
class View:
    """A virtual camera so far away that it shows the scene to scale.

    rotation: (3, 3) rows right, down and away. center: (3,) the point in the middle. pixels_per_metre: the scale there.
    size: (height, width) of the picture.
    """

    rotation: NDArray[np.float64]
    center: NDArray[np.float64]
    pixels_per_metre: float
    size: tuple[int, int]

    @staticmethod
    def of(rotation: NDArray[np.float64], shown: NDArray[np.float64], size: tuple[int, int]) -> View:
        """The view along `rotation` that contains the box `shown` (2, 3)."""
        extent = np.maximum(np.abs(rotation @ (shown[1] - shown[0]))[:2], SMALLEST * np.array(size[::-1]) / max(size))
        return View(rotation, shown.mean(0), float(min(np.array(size[::-1]) / extent)), size)

    @property
    def distance(self) -> float:
        """From the virtual camera to the middle, metres."""
        return DISTANCE * max(self.size) / self.pixels_per_metre

    @property
    def intrinsics(self) -> Intrinsics:
        return Intrinsics(self.pixels_per_metre * self.distance, (self.size[1] / 2, self.size[0] / 2))

    def points(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 3) in the real camera's frame -> in the virtual camera's."""
        return (points - self.center) @ self.rotation.T + [0.0, 0.0, self.distance]

    def background(self, name: str) -> NDArray[np.uint8]:
        """An empty panel with a grid through the real camera's place and a caption."""
        height, width = self.size
        image = np.full((height, width, 3), PAPER, np.uint8)
        spacing = next((metres for metres in (1, 2, 5, 10, 20, 50) if metres * self.pixels_per_metre >= 18), 100)
        middle = self.rotation @ self.center
        for axis, length in enumerate((width, height)):
            low = middle[axis] - length / 2 / self.pixels_per_metre
            first = math.ceil(low / spacing)
            count = int(length / self.pixels_per_metre / spacing) + 1
            for line in range(first, first + count):
                at = round((line * spacing - low) * self.pixels_per_metre)
                if axis == 0:
                    cv2.line(image, (at, 0), (at, height), LINES, 1)
                else:
                    cv2.line(image, (0, at), (width, at), LINES, 1)
        caption(image, f"{CAPTIONS[name]}; {spacing} m grid")
        return image
