"""SMPL's 24 joints on MakeHuman's rig, the T-pose, and posing. Rotations are matrices; leading dimensions are free."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import MIRRORED_SMPL, NUM_SMPL_JOINTS, SMPL_PARENTS
from open_body.assets import Array, Rig

MIRRORED_JOINTS = np.array(MIRRORED_SMPL)
DEGREE = np.pi / 180

# The T-pose, left side: arms level, palms down, legs a little apart. The right side is mirrored.
UPPER_ARM = np.array([1, -0.05, -0.10])
FOREARM = np.array([1, 0.03, 0.0])
HAND = np.array([1, -0.06, -0.06])
LEG = np.array([np.tan(1.5 * DEGREE), -1, -np.tan(3.5 * DEGREE)])  # hip to ankle
CLAVICLE_UP = 15 * DEGREE
TOES_OUT = 8 * DEGREE

SIDES = (("L", 0, 1.0), ("R", 1, -1.0))  # MakeHuman's letter, what is added to the left joint's number, sign of x


def _first_bones() -> dict[str, int]:
    """The bone that begins each joint's part of the body; other bones belong to their nearest ancestor among these."""
    first = {
        "root": 0, "spine03": 3, "spine02": 6, "spine01": 9, "breast.L": 9, "breast.R": 9, "neck01": 12, "head": 15,
    }  # fmt: skip
    limbs = {
        "upperleg01": 1,
        "lowerleg01": 4,
        "foot": 7,
        "clavicle": 13,
        "upperarm01": 16,
        "lowerarm01": 18,
        "wrist": 20,
    }
    limbs |= {f"toe{i}-1": 10 for i in range(1, 6)} | {f"finger{i}-1": 22 for i in range(2, 6)}
    return first | {f"{bone}.{side}": joint + k for bone, joint in limbs.items() for side, k, _ in SIDES}


def joints_of_bones(rig: Rig) -> Array:
    """(B,) the joint that each bone follows."""
    first, joints = _first_bones(), []
    for name in rig.names:
        while name not in first:
            name = rig.parents[name]
        joints.append(first[name])
    return np.array(joints)


def joint_weights(rig: Rig) -> Array:
    """(n, 24) the rig's weights, summed over the bones of each joint."""
    weights = np.zeros((len(rig.weights), NUM_SMPL_JOINTS))
    for bone, joint in enumerate(joints_of_bones(rig)):
        weights[:, joint] += rig.weights[:, bone]
    return weights


def joint_centres(rig: Rig, vertices: Array) -> Array:
    """(..., n, 3) -> (..., 24, 3), in the pose that the vertices are in."""
    head = rig.heads(vertices)
    at: dict[int, Array] = {}
    at[1], at[2] = head["upperleg01.L"], head["upperleg01.R"]
    at[0] = 0.4 * 0.5 * (at[1] + at[2]) + 0.6 * head["spine03"]  # SMPL's pelvis lies above the line of the hips
    at[3], at[6], at[9] = head["spine03"], head["spine02"], head["spine01"]
    at[12], at[15] = head["neck01"], head["head"]
    for s, k, _ in SIDES:
        at[4 + k], at[7 + k] = head[f"lowerleg01.{s}"], head[f"foot.{s}"]
        at[10 + k] = np.mean([head[f"toe{i}-1.{s}"] for i in range(1, 6)], axis=0)
        at[13 + k] = 0.5 * (head[f"clavicle.{s}"] + head[f"shoulder01.{s}"])
        at[16 + k], at[18 + k], at[20 + k] = (head[f"{b}.{s}"] for b in ("upperarm01", "lowerarm01", "wrist"))
        at[22 + k] = np.mean([head[f"finger{i}-1.{s}"] for i in range(2, 6)], axis=0)
    return np.stack([at[j] for j in range(NUM_SMPL_JOINTS)], axis=-2)


