"""Tiles of a frame for people who are too small in it: where a crowd is, and which of its people a tile cuts.

A tile is a part of the frame that the detector sees at the size at which it otherwise sees the whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fourd_humans.people import Float

SMALL = 50.0  # pixels of the network's input: of lower people the detector misses most
LIKELY = 0.15  # least value of the centre map at a person who may be there
SURE = 0.5  # value of the centre map from which on a person is certainly there
CROWD = 3  # so many small people are one
OVERLAP = 0.2  # of a tile's sides, so that a person whom one tile cuts is whole in the next
MARGIN = 0.03  # of a tile's sides: people who reach so close to its edge are cut

Tile = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the frame


def has_small_people(heights: Float, likelihoods: Float) -> bool:
    """Whether to look closer: some people are small, or nobody is certainly there.

    heights: (N,) of the peaks of the centre map, in pixels of the network's input. likelihoods: (N,) their values.
    """
    small = (heights < SMALL) & (likelihoods > LIKELY)
    return bool(small.sum() >= CROWD or likelihoods.max(initial=0) < SURE)


def grid(size: tuple[int, int], count: int) -> list[Tile]:
    """The frame of `size` (height, width) as `count` x `count` tiles of its own shape, which overlap."""
    share = 1 / (count - (count - 1) * OVERLAP)
    starts = np.linspace(0, 1 - share, count)
    height, width = size
    return [
        (int(x * width), int(y * height), math.ceil((x + share) * width), math.ceil((y + share) * height))
        for y in starts
        for x in starts
    ]


def is_whole(boxes: Float, tile: Tile, size: tuple[int, int]) -> NDArray[np.bool_]:
    """(N,) which boxes (N, 4), in pixels of the frame of `size` (height, width), no edge of the tile cuts; the frame's
    own edges do not count."""
    height, width = size
    x1, y1, x2, y2 = tile
    margin_x, margin_y = MARGIN * (x2 - x1), MARGIN * (y2 - y1)
    low = np.array([-np.inf if x1 <= 0 else x1 + margin_x, -np.inf if y1 <= 0 else y1 + margin_y])
    high = np.array([np.inf if x2 >= width else x2 - margin_x, np.inf if y2 >= height else y2 - margin_y])
    return np.asarray((boxes[:, :2] > low).all(1) & (boxes[:, 2:] < high).all(1))
