"""Masks as COCO run-length encodings, the form they have in result files.

An encoding lists the lengths of the runs of 0 and 1, turn about and starting with 0, over the frame read column by
column; ``counts`` holds them compressed to printable bytes. pycocotools compresses.
Decoding is here: pycocotools builds the whole frame, which takes several times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Mask


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
    try:
        height, width = (int(length) for length in rle["size"])
        counts = rle["counts"]
        runs = _decompressed(counts) if isinstance(counts, str | bytes) else np.asarray(counts, np.int64).reshape(-1)
    except (IndexError, KeyError, TypeError, UnicodeEncodeError, ValueError) as error:
        raise FourDHumansError(f"not a COCO run-length mask: {error}") from error
    if min(height, width) < 0 or (runs < 0).any() or runs.sum() != height * width:
        raise FourDHumansError(f"not a COCO run-length mask: its runs do not fit {height}x{width} pixels")
    ends = runs.cumsum()
    starts_of_ones, ends_of_ones = ends[0:-1:2][runs[1::2] > 0], ends[1::2][runs[1::2] > 0]
    if not len(starts_of_ones):
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, (height, width))
    left, right = int(starts_of_ones[0] // height), int((ends_of_ones[-1] - 1) // height) + 1
    edges = np.clip(ends, left * height, right * height)  # only the columns that have any pixel are built
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, np.diff(edges, prepend=left * height)).reshape(-1, height).T
    mask = Mask.from_full(pixels)
    return Mask(np.ascontiguousarray(mask.pixels), left + mask.left, mask.top, (height, width))


def _decompressed(counts: str | bytes) -> NDArray[np.int64]:
    """The run lengths in COCO's printable bytes.

    Each is a number in base 32, lowest digit first, the sixth bit of a digit telling that more follow and the fifth bit
    of the last one the sign. From the fourth on it is the difference to the run two before.
    """
    data = counts.encode("ascii") if isinstance(counts, str) else counts
    digits = np.frombuffer(data, np.uint8).astype(np.int64) - ord("0")
    last = np.flatnonzero(digits & 0x20 == 0)
    if not len(digits) or digits.min() < 0 or last[-1] != len(digits) - 1:
        raise ValueError("its counts end early")
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    runs = np.add.reduceat((digits & 0x1F) << 5 * place, first)
    runs -= np.where(digits[last] & 0x10, 1 << 5 * (last - first + 1), 0)
    runs[1::2], runs[2::2] = runs[1::2].cumsum(), runs[2::2].cumsum()
    return runs