def to_t_pose(rig: Rig, vertices: Array, joints: Array) -> Array:
    """Global rotations (..., 24, 3, 3) from MakeHuman's rest, arms hanging, to the T-pose."""
    head = rig.heads(vertices)
    rotations = np.broadcast_to(np.eye(3), (*joints.shape[:-1], 3, 3)).copy()
    forward = np.array([0, 0, 1.0])
    for s, k, sign in SIDES:
        mirror = np.array([sign, 1, 1])
        elbow_axis = np.array([0, -sign, 0])  # about which the elbow bends in the T-pose
        shoulder, elbow, wrist, hand = (joints[..., j + k, :] for j in (16, 18, 20, 22))
        hinge = np.cross(unit(elbow - shoulder), unit(wrist - elbow))
        across = head[f"finger2-1.{s}"] - head[f"finger5-1.{s}"]
        rotations[..., 13 + k, :, :] = from_vector([0, 0, sign * CLAVICLE_UP])
        rotations[..., 16 + k, :, :] = _turn(elbow - shoulder, hinge, UPPER_ARM * mirror, elbow_axis)
        rotations[..., 18 + k, :, :] = _turn(wrist - elbow, hinge, FOREARM * mirror, elbow_axis)
        for j in (20, 22):
            rotations[..., j + k, :, :] = _turn(hand - wrist, across, HAND * mirror, forward)
        for j in (1, 4):
            rotations[..., j + k, :, :] = _between(joints[..., 7 + k, :] - joints[..., 1 + k, :], LEG * mirror)
        for j in (7, 10):
            rotations[..., j + k, :, :] = from_vector([0, sign * TOES_OUT, 0])
    return rotations


def globals_of(local: Array) -> Array:
    """Rotations relative to the parent (..., 24, 3, 3) -> global ones."""
    rotations = local.copy()
    for joint in range(1, NUM_SMPL_JOINTS):
        rotations[..., joint, :, :] = rotations[..., SMPL_PARENTS[joint], :, :] @ local[..., joint, :, :]
    return rotations


def chain(rotations: Array, joints: Array) -> tuple[Array, Array]:
    """Global rotations and rest joints -> translations t of x' = R x + t, and the posed joints, both (..., 24, 3)."""
    joints = np.broadcast_to(joints, (*rotations.shape[:-2], 3))
    translations, posed = np.zeros(joints.shape), np.zeros(joints.shape)
    for j, parent in enumerate(SMPL_PARENTS):
        at = joints[..., j, :]
        if parent >= 0:
            at = apply(rotations[..., parent, :, :], at) + translations[..., parent, :]
        posed[..., j, :] = at
        translations[..., j, :] = at - apply(rotations[..., j, :, :], joints[..., j, :])
    return translations, posed


def bone_transforms(rig: Rig, joints: Array, rotations: Array, translations: Array) -> tuple[Array, Array]:
    """The transforms of the joints, given to MakeHuman's bones; its twist bones take half of their limb's twist."""
    bones = joints_of_bones(rig)
    bone_rotations, bone_translations = rotations[..., bones, :, :].copy(), translations[..., bones, :].copy()

    def twist_half(bone: str, joint: int, axis: Array, relative: Array, fraction: float) -> None:
        turned = rotations[..., joint, :, :] @ _twist(relative, axis, fraction)
        at = apply(rotations[..., joint, :, :], joints[..., joint, :]) + translations[..., joint, :]
        bone_rotations[..., rig.bone(bone), :, :] = turned
        bone_translations[..., rig.bone(bone), :] = at - apply(turned, joints[..., joint, :])

    for s, k, _ in SIDES:
        for parent, joint, child, bone in ((13 + k, 16 + k, 18 + k, "upperarm01"), (0, 1 + k, 4 + k, "upperleg01")):
            axis = unit(joints[..., child, :] - joints[..., joint, :])
            relative = transposed(rotations[..., parent, :, :]) @ rotations[..., joint, :, :]  # swing after twist
            twist_half(f"{bone}.{s}", joint, axis, relative, -0.5)
        for joint, child, bone in ((18 + k, 20 + k, "lowerarm02"), (4 + k, 7 + k, "lowerleg02")):
            axis = unit(joints[..., child, :] - joints[..., joint, :])
            relative = transposed(rotations[..., joint, :, :]) @ rotations[..., child, :, :]  # twist after swing
            twist_half(f"{bone}.{s}", joint, axis, relative, 0.5)
    return bone_rotations, bone_translations


def blend(weights: Array, rotations: Array, translations: Array) -> tuple[Array, Array]:
    """Weights (V, B) and transforms of B bones -> each vertex's own affine map (..., V, 3, 3), (..., V, 3)."""
    return (
        np.einsum("vb,...bij->...vij", weights, rotations, optimize=True),
        np.einsum("vb,...bi->...vi", weights, translations, optimize=True),
    )


