"""What a data set tells of one person in a picture, and its form in the released data sets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_NAMES, OPENPOSE_NAMES
from fourd_humans.body.loading import SMPL
from fourd_humans.files.arrays import number, numbers, plain
from fourd_humans.people import Float

NUM_KEYPOINTS = 44
"""OpenPose's 25 in its order, then 19 more: the body's 45 joints but for the root (docs/body.md)."""
BOX_UNIT = 200.0
"""Pixels of box that one unit of the layout's `scale` stands for."""
BOX_ENLARGEMENT = 1.2
"""Boxes of the data sets are so much larger than the tight ones."""
COCO_TO_44 = tuple(OPENPOSE_NAMES.index(name) for name in COCO_NAMES)
"""Where detected COCO keypoints go: to OpenPose's points. Annotated ones as well."""
BETTER_AMONG_THE_19 = slice(1, 15)
"""OpenPose's joints whose 3D positions are better defined among the 19; as 3D keypoints they are not used."""


@dataclass(frozen=True)
class PersonAnnotation:
    """One person in a picture.

    center: (2,) of the box, in pixels. box_size: (2,) width and height in pixels, 1.2 times those of the tight box.
    keypoints_2d: (44, 3) x, y in pixels and a confidence, 0 where absent. keypoints_3d: (44, 4) metres in the camera's
    axes (x right, y down, z away) with any origin, and a confidence.
    body_pose: (72,) axis-angle of SMPL's 24 joints, the root first, in the camera's frame; betas: (10,).
    has_body_pose: also of the root. reprojection_loss: of the fit that the pose comes from; None where not known.
    mask: index among the picture's masks, or None. shape_space: of the body that the betas belong to.
    """

    center: Float
    box_size: Float
    keypoints_2d: Float = field(default_factory=lambda: np.zeros((NUM_KEYPOINTS, 3), np.float32))
    keypoints_3d: Float = field(default_factory=lambda: np.zeros((NUM_KEYPOINTS, 4), np.float32))
    body_pose: Float = field(default_factory=lambda: np.zeros(72, np.float32))
    betas: Float = field(default_factory=lambda: np.zeros(10, np.float32))
    has_body_pose: bool = False
    has_betas: bool = False
    reprojection_loss: float | None = None
    mask: int | None = None
    shape_space: str = SMPL


def from_box(box: NDArray[np.floating], **known: Any) -> PersonAnnotation:
    """The annotation with the tight `box` (4,) xyxy, enlarged as the data sets have it. known: the other fields."""
    x0, y0, x1, y1 = (float(value) for value in box)
    center = np.array([(x0 + x1) / 2, (y0 + y1) / 2], np.float32)
    size = np.array([x1 - x0, y1 - y0], np.float32) * np.float32(BOX_ENLARGEMENT)
    return PersonAnnotation(center, size, **known)


def coco_keypoints(keypoints: NDArray[np.floating]) -> Float:
    """COCO's (17, 3) keypoints, x, y and confidence, as (44, 3)."""
    placed = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    placed[list(COCO_TO_44)] = keypoints
    placed[placed[:, 2] <= 0] = 0
    return placed


def to_entry(person: PersonAnnotation) -> dict[str, Any]:
    """The person as an entry of ``data.pyd`` in the released tars."""
    extra: dict[str, Any] = {}
    if person.shape_space != SMPL:
        extra["shape_space"] = person.shape_space
    if person.mask is not None:
        extra["detection_npz_idx"] = person.mask
    if person.reprojection_loss is not None:
        loss = np.array(None, object)
        loss[()] = {"reprojection_loss": float(person.reprojection_loss)}
        extra["fitting_loss"] = loss
    return {
        "keypoints_2d": person.keypoints_2d.astype(np.float32),
        "keypoints_3d": without_duplicates(person.keypoints_3d),
        "center": person.center.astype(np.float32),
        "scale": (person.box_size / BOX_UNIT).astype(np.float32),
        "body_pose": person.body_pose.astype(np.float32),
        "betas": person.betas.astype(np.float32),
        "has_body_pose": np.array(float(person.has_body_pose), np.float32),
        "has_betas": np.array(float(person.has_betas), np.float32),
        "extra_info": extra,
    }


def from_entry(entry: Any) -> PersonAnnotation:
    """The person in an entry of ``data.pyd``, checked.

    Raises: ValueError saying what is wrong with it.
    """
    if not isinstance(entry, Mapping):
        raise ValueError("a person is no dictionary")

    def read(name: str, *shape: int) -> Float:
        if name not in entry:
            raise ValueError(f"a person lacks '{name}'")
        try:
            values: Float = numbers(entry[name], shape)
        except ValueError as error:
            raise ValueError(f"a person's '{name}' {error}") from error
        return values

    extra = entry.get("extra_info")
    extra = extra if isinstance(extra, Mapping) else {}
    mask, shape_space = extra.get("detection_npz_idx"), extra.get("shape_space", SMPL)
    person = PersonAnnotation(
        center=read("center", 2),
        box_size=read("scale", 2) * np.float32(BOX_UNIT),
        keypoints_2d=read("keypoints_2d", NUM_KEYPOINTS, 3),
        keypoints_3d=without_duplicates(read("keypoints_3d", NUM_KEYPOINTS, 4)),
        body_pose=read("body_pose", 72),
        betas=read("betas", 10),
        has_body_pose=bool(read("has_body_pose")),
        has_betas=bool(read("has_betas")),
        reprojection_loss=_reprojection_loss(extra.get("fitting_loss")),
        mask=None if mask is None else int(number(mask)),
        shape_space=shape_space if isinstance(shape_space, str) else "",
    )
    return checked(person)


def checked(person: PersonAnnotation) -> PersonAnnotation:
    """The person, with zeros for numbers that do not count and are not finite.

    Keypoints without confidence keep their positions: 3D keypoints are centred on the pelvis whatever its confidence.
    Raises: ValueError where a number that counts is not finite, or the box has no size.
    """
    if not (np.isfinite(person.center).all() and np.isfinite(person.box_size).all() and person.box_size.max() > 0):
        raise ValueError("a person's box has no size or is not finite")
    for name, points in (("keypoints_2d", person.keypoints_2d), ("keypoints_3d", person.keypoints_3d)):
        points[(points[:, -1] == 0) & ~np.isfinite(points).all(1)] = 0
        if not np.isfinite(points).all():
            raise ValueError(f"a person's '{name}' are not finite")
    for has, values in ((person.has_body_pose, person.body_pose), (person.has_betas, person.betas)):
        if not has:
            values[~np.isfinite(values)] = 0
        elif not np.isfinite(values).all():
            raise ValueError("a person's pose or betas are not finite")
    return person


def without_duplicates(keypoints_3d: NDArray[np.floating]) -> Float:
    """(…, 44, 4) without confidence in those of OpenPose's joints that are among the 19 as well, as released."""
    keypoints = np.array(keypoints_3d, np.float32)
    keypoints[..., BETTER_AMONG_THE_19, 3] = 0
    return keypoints


def _reprojection_loss(value: Any) -> float | None:
    """From a dictionary, or an array that holds one. What cannot be read is not known."""
    if isinstance(value, np.ndarray) and value.dtype.hasobject and value.size == 1:
        value = value.item()
    if not isinstance(value, Mapping) or "reprojection_loss" not in value:
        return None
    loss = plain(value["reprojection_loss"])
    while isinstance(loss, list) and len(loss) == 1:
        loss = loss[0]
    return float(loss) if isinstance(loss, int | float) and not math.isnan(loss) else None
