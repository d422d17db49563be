"""Crops of people as HMR 2.0 is trained on: moved, scaled, rotated, flipped, recoloured, and cut to parts of the body.

Supplement, S.2; the laws are those of the released configuration. Extreme crops are those of Joo et al., "Exemplar
Fine-Tuning for 3D Human Model Fitting", 2021.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.joints import JOINT_NAMES, MIRRORED_SMPL
from fourd_humans.geometry.crops import ASPECT
from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.people import Float
from fourd_humans.recovery.hmr2.crops import BLUR_FROM, CROP_SIZE
from fourd_humans.training.hmr2.annotations import BOX_ENLARGEMENT, NUM_KEYPOINTS, PersonAnnotation

Pixels = NDArray[np.uint8]


def _mirrored(name: str) -> str:
    return name.replace("left", "#").replace("right", "left").replace("#", "right")


MIRRORED_KEYPOINTS = tuple(JOINT_NAMES.index(_mirrored(name)) for name in JOINT_NAMES[:NUM_KEYPOINTS])
"""Of each of the 44 keypoints the one on the other side, or itself."""


@dataclass(frozen=True)
class Augmentation:
    """How crops are varied. A rate is the probability that something is done at all: 0 or less for never, 1 for always.

    translation: standard deviation of the shift, as a share of the box, cut off at one deviation.
    scale: that of the factor on the box around 1, cut off likewise. rotation: in degrees, cut off at two deviations.
    colour: each channel is multiplied by a factor so far around 1.
    extreme_crop_level: 1: parts of the body down to a single arm; 0: down to the head only.
    released_head_crop: crops to the head keep OpenPose's shoulders, as in the released code.
    widen: boxes are first widened to 192:256, what the encoder sees, as at test time; not so in the released training.
    antialias: blur pictures before they are shrunk by more than 2.2. border: what lies outside the picture.
    """

    translation: float = 0.02
    scale: float = 0.3
    rotation: float = 30.0
    rotation_rate: float = 0.6
    flip_rate: float = 0.5
    extreme_crop_rate: float = 0.1
    extreme_crop_level: Literal[0, 1] = 1
    colour: float = 0.2
    released_head_crop: bool = True
    widen: bool = False
    antialias: bool = False
    border: Literal["black", "replicate"] = "black"


@dataclass(frozen=True)
class Draw:
    """One variation. shift: (x, y) as a share of the box. rotation: degrees. extreme_crop: in 0..1, which part of the
    body is cut out; None: the whole. colour: a factor for each channel."""

    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation: float = 0.0
    flip: bool = False
    extreme_crop: float | None = None
    colour: tuple[float, ...] = (1.0, 1.0, 1.0)


class Generators:
    """Those that the released code draws from: numpy's old one, Python's, and one for parts of the body."""

    def __init__(self, seed: int) -> None:
        self.normal = np.random.RandomState(seed)
        self.uniform, self.part = random.Random(seed), random.Random(seed + 1)


def draw_augmentation(settings: Augmentation, generators: Generators) -> Draw:
    """Draw as the released code does, in its order."""
    uniform = generators.uniform

    def clipped(limit: float) -> float:
        return float(np.clip(generators.normal.randn(), -limit, limit))

    shift = settings.translation * clipped(1), settings.translation * clipped(1)
    scale = 1 + settings.scale * clipped(1)
    rotation = settings.rotation * clipped(2) if uniform.random() <= settings.rotation_rate else 0.0
    flip = uniform.random() <= settings.flip_rate
    extreme = uniform.random() <= settings.extreme_crop_rate
    colour = tuple(uniform.uniform(1 - settings.colour, 1 + settings.colour) for _ in range(3))
    return Draw(shift, scale, rotation, flip, generators.part.random() if extreme else None, colour)


@dataclass(frozen=True)
class Box:
    """A box in a picture, in pixels."""

    x: float
    y: float
    width: float
    height: float


# The keypoints that each extreme crop keeps, and a factor on the size of the box around them.
_LEGS = (*range(8, 15), *range(19, 31), 39)
EXTREME_CROPS: Mapping[str, tuple[tuple[int, ...], float]] = {
    "hips up": ((*range(10), 12, *range(15, 19), 27, 28, *range(31, 44)), 1.1),
    "shoulders up": ((0, 1, 2, 5, *range(15, 19), 33, 34, 37, 38, 42, 43), 1.2),
    "head": ((0, 1, 2, 5, *range(15, 19), 37, 38, 42, 43), 1.3),
    "torso": ((1, 2, 5, 8, 9, 12, 27, 28, 33, 34, 37, 39, 40, 41), 1.1),
    "right arm": ((2, 3, 4, 31, 32, 33), 1.1),
    "left arm": ((5, 6, 7, 34, 35, 36), 1.1),
    "legs": (_LEGS, 1.1),
    "right leg": ((9, 10, 11, 22, 23, 24, 25, 26, 27), 1.1),
    "left leg": ((12, 13, 14, 19, 20, 21, 28, 29, 30), 1.1),
}
_SHOULDERS = (2, 5)
# Up to which number each is taken, by what is seen of the person and the level.
_CHOICES: Mapping[tuple[str, int], Sequence[tuple[float, str]]] = {
    ("full body", 1): (
        (0.2, "hips up"), (0.3, "shoulders up"), (0.4, "head"), (0.5, "torso"), (0.6, "right arm"), (0.7, "left arm"),
        (0.8, "legs"), (0.9, "right leg"), (1.0, "left leg"),
    ),
    ("upper body", 1): (
        (0.2, "shoulders up"), (0.4, "head"), (0.6, "torso"), (0.8, "right arm"), (1.0, "left arm"),
    ),
    ("full body", 0): ((0.7, "hips up"), (0.9, "shoulders up"), (1.0, "head")),
    ("upper body", 0): ((0.9, "shoulders up"), (1.0, "head")),
}  # fmt: skip
LEAST_CONFIDENCE, LEAST_SIDE = 1.0, 4.0  # of the keypoints of an extreme crop together; pixels

_LIMBS = ("shoulder", "elbow", "wrist", "knee", "ankle")
_LIMB_PAIRS = [
    (JOINT_NAMES.index(f"openpose_{side}_{limb}"), JOINT_NAMES.index(f"surface_{side}_{limb}"))
    for limb in _LIMBS
    for side in ("left", "right")
]
_LOWER = [joint for pair in _LIMB_PAIRS[6:] for joint in pair]
_HEAD = [JOINT_NAMES.index(name) for name in (
    "openpose_nose", "openpose_neck", "openpose_right_eye", "openpose_left_eye", "openpose_right_ear",
    "openpose_left_ear", "surface_right_shoulder", "surface_left_shoulder", "neck", "head_top", "jaw", "head",
)]  # fmt: skip


def seen_part(keypoints: NDArray[np.floating]) -> str | None:
    """Of (44, 3) keypoints: 'full body' where all limbs are there, 'upper body' where no knee or ankle but some of the
    head and shoulders is; else None."""
    there = keypoints[:, 2] > 0
    if there[_LIMB_PAIRS].any(1).all():
        return "full body"
    return "upper body" if not there[_LOWER].any() and there[_HEAD].sum() >= 2 else None


def chosen_crop(keypoints: NDArray[np.floating], number: float, level: int) -> str | None:
    """Which of `EXTREME_CROPS` a random number in 0..1 stands for; None where none is possible."""
    seen = seen_part(keypoints)
    if seen is None:
        return None
    return next((crop for limit, crop in _CHOICES[seen, level] if number < limit), _CHOICES[seen, level][-1][1])


def extreme_crop_box(box: Box, keypoints: NDArray[np.floating], crop: str, *, released_head_crop: bool = True) -> Box:
    """The box around the keypoints of a part of the body, or `box` where there are too few of them."""
    kept, factor = EXTREME_CROPS[crop]
    if crop == "head" and not released_head_crop:
        kept = tuple(point for point in kept if point not in _SHOULDERS)
    points = keypoints[list(kept)]
    points = points[points[:, 2] > 0]
    if points[:, 2].sum() <= LEAST_CONFIDENCE:
        return box
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    width, height = (float(extent) * BOX_ENLARGEMENT * factor for extent in high - low)
    x, y = ((low + high) / 2).tolist()
    return Box(x, y, width, height)


def box_to_crop(person: PersonAnnotation, draw: Draw, settings: Augmentation) -> Box:
    """The square to cut out before it is scaled and rotated, in the picture as it is."""
    (x, y), (width, height) = person.center.tolist(), person.box_size.tolist()
    side = max(width / ASPECT, height) if settings.widen else max(width, height)
    box = Box(x, y, side, side)
    if draw.extreme_crop is not None:
        crop = chosen_crop(person.keypoints_2d, draw.extreme_crop, settings.extreme_crop_level)
        if crop is not None:
            tight = extreme_crop_box(box, person.keypoints_2d, crop, released_head_crop=settings.released_head_crop)
            side = max(tight.width, tight.height)
            if side >= LEAST_SIDE:
                box = Box(tight.x, tight.y, side, side)
    return Box(box.x + draw.shift[0] * box.width, box.y + draw.shift[1] * box.height, box.width, box.height)


def crop_transform(box: Box, draw: Draw, width: int, crop_size: int = CROP_SIZE) -> NDArray[np.float64]:
    """(2, 3) from pixels of the picture of `width` pixels, after the flip if there is one, to pixels of the crop.

    Crop pixel u shows center + R(rotation)·(u − size/2)·side·scale/size, where R turns x towards y.
    """
    angle, zoom = math.radians(draw.rotation), crop_size / (box.width * draw.scale)
    turn = zoom * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    center = np.array([width - 1 - box.x if draw.flip else box.x, box.y])
    return np.column_stack([turn, crop_size / 2 - turn @ center])


def warp(picture: Pixels, transform: NDArray[np.float64], settings: Augmentation, crop_size: int = CROP_SIZE) -> Pixels:
    """The crop (crop_size, crop_size, C) of a picture (H, W, C), flipped already where it has to be."""
    if settings.antialias:
        reduction = 1 / math.hypot(*transform[:, 0]) / 2
        if reduction > BLUR_FROM:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), (reduction - 1) / 2), np.uint8)
    border = cv2.BORDER_REPLICATE if settings.border == "replicate" else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(picture, transform, (crop_size, crop_size), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, np.uint8)


def flip_pose(body_pose: Float) -> Float:
    """Axis-angle (…, 72) of the person in the mirror."""
    joints = body_pose.reshape(*body_pose.shape[:-1], 24, 3)[..., list(MIRRORED_SMPL), :]
    flipped: Float = (joints * np.array([1, -1, -1], body_pose.dtype)).reshape(body_pose.shape)
    return flipped


def flip_keypoints_2d(keypoints: Float, width: int) -> Float:
    """(…, 44, 3) in the mirrored picture of `width` pixels."""
    flipped = keypoints[..., list(MIRRORED_KEYPOINTS), :].copy()
    flipped[..., 0] = width - 1 - flipped[..., 0]
    return flipped


def flip_keypoints_3d(keypoints: Float) -> Float:
    """(…, 44, 4) of the person in the mirror."""
    flipped = keypoints[..., list(MIRRORED_KEYPOINTS), :].copy()
    flipped[..., 0] *= -1
    return flipped


def rotation_in_image(degrees: float) -> Tensor:
    """(3, 3) what people turn by in the camera's frame where the crop is rotated by `degrees`."""
    return axis_angle_to_matrix(torch.tensor([0.0, 0.0, -math.radians(degrees)]))


