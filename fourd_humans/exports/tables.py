"""CSV: three tables with a row for each person in each frame: joints, angles, and positions of the pelvis.

All begin with the columns frame, time (seconds in the video), person and seen (1 or 0). y up, metres, degrees.
"""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import JOINT_NAMES, ROOT, SMPL_NAMES
from fourd_humans.exports.bvh import euler_angles
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.world import Y_UP, Motion, Scene

AXES = ("x", "y", "z")
SIDES = ("left", "right")
FLEXIONS = {"knee": ("hip", "knee", "ankle"), "elbow": ("shoulder", "elbow", "wrist")}

JOINTS = (*JOINT_NAMES[:ROOT], *(f"smpl_{name}" for name in SMPL_NAMES))
JOINT_COLUMNS = [f"{name}_{axis}" for name in JOINTS for axis in AXES]
ANGLE_COLUMNS = [
    *(f"{side}_{name}_flexion" for name in FLEXIONS for side in SIDES),
    *(f"{name}_{axis}" for name in SMPL_NAMES for axis in ("z", "x", "y")),
]
POSITION_COLUMNS = [f"pelvis_{axis}" for axis in AXES]


def write(job: ExportJob) -> None:
    scene = job.scene(Y_UP)
    _write(job, scene, "joints", JOINT_COLUMNS, joints)
    _write(job, scene, "angles", ANGLE_COLUMNS, angles)
    _write(job, scene, "positions", POSITION_COLUMNS, lambda scene, motion: motion.pelvis)


def joints(scene: Scene, motion: Motion) -> NDArray[np.float64]:
    """(T, 204) the 44 joints and SMPL's 24, metres."""
    return np.concatenate(scene.joints(motion), axis=1).reshape(len(motion), -1)


def angles(scene: Scene, motion: Motion) -> NDArray[np.float64]:
    """(T, 76) degrees: how far knees and elbows are bent (0: straight), and each of SMPL's joints relative to its
    parent, about the moving z, then x, then y axis, as in BVH files. The pelvis turns relative to the world."""
    _, skeleton = scene.joints(motion)
    columns = []
    for names in FLEXIONS.values():
        for side in SIDES:
            first, middle, last = (skeleton[:, SMPL_NAMES.index(f"{side}_{name}")] for name in names)
            one, other = middle - first, last - middle
            cross = np.linalg.norm(np.cross(one, other), axis=1)
            columns.append(np.degrees(np.arctan2(cross, (one * other).sum(1)))[:, None])
    columns += [euler_angles(motion.rotations[:, joint]) for joint in range(len(SMPL_NAMES))]
    return np.concatenate(columns, axis=1)


def _write(
    job: ExportJob,
    scene: Scene,
    name: str,
    columns: list[str],
    values_of: Callable[[Scene, Motion], NDArray[np.float64]],
) -> None:
    rows = []
    for motion in scene.people:
        for index, seen, values in zip(motion.indices, motion.seen, values_of(scene, motion), strict=True):
            rows.append((int(index), motion.id, int(seen), values))
    with job.new_file(f"_{name}.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "time", "person", "seen", *columns])
        for index, person, seen, values in sorted(rows, key=lambda row: row[:2]):
            time = f"{scene.start + scene.times[index]:.6f}"
            writer.writerow([scene.frames[index], time, person, seen, *(f"{value:.5f}" for value in values)])
