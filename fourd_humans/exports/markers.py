"""Markers over time, for biomechanics: TRC (OpenSim) and C3D, a file a person.

The markers are the 45 joints without the root. OpenPose's 25 have the names that Pose2Sim's OpenSim models give them
(``RKnee``, ``CHip``), so that its setups for scaling and inverse kinematics apply.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import JOINT_NAMES, OPENPOSE_25, OPENPOSE_NAMES, ROOT
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.notices import notice
from fourd_humans.exports.world import Y_UP, Z_UP, Motion, Scene

MILLIMETRES = replace(Z_UP, metres=0.001)


def _marker_name(joint: int) -> str:
    """``openpose_left_big_toe`` as ``LBigToe``."""
    if joint not in OPENPOSE_25:
        return JOINT_NAMES[joint]
    name = OPENPOSE_NAMES[joint]
    if name == "mid_hip":
        return "CHip"
    side, _, rest = name.partition("_")
    sides = {"left": "L", "right": "R"}
    return sides[side] + rest.title().replace("_", "") if side in sides else name.title()


MARKERS = tuple(_marker_name(joint) for joint in range(ROOT))


def write_trc(job: ExportJob) -> None:
    scene = job.scene(Y_UP).regular()
    for motion in scene.people:
        path = job.new_file(".trc", motion)
        path.write_text(to_trc(scene, motion, path.name), encoding="utf-8")


def to_trc(scene: Scene, motion: Motion, name: str) -> str:
    """The text of a TRC file: y up, metres; where the person is away, the markers are left blank.

    scene: in `world.Y_UP`, at a constant frame rate. name: what the file says of its own name.
    """
    indices, points = _points(scene, motion)
    rate, count = f"{scene.frame_rate:.6g}", len(indices)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{len(MARKERS)}\tm\t{rate}\t{indices[0] + 1}\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(MARKERS) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, len(MARKERS) + 1) for axis in "XYZ"),
        "",
    ]
    for index, row in zip(indices, points.reshape(count, -1), strict=True):
        # OpenSim passes over the last cell of a line if it is empty: a line of empty cells gets one more
        cells = [""] * (len(row) + 1) if np.isnan(row).any() else [f"{value:.6f}" for value in row]
        lines.append(f"{index + 1}\t{scene.times[index]:.6f}\t" + "\t".join(cells))
    return "\n".join(lines) + "\n"


def write_c3d(job: ExportJob) -> None:
    """C3D files: z up, millimetres; where the person is away, the residual is −1 and the place NaN."""
    import ezc3d

    scene = job.scene(MILLIMETRES).regular()
    for motion in scene.people:
        indices, points = _points(scene, motion)
        file = ezc3d.c3d()
        parameters = file["parameters"]
        parameters["POINT"]["UNITS"]["value"] = ["mm"]
        parameters["POINT"]["RATE"]["value"] = [scene.frame_rate]
        parameters["POINT"]["LABELS"]["value"] = list(MARKERS)
        file.add_parameter("POINT", "X_SCREEN", ["+X"])
        file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
        file.add_parameter("MANUFACTURER", "SOFTWARE", ["4dhumans"])
        file.add_parameter("MANUFACTURER", "NOTICE", [notice(scene.body_model.shape_space)])
        file["header"]["points"]["first_frame"] = int(indices[0])
        columns = points.transpose(2, 1, 0)
        file["data"]["points"] = np.concatenate([columns, np.ones_like(columns[:1])])
        file["data"]["meta_points"]["residuals"] = np.where(np.isnan(columns[:1]), -1.0, 0.0)
        file.write(str(job.new_file(".c3d", motion)))


def _points(scene: Scene, motion: Motion) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """From the person's first frame to the last: (N,) their indices, and (N, 44, 3) markers, NaN in gaps."""
    joints, _ = scene.joints(motion)
    indices = np.arange(motion.indices[0], motion.indices[-1] + 1)
    points = np.full((len(indices), len(MARKERS), 3), np.nan)
    points[motion.indices - indices[0]] = joints
    return indices, points