def cut_out(person: PersonAnnotation, picture: Pixels, draw: Draw, settings: Augmentation) -> dict[str, Any]:
    """A crop of the picture (H, W, 3) and its targets, as tensors.

    image: (256, 256, 3) uint8, to be multiplied by `colour` (3,) and normalised (`losses.normalise`).
    keypoints_2d: (44, 3) in units of the crop, 0 in its middle and ±0.5 at its edges, with confidences.
    keypoints_3d: (44, 4). global_orient: (1, 3, 3), body_pose: (23, 3, 3), betas: (10,); has_body_pose,
    has_betas: 0 or 1.
    center: (2,), side: of the square in the picture, in pixels; box_size: the longer side of the annotated box.
    """
    width = picture.shape[1]
    box = box_to_crop(person, draw, settings)
    transform = crop_transform(box, draw, width)
    keypoints_2d, keypoints_3d, pose = person.keypoints_2d, person.keypoints_3d, person.body_pose
    if draw.flip:
        picture = np.asarray(cv2.flip(picture, 1), np.uint8)
        keypoints_2d, keypoints_3d = flip_keypoints_2d(keypoints_2d, width), flip_keypoints_3d(keypoints_3d)
        pose = flip_pose(pose)
    points = keypoints_2d[:, :2] @ transform[:, :2].T + transform[:, 2]
    rotations = axis_angle_to_matrix(torch.from_numpy(pose.reshape(24, 3)))
    turn = rotation_in_image(draw.rotation)
    points_3d = torch.from_numpy(keypoints_3d)
    return {
        "image": torch.from_numpy(warp(picture, transform, settings)),
        "colour": torch.tensor(draw.colour),
        "keypoints_2d": torch.from_numpy(
            np.column_stack([points / CROP_SIZE - 0.5, keypoints_2d[:, 2]]).astype(np.float32)
        ),
        "keypoints_3d": torch.cat([points_3d[:, :3] @ turn.T, points_3d[:, 3:]], 1),
        "global_orient": turn @ rotations[:1],
        "body_pose": rotations[1:],
        "betas": torch.from_numpy(person.betas.copy()),
        "has_body_pose": torch.tensor(float(person.has_body_pose)),
        "has_betas": torch.tensor(float(person.has_betas)),
        "center": torch.tensor([box.x, box.y]),
        "side": torch.tensor(box.width * draw.scale),
        "box_size": torch.tensor(float(person.box_size.max())),
    }
