"""Identity labels: a solid tag for detected people, dashed lines for predicted ones."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fourd_humans.rendering.palette import Colour, text_colour

_FONT = cv2.FONT_HERSHEY_DUPLEX


class Tags:
    """The tags of one image, placed so that they do not overlap.

    image: (H, W, 3) RGB uint8, written into.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        self._scale = min(max(min(image.shape[:2]) / 900, 0.45), 1.6)
        self._thickness = max(1, round(1.3 * self._scale))
        self._taken: list[tuple[int, int, int, int]] = []

    def draw(self, text: str, anchor: tuple[float, float], colour: Colour, *, hidden: bool) -> None:
        """A tag with its foot at `anchor` (x, y), or as near to it as the image and the other tags allow."""
        if not np.isfinite(anchor).all():
            return
        (width, height), _ = cv2.getTextSize(text, _FONT, self._scale, self._thickness)
        margin = round(7 * self._scale)
        width, height = width + 2 * margin, height + 2 * margin
        left = int(np.clip(anchor[0] - width / 2, 0, max(self._image.shape[1] - width, 0)))
        top = int(np.clip(anchor[1] - height, 0, max(self._image.shape[0] - height, 0)))
        for taken in sorted(self._taken, key=lambda box: -box[1]):  # give way upwards, from the lowest one on
            if left < taken[2] and left + width > taken[0] and top < taken[3] and top + height > taken[1]:
                top = max(taken[1] - height - 1, 0)
        self._taken.append((left, top, left + width, top + height))

        background: Colour = (28, 28, 28) if hidden else colour
        foreground = colour if hidden else text_colour(colour)
        bottom_right = (left + width - 1, top + height - 1)
        if hidden:
            patch = self._image[top : top + height, left : left + width]
            patch[:] = (0.3 * patch + 0.7 * np.array(background)).astype(np.uint8)
            dashed_box(self._image, (left, top, *bottom_right), colour, self._thickness)
        else:
            cv2.rectangle(self._image, (left, top), bottom_right, background, cv2.FILLED)
            cv2.rectangle(self._image, (left, top), bottom_right, text_colour(colour), 1)
        foot = (left + margin, top + height - margin)
        cv2.putText(self._image, text, foot, _FONT, self._scale, foreground, self._thickness, cv2.LINE_AA)


def dashed_box(
    image: NDArray[np.uint8], box: tuple[float, float, float, float], colour: Colour, thickness: int
) -> None:
    """The outline of an xyxy box in dashes, into `image` in place; parts outside it are not drawn."""
    if not np.isfinite(box).all():
        return
    height, width = image.shape[:2]
    # Just outside the picture is as good as far outside, and keeps the number of dashes bounded.
    x1, x2 = (int(x) for x in np.clip((box[0], box[2]), -thickness, width - 1 + thickness))
    y1, y2 = (int(y) for y in np.clip((box[1], box[3]), -thickness, height - 1 + thickness))
    dash = max(4, 5 * thickness)
    for x in range(x1, x2 + 1, 2 * dash):
        for y in (y1, y2):
            cv2.line(image, (x, y), (min(x + dash, x2), y), colour, thickness)
    for y in range(y1, y2 + 1, 2 * dash):
        for x in (x1, x2):
            cv2.line(image, (x, y), (x, min(y + dash, y2)), colour, thickness)


def caption(image: NDArray[np.uint8], text: str) -> None:
    """The caption of a panel, in its upper left corner."""
    scale = min(max(min(image.shape[:2]) / 800, 0.4), 1.2)
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, 0.94 * image.shape[1] / width)
    cv2.putText(image, text, (round(14 * scale), round(32 * scale)), _FONT, scale, (70, 70, 70), 1, cv2.LINE_AA)
