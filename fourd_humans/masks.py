"""Masks as COCO run-length encodings, the form they have in result files.

An encoding lists the lengths of the runs of 0 and 1, turn about and starting with 0, over the frame read column by
column; ``counts`` holds them compressed to printable bytes. pycocotools compresses and decodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
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
        height, width = (int(n) for n in rle["size"])
        counts = rle["counts"]
        encoded = {"size": [height, width], "counts": counts}
        if not isinstance(counts, str | bytes):
            encoded = coco.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
        full = coco.decode(encoded)
        left, top, w, h = (int(n) for n in coco.toBbox(encoded))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FourDHumansError(f"not a COCO run-length mask: {error}") from error
    pixels = full[top : top + h, left : left + w].astype(bool)
    return Mask(np.ascontiguousarray(pixels), left if pixels.size else 0, top if pixels.size else 0, (height, width))
