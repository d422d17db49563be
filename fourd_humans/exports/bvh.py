"""BVH: the skeleton and its motion, a file a person. y up, centimetres, rotations in degrees in the order ZXY.

All rotations at zero are the T-pose. The format has no times and nobody can be away in it: a file holds the person's
frames from the first to the last at a constant rate, with gaps filled in.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import SMPL_NAMES, SMPL_PARENTS
from fourd_humans.body.model import BodyModel
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.world import Y_UP, Motion, Scene, without_gaps

CENTIMETRES = replace(Y_UP, metres=0.01)


def write(job: ExportJob) -> None:
    scene = job.scene(CENTIMETRES).regular()
    for motion in scene.people:
        job.new_file(".bvh", motion).write_text(to_bvh(scene, motion), encoding="ascii")


def to_bvh(scene: Scene, motion: Motion) -> str:
    """The text of the file. scene: in `CENTIMETRES`, at a constant frame rate."""
    motion = without_gaps(motion, scene.times)
    lines = ["HIERARCHY", *_joint(motion, _tips(scene.body_model, motion), 0, 0)]
    lines += ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / scene.frame_rate:.8f}"]
    order = _order(0)
    angles = np.stack([euler_angles(motion.rotations[:, joint]) for joint in order], axis=1)
    values = np.concatenate([motion.pelvis, angles.reshape(len(motion), -1)], axis=1)
    lines += [" ".join(f"{value:.5f}" for value in row) for row in values]
    return "\n".join(lines) + "\n"


def euler_angles(rotations: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T, 3, 3) as (T, 3) degrees about the moving z, then x, then y axis, without jumps of 360."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where x is at 90 degrees, y and z are not unique: any will do
        angles = Rotation.from_matrix(rotations).as_euler("ZXY")
    return np.degrees(np.unwrap(angles, axis=0))


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(SMPL_PARENTS) if parent == joint]


def _order(joint: int) -> list[int]:
    """The joints below one, and itself, in the order of the file."""
    return [joint, *(number for child in _children(joint) for number in _order(child))]


def _joint(motion: Motion, tips: NDArray[np.float64], joint: int, depth: int) -> list[str]:
    """The lines of a joint and all below it."""
    indent = "  " * depth
    offset = motion.rest_joints[joint] - motion.rest_joints[SMPL_PARENTS[joint]] if joint else np.zeros(3)
    channels = "Zrotation Xrotation Yrotation"
    lines = [
        f"{indent}{'JOINT' if joint else 'ROOT'} {SMPL_NAMES[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {_numbers(offset)}",
        f"{indent}  CHANNELS " + (f"3 {channels}" if joint else f"6 Xposition Yposition Zposition {channels}"),
    ]
    for child in _children(joint):
        lines += _joint(motion, tips, child, depth + 1)
    if not _children(joint):
        end = _numbers(tips[joint] - motion.rest_joints[joint])
        lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {end}", f"{indent}  }}"]
    return [*lines, f"{indent}}}"]


def _tips(body_model: BodyModel, motion: Motion) -> NDArray[np.float64]:
    """(24, 3) where the bone of a last joint ends: twice as far away as the middle of its vertices."""
    nearest = body_model.weights.argmax(1).cpu().numpy()
    middles = np.stack([motion.rest_vertices[nearest == joint].mean(0) for joint in range(len(motion.rest_joints))])
    return 2 * middles - motion.rest_joints


def _numbers(values: NDArray[np.floating]) -> str:
    return " ".join(f"{value:.5f}" for value in values)