def random_poses(rng: np.random.Generator, n: int) -> Array:
    """(n, 24, 3, 3) rotations relative to the parents, roughly what joints can do; the root stays."""
    degrees = np.zeros((n, NUM_SMPL_JOINTS, 3))

    def draw(*limits: tuple[float, float, float, float]) -> list[Array]:
        """Per axis: mean, deviation, least, most."""
        return [np.clip(rng.normal(mean, deviation, n), least, most) for mean, deviation, least, most in limits]

    for j in (3, 6, 9):
        degrees[:, j] = np.stack(draw((6, 9, -18, 35), (0, 7, -20, 20), (0, 6, -18, 18)), axis=1)
    degrees[:, 12] = np.stack(draw((3, 12, -30, 35), (0, 14, -40, 40), (0, 8, -25, 25)), axis=1)
    degrees[:, 15] = np.stack(draw((3, 10, -25, 30), (0, 12, -35, 35), (0, 8, -20, 20)), axis=1)
    for _, k, sign in SIDES:
        limbs = {
            1: draw((-25, 35, -120, 30), (0, 15, -40, 40), (5, 12, -20, 55)),
            4: draw((0, 45, -140, 140), (0, 4, -10, 10), (0, 3, -8, 8)),
            7: draw((0, 15, -35, 45), (0, 8, -20, 20), (0, 8, -20, 20)),
            10: draw((0, 10, -40, 20), (0, 3, -8, 8), (0, 3, -8, 8)),
            13: draw((0, 4, -10, 10), (-5, 8, -25, 20), (-8, 8, -25, 20)),
            16: draw((0, 25, -70, 70), (-20, 28, -110, 40), (-50, 32, -90, 80)),
            18: draw((0, 15, -40, 40), (0, 50, -145, 145), (0, 6, -20, 20)),
            20: draw((0, 25, -70, 70), (0, 10, -30, 30), (0, 18, -60, 60)),
            22: draw((0, 5, -15, 15), (0, 5, -15, 15), (-10, 12, -45, 15)),
        }
        limbs[4][0] = np.abs(limbs[4][0])  # knees and elbows bend one way
        limbs[18][1] = -np.abs(limbs[18][1])
        for j, (x, y, z) in limbs.items():
            degrees[:, j + k] = np.stack([x, sign * y, sign * z], axis=1)
    # x, the twist, is innermost; then forward (y), then up (z)
    return (
        Rotation.from_euler("xyz", degrees.reshape(-1, 3), degrees=True).as_matrix().reshape(n, NUM_SMPL_JOINTS, 3, 3)
    )


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def apply(matrices: Array, vectors: Array) -> Array:
    return np.einsum("...ij,...j->...i", matrices, vectors)


def transposed(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)


def from_vector(vectors: Array | list[float]) -> Array:
    """Axis-angle (..., 3) -> matrices."""
    v = np.asarray(vectors, float)
    return Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix().reshape(*v.shape, 3)


def _frame(first: Array, second: Array) -> Array:
    """Columns: `first`, the part of `second` orthogonal to it, and their cross product."""
    a, second = np.broadcast_arrays(unit(first), second)
    b = unit(second - (a * second).sum(-1, keepdims=True) * a)
    return np.stack([a, b, np.cross(a, b)], axis=-1)


def _turn(first: Array, second: Array, first_to: Array, second_to: Array) -> Array:
    """The rotation of one frame to another."""
    return _frame(first_to, second_to) @ transposed(_frame(first, second))


def _between(a: Array, b: Array) -> Array:
    """The smallest rotation of direction a to direction b."""
    a, b = np.broadcast_arrays(unit(a), unit(b))
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    return from_vector(axis / np.maximum(sine, 1e-12) * np.arctan2(sine, (a * b).sum(-1, keepdims=True)))


def _twist(rotations: Array, axis: Array, fraction: float) -> Array:
    """The rotation about `axis` by a fraction of the twist about it in `rotations`."""
    quaternion = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_quat().reshape(*rotations.shape[:-2], 4)
    angle = 2 * np.arctan2((quaternion[..., :3] * axis).sum(-1), quaternion[..., 3])
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    return from_vector(axis * (fraction * angle)[..., None])
