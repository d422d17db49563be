"""Names and numbers of joints: SMPL's 24, COCO's 17, and the 45 that every recovered body carries.

The 45 are the released HMR 2.0's: the 25 of OpenPose's BODY_25, 19 more (LSP's 14 and five of MPII and Human3.6M), and
the root, which is the origin of the body model itself, the point that the camera translation moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fourd_humans.people import NUM_JOINTS

SMPL_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

OPENPOSE_NAMES = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye",
    "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
    "right_small_toe", "right_heel",
)  # fmt: skip
LIMB_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
TRUNK_NAMES = ("neck", "head_top", "pelvis", "thorax", "spine", "jaw", "head")

JOINT_NAMES = (
    *(f"openpose_{name}" for name in OPENPOSE_NAMES),
    *(f"surface_{name}" for name in LIMB_NAMES),
    *TRUNK_NAMES,
    "root",
)

OPENPOSE_25 = tuple(range(25))
LIMB_12 = tuple(range(25, 37))
EXTRA_19 = tuple(range(25, 44))
NECK, HEAD_TOP, PELVIS, THORAX, SPINE, JAW, HEAD, ROOT = range(37, 45)

NUM_SMPL_JOINTS = len(SMPL_NAMES)
NUM_BODY_JOINTS = NUM_SMPL_JOINTS - 1  # without the root
# Of each of SMPL's joints the one on the other side, or itself.
MIRRORED_SMPL = tuple(
    SMPL_NAMES.index(name.replace("left", "#").replace("right", "left").replace("#", "right")) for name in SMPL_NAMES
)

# The 45 joints that mean COCO's 17 keypoints: face from OpenPose's points, limbs from the surface regressors.
COCO_17 = tuple(
    LIMB_12[LIMB_NAMES.index(name)] if name in LIMB_NAMES else OPENPOSE_NAMES.index(name) for name in COCO_NAMES
)

# Vertices that stand for OpenPose's points of the face and feet on SMPL's mesh; the open body keeps the same numbers.
LANDMARK_VERTICES: Mapping[str, int] = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787,
}  # fmt: skip


@dataclass(frozen=True)
class JointWeights:
    """The 45 joints as sums over the skeleton's 24 joints and a few vertices of the mesh.

    from_skeleton: (45, 24). vertices: (K,) the vertices that count. from_vertices: (45, K).
    """

    from_skeleton: NDArray[np.float64]
    vertices: NDArray[np.int64]
    from_vertices: NDArray[np.float64]


def joint_weights(v_template: NDArray[np.floating], surface: Mapping[int, NDArray[np.floating]]) -> JointWeights:
    """How the 45 joints follow from skeleton and mesh.

    OpenPose's 25 are SMPL joints, and `LANDMARK_VERTICES` for face and feet. Of the 19 more, those in `surface` are
    sums over vertices; the rest are put together from joints and vertices nearby: limbs from the SMPL joint of that
    name, the trunk's seven as commented below.

    v_template: (V, 3), head up +y. surface: joint number -> (V,) weights.
    """
    skeleton = np.zeros((NUM_JOINTS, len(SMPL_NAMES)))
    mesh = np.zeros((NUM_JOINTS, len(v_template)))

    def copy_smpl(joint: int, name: str) -> None:
        skeleton[joint, SMPL_NAMES.index(name)] = 1

    def average(joint: int, others: tuple[int, ...]) -> None:
        skeleton[joint] = skeleton[list(others)].mean(0)
        mesh[joint] = mesh[list(others)].mean(0)

    for joint, name in enumerate(OPENPOSE_NAMES):
        if name in LANDMARK_VERTICES:
            mesh[joint, LANDMARK_VERTICES[name]] = 1
        else:
            copy_smpl(joint, "pelvis" if name == "mid_hip" else name)

    for joint, name in zip(LIMB_12, LIMB_NAMES, strict=True):
        if joint in surface:
            mesh[joint] = surface[joint]
        else:
            copy_smpl(joint, name)

    ears = OPENPOSE_NAMES.index("right_ear"), OPENPOSE_NAMES.index("left_ear")
    copy_smpl(NECK, "neck")
    mesh[HEAD_TOP, int(v_template[:, 1].argmax())] = 1
    average(PELVIS, (LIMB_12[2], LIMB_12[3]))  # between the hips
    average(THORAX, (LIMB_12[8], LIMB_12[9]))  # between the shoulders
    copy_smpl(SPINE, "spine2")
    skeleton[JAW, SMPL_NAMES.index("head")] = mesh[JAW, LANDMARK_VERTICES["nose"]] = 0.5
    average(HEAD, (HEAD_TOP, HEAD_TOP, *ears))  # halfway from between the ears to the top
    for joint in set(surface) - set(LIMB_12):
        skeleton[joint], mesh[joint] = 0, surface[joint]
    # row ROOT stays zero: the model's origin

    used = np.flatnonzero(mesh.any(0))
    return JointWeights(skeleton, used, mesh[:, used])
