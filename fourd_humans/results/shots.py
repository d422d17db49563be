"""What is known of the shots, between `Shot` and plain values in the last entry of a result file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from fourd_humans.files.arrays import number, plain
from fourd_humans.people import CameraMotion, Gravity, Shot

MAX_NUMBERS = 2_000_000  # in all shots of a file: keyframes of some hundred hours of a rotating camera


def to_plain(shots: Sequence[Shot]) -> list[dict[str, Any]]:
    """Shots as dictionaries of numbers, text and one array each: (K, 10) keyframes with their rotations, row by row."""
    return [
        {
            "first_frame": shot.first_frame,
            "last_frame": shot.last_frame,
            "gravity": None
            if shot.gravity is None
            else {
                "up": list(shot.gravity.up),
                "floor": shot.gravity.floor,
                "confidence": shot.gravity.confidence,
                "focal_length": shot.gravity.focal_length,
            },
            "camera_motion": shot.camera_motion,
            "rotations": np.array(
                [[frame, *np.ravel(rotation)] for frame, rotation in shot.rotations], np.float64
            ).reshape(-1, 10),
        }
        for shot in shots
    ]


def from_plain(value: Any) -> list[Shot]:
    """The inverse. Raises: ValueError or KeyError for anything else."""
    read = plain(value, items=MAX_NUMBERS)
    if not isinstance(read, list):
        raise ValueError("'shots' is no list")
    return [_shot(each) for each in read]


def _shot(value: Any) -> Shot:
    if not isinstance(value, dict) or value.get("camera_motion") not in get_args(CameraMotion):
        raise ValueError("'shots' has an entry that is no shot")
    gravity = value["gravity"]
    rotations = []
    for row in value["rotations"]:
        numbers = [number(each) for each in row]
        if len(numbers) != 10 or not np.isfinite(numbers).all():
            raise ValueError("'shots' has a rotation that is none")
        a, b, c, d, e, f, g, h, i = numbers[1:]
        rotations.append((int(numbers[0]), ((a, b, c), (d, e, f), (g, h, i))))
    return Shot(
        int(number(value["first_frame"])),
        int(number(value["last_frame"])),
        None if gravity is None else _gravity(gravity),
        value["camera_motion"],
        tuple(rotations),
    )


def _gravity(value: Any) -> Gravity:
    if not isinstance(value, dict) or len(value["up"]) != 3:
        raise ValueError("'shots' has a gravity that is none")
    x, y, z = (number(each) for each in value["up"])
    floor, confidence, focal = (number(value[key]) for key in ("floor", "confidence", "focal_length"))
    if not all(map(math.isfinite, (x, y, z, floor, confidence, focal))) or math.hypot(x, y, z) < 0.5:
        raise ValueError("'shots' has a gravity that is none")
    return Gravity((x, y, z), floor, confidence, focal)
