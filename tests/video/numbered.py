"""Pictures that show a number, and sound whose place can be heard."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BITS = 8
SOUND_RATE = 48000


def numbered(number: int, size: tuple[int, int] = (48, 128)) -> NDArray[np.uint8]:
    """A picture with `number` in binary: eight upright bars, white for 1, over a red upper left corner."""
    bars = [255 * (number >> bit & 1) for bit in range(BITS)]
    image = np.repeat(np.array(bars, np.uint8), size[1] // BITS)[None, :, None].repeat(size[0], 0).repeat(3, 2)
    image = np.pad(image, ((0, 0), (0, size[1] - image.shape[1]), (0, 0)))
    image[: size[0] // 3, : size[1] // 3] = (220, 30, 30)
    return image


def number_in(image: NDArray[np.uint8]) -> int:
    """The number of a picture of `numbered`."""
    bars = np.array_split(image[image.shape[0] * 2 // 3 :, : image.shape[1] // BITS * BITS], BITS, axis=1)
    return sum(int(bar.mean() > 127) << bit for bit, bar in enumerate(bars))


def sine(seconds: float, frequencies: Sequence[float]) -> NDArray[np.float32]:
    """(1, samples) sound, one frequency after the other."""
    t = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    which = np.minimum((t / seconds * len(frequencies)).astype(int), len(frequencies) - 1)
    return (0.5 * np.sin(2 * np.pi * np.asarray(frequencies)[which] * t)).astype(np.float32)[None]
