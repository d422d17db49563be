"""Where one shot of a video ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import ContentDetector, FrameTimecode

LONGER_SIDE = 256  # pixels of the pictures that are compared: enough to see a cut, and little work


class CutDetector:
    """Tells cuts frame by frame, by how much hue, saturation and brightness change (PySceneDetect's content detector).

    threshold: of the mean change per pixel, 0 to 255, from which on it is a cut.
    size: (height, width) that the images are reduced from; by default that of the first.
    """

    def __init__(self, threshold: float = 27.0, size: tuple[int, int] | None = None) -> None:
        # No shortest shot: its filter would also swallow a cut right after the beginning.
        self._detector = ContentDetector(threshold, min_scene_len=0)
        self._count = 0
        self._size = None if size is None else _reduced(size)  # (width, height) of what is compared

    def update(self, image: NDArray[np.uint8]) -> bool:
        """Whether a new shot begins with this image, (H, W, 3) RGB, the next one of the video. The first is none."""
        if self._size is None:
            self._size = _reduced(image.shape[:2])
        width, height = self._size
        # Leaving out pixels is much cheaper than averaging them all; where it enlarges, it repeats them.
        double = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_NEAREST)
        small = cv2.resize(double, self._size, interpolation=cv2.INTER_AREA)
        time = FrameTimecode(self._count, fps=30.0)  # of which only the number matters
        self._count += 1
        return bool(self._detector.process_frame(time, cv2.cvtColor(small, cv2.COLOR_RGB2BGR)))


def _reduced(size: Sequence[int]) -> tuple[int, int]:
    """(width, height) of an image of `size` (height, width) with its longer side reduced to `LONGER_SIDE`."""
    scale = min(LONGER_SIDE / max(size), 1)
    return max(round(size[1] * scale), 1), max(round(size[0] * scale), 1)
