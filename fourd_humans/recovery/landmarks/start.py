"""Where the fit begins: rotations read off the landmarks directly.

The trunk's frame from hips and shoulders; each limb by the smallest turn that brings its bone to where it points, and
then turned about that bone so that knee or elbow bend the way they do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import LIMB_12, LIMB_NAMES, SMPL_NAMES
from fourd_humans.recovery.landmarks.points import NUM_BETAS, NUM_ROTATIONS, Array, BodyPoints

# How far, as the sine of its angle, a limb must be bent to tell anything of the turn about its upper bone.
BENT_A_LITTLE, BENT_ENOUGH = 0.15, 0.5
LARGEST_TWIST = 1.5  # radians
FACING_THE_CAMERA = np.diag([1.0, -1.0, -1.0])  # left, up and forward as columns, upright


@dataclass(frozen=True)
class _Limb:
    """upper, lower: joints of the skeleton that turn its two bones. ends: the points between them.

    bends: where, in the rest pose, the lower bone goes when the limb bends.
    """

    upper: str
    lower: str
    ends: tuple[str, str, str]
    bends: tuple[float, float, float]


LIMBS = tuple(
    _Limb(f"{side}_{upper}", f"{side}_{lower}", (f"{side}_{upper}", f"{side}_{lower}", f"{side}_{end}"), bends)
    for side in ("left", "right")
    for upper, lower, end, bends in (("hip", "knee", "ankle", (0, 0, -1)), ("shoulder", "elbow", "wrist", (0, 0, 1)))
)


def first_rotations(body: BodyPoints, chosen: list[int], metres: Array) -> Array:
    """(N, 24, 3, 3) rotations for landmarks (N, K, 3) of the points `chosen`, the 12 limb joints among them."""
    row = {name: chosen.index(joint) for joint, name in zip(LIMB_12, LIMB_NAMES, strict=True)}
    rotations = np.tile(np.eye(3), (len(metres), NUM_ROTATIONS, 1, 1))
    rest = body.pose(rotations[:1], np.zeros((1, NUM_BETAS))).points[0]
    rotations[:, 0] = _trunk(metres, row) @ _trunk(rest[None], row).swapaxes(1, 2)
    trunk = rotations[:, 0]
    for limb in LIMBS:
        a, b, c = (row[name] for name in limb.ends)
        bone, lower = _unit(metres[:, b] - metres[:, a]), _unit(metres[:, c] - metres[:, b])
        bone, lower = (np.einsum("nji,nj->ni", trunk, direction) for direction in (bone, lower))
        rest_bone, rest_lower = _unit(rest[b] - rest[a]), _unit(rest[c] - rest[b])
        upper_turn = smallest_turn(rest_bone, bone)
        upper_turn = _bend_naturally(upper_turn @ np.array(limb.bends, float), bone, lower) @ upper_turn
        rotations[:, SMPL_NAMES.index(limb.upper)] = upper_turn
        in_upper = np.einsum("nji,nj->ni", upper_turn, lower)
        rotations[:, SMPL_NAMES.index(limb.lower)] = smallest_turn(rest_lower, in_upper)
    return rotations


def _trunk(points: Array, row: dict[str, int]) -> Array:
    """(N, 3, 3) whose columns are left, up and forward of the trunk."""
    hips = points[:, [row["left_hip"], row["right_hip"]]]
    shoulders = points[:, [row["left_shoulder"], row["right_shoulder"]]]
    up = _unit(shoulders.mean(1) - hips.mean(1))
    left = hips[:, 0] - hips[:, 1] + shoulders[:, 0] - shoulders[:, 1]
    left = _unit(left - (left * up).sum(1, keepdims=True) * up)
    trunk = np.stack([left, up, np.cross(left, up)], 2)
    flat = np.linalg.det(trunk) < 0.5  # hips and shoulders in one place or on one line tell nothing
    trunk[flat] = FACING_THE_CAMERA
    return trunk


def smallest_turn(start: Array, end: Array) -> Array:
    """(N, 3, 3) rotations from the unit direction `start` (3,) to unit directions `end` (N, 3)."""
    start = np.broadcast_to(start, end.shape)
    axis, cosine = np.cross(start, end), (start * end).sum(1)
    cross = np.zeros((len(end), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]], cross[:, [1, 2, 0], [2, 0, 1]] = axis, -axis
    turn: Array = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, 1e-3)[:, None, None]
    return _nearest(turn)


def _bend_naturally(bends: Array, bone: Array, lower: Array) -> Array:
    """(N, 3, 3) turns about `bone` (N, 3) that bring the direction `bends` (N, 3) to where `lower` (N, 3) goes.

    Less of a turn where the limb is nearly straight, none where it is straight.
    """
    across = bends - (bends * bone).sum(1, keepdims=True) * bone
    aside = lower - (lower * bone).sum(1, keepdims=True) * bone
    angle = np.arctan2((np.cross(across, aside) * bone).sum(1), (across * aside).sum(1))
    share = np.clip((np.linalg.norm(aside, axis=1) - BENT_A_LITTLE) / (BENT_ENOUGH - BENT_A_LITTLE), 0, 1)
    angle = np.clip(angle, -LARGEST_TWIST, LARGEST_TWIST) * share
    return Rotation.from_rotvec(bone * angle[:, None]).as_matrix()


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _nearest(matrices: Array) -> Array:
    return Rotation.from_matrix(matrices).as_matrix()
