"""npz in AMASS's layout: SMPL parameters over time, a file a person. z up, metres, rotations as axis times angle.

Readers of AMASS pose the body about its pelvis and then move it by `trans`: with J₀ the pelvis at rest and p where it
is to be, trans = p − J₀. Betas belong to a body model: those of the open body mean nothing to SMPL, which most readers
will use; they are under ``open_body_betas``, and `betas` is zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.loading import SMPL
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.notices import notice
from fourd_humans.exports.world import Z_UP, Motion, Scene, without_gaps

BODY_JOINTS = 22  # of SMPL's 24, those that SMPL-H and SMPL-X have, too; their hands have joints of their own
NUMBERS_AFTER_BODY = {"smplh": 90, "smplx": 9 + 90}  # hands; jaw and eyes, hands: all at rest
WHOLE_RATE = 0.1  # frames a second: a rate that near to a whole number is rounded, for readers that cut off fractions


def write(job: ExportJob) -> None:
    scene = job.scene(Z_UP).regular()
    for motion in scene.people:
        path = job.new_file(".npz", motion)
        np.savez(path, **to_amass(scene, motion, job.options.layout))  # type: ignore[arg-type]


def to_amass(scene: Scene, motion: Motion, layout: str = "smpl") -> dict[str, NDArray[Any]]:
    """The arrays of the file. scene: in `world.Z_UP`, at a constant frame rate. layout: smpl, smplh or smplx."""
    motion = without_gaps(motion, scene.times)
    count = len(motion)
    poses = Rotation.from_matrix(motion.rotations.reshape(-1, 3, 3)).as_rotvec().reshape(count, -1)
    if layout != "smpl":
        poses = np.hstack([poses[:, : 3 * BODY_JOINTS], np.zeros((count, NUMBERS_AFTER_BODY[layout]))])
    rate = round(scene.frame_rate) if abs(scene.frame_rate - round(scene.frame_rate)) < WHOLE_RATE else scene.frame_rate
    model = scene.body_model.shape_space
    arrays: dict[str, Any] = {
        "poses": poses,
        "trans": motion.pelvis - motion.rest_joints[0],
        "betas": motion.betas if model == SMPL else np.zeros_like(motion.betas),
        "gender": "neutral",
        "surface_model_type": layout,
        "mocap_framerate": float(rate),
        "mocap_frame_rate": float(rate),
        "frame_rate": scene.frame_rate,
        "frames": scene.frames[motion.indices],
        "seen": motion.seen,
        "notice": notice(model),
    }
    if model != SMPL:
        arrays[f"{model}_betas"] = motion.betas
    return {name: np.asarray(value) for name, value in arrays.items()}
