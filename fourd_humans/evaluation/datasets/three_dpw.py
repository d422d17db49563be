"""3DPW: ``sequenceFiles/<split>/*.pkl`` beside ``imageFiles/<sequence>/image_00000.jpg``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.files import files_in, first_existing
from fourd_humans.evaluation.datasets.people import SKELETON_24, AnnotatedPeople, join
from fourd_humans.files.pickles import read_pickle

MARGIN = 1.2  # the released evaluation's boxes: this times the longer side of what the 2D keypoints span
_KEYS = ("poses", "betas", "genders", "trans", "cam_poses", "campose_valid", "jointPositions", "poses2d", "sequence")
_BATCH = 256


def read_3dpw(
    folder: Path, split: str = "test", bodies: Mapping[str, BodyModel] | None = None, vertices: bool = False
) -> AnnotatedPeople:
    """Every person in every frame whose camera is known, turned into the camera's frame.

    bodies: SMPL's male and female models, under "m" and "f": with them people have the 45 joints as well, without only
    SMPL's 24, which the files hold. vertices: also their meshes (`bodies` needed), 80 kilobytes each.

    Left out and counted: frames without a camera, and people whose 2D keypoints span no box.
    Raises: UsageError where files are missing; FourDHumansError naming the file and what is wrong in it.
    """
    if vertices and bodies is None:
        raise UsageError("meshes of 3DPW need SMPL's male and female models")
    sequences = first_existing(folder, [f"sequenceFiles/{split}"], f"the {split} sequences")
    parts = [_sequence(path, folder, bodies, vertices) for path in files_in(sequences, "*.pkl", "sequences")]
    return join(parts)


def _sequence(path: Path, folder: Path, bodies: Mapping[str, BodyModel] | None, vertices: bool) -> AnnotatedPeople:
    def refuse(reason: str) -> NoReturn:
        raise FourDHumansError(f"{path} is no sequence of 3DPW: {reason}")

    content = read_pickle(path)
    if not isinstance(content, Mapping):
        refuse("it holds no dictionary")
    if missing := [key for key in _KEYS if key not in content]:
        refuse(f"it lacks {', '.join(missing)}")
    name = str(content["sequence"])
    count = len(content["poses"])
    lists = ("betas", "genders", "trans", "campose_valid", "jointPositions", "poses2d")
    for key in lists:
        if len(content[key]) != count:
            refuse(f"it has poses of {count} people, and {key} of {len(content[key])}")
    try:
        cameras = np.asarray(content["cam_poses"], float).reshape(-1, 4, 4)
        people = [_person(content, row, cameras, bodies, vertices) for row in range(count)]
    except (ValueError, TypeError, IndexError) as error:
        refuse(str(error))
    parts = []
    for row, (kept, boxes, truth, meshes, left_out) in enumerate(people):
        parts.append(
            AnnotatedPeople(
                name="3dpw",
                folder=folder / "imageFiles",
                images=[f"{name}/image_{frame:05d}.jpg" for frame in kept],
                boxes=boxes,
                sizes=(boxes[:, 2:] - boxes[:, :2]).max(1, initial=0),
                points=SKELETON_24 if bodies is None else (*range(SKELETON_24[0]), *SKELETON_24),
                joints_3d=truth,
                vertices=meshes,
                tracks=[f"{name}_{row}"] * len(kept),
                frames=kept.tolist(),
                left_out=left_out,
            )
        )
    return join(parts)


def _person(
    content: Mapping[str, Any],
    row: int,
    cameras: NDArray[np.float64],
    bodies: Mapping[str, BodyModel] | None,
    vertices: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float32] | None, Counter[str]]:
    """The frames (K,) that count, and there the boxes (K, 4), joints (K, J, 4), meshes; and what is left out."""
    frames = len(cameras)
    poses, positions, keypoints, valid = (
        np.asarray(content[key][row], float).reshape(-1, *shape)
        for key, shape in (("poses", (24, 3)), ("jointPositions", (24, 3)), ("poses2d", (3, 18)), ("campose_valid", ()))
    )
    lengths = {"poses": len(poses), "jointPositions": len(positions), "poses2d": len(keypoints), "valid": len(valid)}
    if set(lengths.values()) != {frames}:
        raise ValueError(f"it has {frames} cameras, and of person {row} {lengths}")
    seen = keypoints[:, 2] > 0
    low = np.where(seen[:, None], keypoints[:, :2], np.inf).min(2)
    high = np.where(seen[:, None], keypoints[:, :2], -np.inf).max(2)
    half = MARGIN / 2 * (high - low).max(1, keepdims=True)  # −inf where nothing is seen
    has_camera, has_box = valid > 0, half[:, 0] > 0
    left_out = Counter({"no camera": int((~has_camera).sum()), "no box": int((has_camera & ~has_box).sum())})
    kept = np.flatnonzero(has_camera & has_box)
    middle, half = (low[kept] + high[kept]) / 2, half[kept]
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    if (
        not all(np.isfinite(values[kept]).all() for values in (poses, positions, cameras))
        or not np.isfinite(boxes).all()
    ):
        raise ValueError(f"a pose, camera or keypoint of person {row} is not finite")

    to_camera = cameras[kept, :3, :3]
    truth = np.einsum("nij,nkj->nki", to_camera, positions[kept]) + cameras[kept, None, :3, 3]
    meshes = None
    if bodies is not None:
        gender = str(content["genders"][row])[:1]
        if gender not in bodies:
            raise ValueError(f"person {row} needs the SMPL model for '{gender}'")
        vectors = poses[kept].copy()
        turned = to_camera @ Rotation.from_rotvec(vectors[:, 0]).as_matrix()
        rotations = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
        rotations[:, 0] = turned
        betas = np.broadcast_to(np.asarray(content["betas"][row], float).ravel()[:10], (len(kept), 10))
        joints, meshes = _posed(bodies[gender], rotations, betas, vertices)
        # The model's own joints lie at another place than the annotated ones, which include the translation.
        shift = truth[:, :1] - joints[:, -24:-23]
        truth = np.concatenate([joints[:, :45] + shift, truth], axis=1)
        meshes = None if meshes is None else (meshes + shift).astype(np.float32)
    return kept, boxes, np.concatenate([truth, np.ones((*truth.shape[:2], 1))], axis=2), meshes, left_out


@torch.inference_mode()
def _posed(
    body: BodyModel, rotations: NDArray[np.float64], betas: NDArray[np.float64], vertices: bool
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """The 45 joints and the 24 of the skeleton (N, 69, 3), and the vertices (N, V, 3) if wanted."""
    joints, meshes = [np.zeros((0, 69, 3))], [np.zeros((0, len(body.v_template), 3), np.float32)]
    for start in range(0, len(rotations), _BATCH):
        part = torch.from_numpy(rotations[start : start + _BATCH].astype(np.float32))
        shape = torch.from_numpy(betas[start : start + _BATCH].astype(np.float32))
        posed = body(part[:, :1], part[:, 1:], shape)
        joints.append(torch.cat([posed.joints, posed.skeleton], dim=1).numpy().astype(float))
        if vertices:
            meshes.append(posed.vertices.numpy())
    return np.concatenate(joints), np.concatenate(meshes) if vertices else None
