"""Masks as COCO run-length encodings, the form they have in result files.

An encoding lists the lengths of the runs of 0 and 1, turn about and starting with 0, over the frame read column by
column; ``counts`` holds them compressed to printable bytes. pycocotools compresses.
Decoding is here: pycocotools builds the whole frame, which takes several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Mask

MAX_SIDE = 1 << 15  # pixels of a frame
MAX_COUNTS = 1 << 20  # bytes or runs of an encoding


def to_rle(mask: Mask) -> dict[str, Any]:
    """``{"size": [H, W], "counts": bytes}`` of the whole frame, the same as pycocotools encodes the full mask to.

    The runs are found within the mask's own rectangle, so the cost does not grow with the frame.
    """
    height, width = mask.size
    h, w = mask.pixels.shape
    columns = np.zeros((w, h + 2), dtype=bool)  # with a row of background above and below
    columns[:, 1:-1] = mask.pixels.T
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), h + 1)
    edges = (mask.left + column) * height + mask.top + row
    # A run that goes on from the foot of a column to the head of the next ends and begins at one place: it is one run.
    joined = np.flatnonzero(edges[1:] == edges[:-1])
    edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    edges = edges[edges < height * width]
    counts = np.diff(edges, prepend=0, append=height * width)
    return dict(coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width))


def from_rle(rle: Mapping[str, Any]) -> Mask:
    """The mask of a COCO encoding whose ``counts`` are compressed (bytes or str) or a list of run lengths.

    Raises: FourDHumansError where the runs do not fit the size.
    """
    size, _, runs = _checked(rle)
    return _decoded(size, runs)


def read_rle(rle: Mapping[str, Any]) -> Mask | None:
    """The same, but decoded only when its pixels are asked for; None for a mask without pixels.

    Raises: FourDHumansError where the runs do not fit the size.
    """
    size, data, runs = _checked(rle)
    if not runs[1::2].any():
        return None
    if data is None:
        return Mask.deferred(size, partial(_decoded, size, runs))
    return Mask.deferred(size, lambda: _decoded(size, _decompressed(data)))


def _checked(rle: Mapping[str, Any]) -> tuple[tuple[int, int], bytes | None, NDArray[np.int64]]:
    """(height, width), the compressed counts where they are, and the run lengths."""
    try:
        height, width = (int(length) for length in rle["size"])
        counts = rle["counts"]
        data = counts.encode("ascii") if isinstance(counts, str) else counts if isinstance(counts, bytes) else None
        if len(counts) > MAX_COUNTS or not (0 <= height <= MAX_SIDE and 0 <= width <= MAX_SIDE):
            raise ValueError(f"a mask of {height}x{width} pixels in {len(counts)} parts")
        runs = _decompressed(data) if data is not None else _runs(counts)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise FourDHumansError(f"not a COCO run-length mask: {error}") from error
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise FourDHumansError(f"not a COCO run-length mask: its runs do not fit {height}x{width} pixels")
    return (height, width), data, runs


def _runs(counts: Any) -> NDArray[np.int64]:
    if not isinstance(counts, list | tuple | np.ndarray) or not all(isinstance(n, int | np.integer) for n in counts):
        raise ValueError("its counts are no list of whole numbers")
    return np.array(counts, np.int64)


def _decoded(size: tuple[int, int], runs: NDArray[np.int64]) -> Mask:
    height, _ = size
    ends = runs.cumsum()
    starts_of_ones, ends_of_ones = ends[0:-1:2][runs[1::2] > 0], ends[1::2][runs[1::2] > 0]
    if not len(starts_of_ones):
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    left, right = int(starts_of_ones[0] // height), int((ends_of_ones[-1] - 1) // height) + 1
    edges = np.clip(ends, left * height, right * height)  # only the columns that have any pixel are built
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, np.diff(edges, prepend=left * height)).reshape(-1, height).T
    mask = Mask.from_full(pixels)
    return Mask(np.ascontiguousarray(mask.pixels), left + mask.left, mask.top, size)


def _decompressed(data: bytes) -> NDArray[np.int64]:
    """The run lengths in COCO's printable bytes.

    Each is a number in base 32, lowest digit first, the sixth bit of a digit telling that more follow and the fifth bit
    of the last one the sign. From the fourth on it is the difference to the run two before.
    """
    digits = np.frombuffer(data, np.uint8).astype(np.int64) - ord("0")
    last = np.flatnonzero(digits & 0x20 == 0)
    if not len(digits) or digits.min() < 0 or last[-1] != len(digits) - 1:
        raise ValueError("its counts end early")
    first = np.concatenate([[0], last[:-1] + 1])
    if (last - first).max() > 6:
        raise ValueError("a run longer than any frame")
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((digits & 0x1F) << 5 * place, first)
    runs -= np.where(digits[last] & 0x10, 1 << 5 * (last - first + 1), 0)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    return runs
