"""How good a network is on held-out people: the figures of `fourd_humans.evaluation`, and pictures to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.datasets.hmr2_npz import CONFIDENT
from fourd_humans.evaluation.datasets.people import COMMON_14, PELVIS_JOINT, AnnotatedPeople
from fourd_humans.evaluation.joint_errors import keypoint_figures, pose_errors
from fourd_humans.evaluation.predictions import Predictions
from fourd_humans.geometry.camera import CROP_FOCAL_LENGTH, CROP_SIZE, Intrinsics, full_image_camera, project
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.training.hmr2.annotations import NUM_KEYPOINTS
from fourd_humans.training.hmr2.losses import Prediction

Rows = Mapping[str, NDArray[np.float64]]
FIGURES = ("MPJPE", "PA-MPJPE", "PCK@0.05", "PCK@0.1")


def rows_of(prediction: Prediction, batch: Mapping[str, Tensor]) -> dict[str, NDArray[np.float64]]:
    """What `figures` takes of one batch, with the index of each person."""
    rows = {
        "predicted_3d": prediction.keypoints_3d,
        "predicted_2d": prediction.keypoints_2d * batch["side"][:, None, None] + batch["center"][:, None],
        "true_3d": batch["keypoints_3d"],
        "true_2d": torch.cat(
            [
                batch["keypoints_2d"][..., :2] * batch["side"][:, None, None] + batch["center"][:, None],
                batch["keypoints_2d"][..., 2:],
            ],
            -1,
        ),
        "box_size": batch["box_size"],
        "index": batch["index"],
    }
    return {name: values.detach().double().cpu().numpy() for name, values in rows.items()}


def joined(parts: Sequence[Rows]) -> dict[str, NDArray[np.float64]]:
    """The rows of several batches, each person once."""
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    _, first = np.unique(rows["index"], return_index=True)
    return {name: values[first] for name, values in rows.items()}


def figures(rows: Rows) -> dict[str, float]:
    """MPJPE and PA-MPJPE in mm, and PCK in shares of the box, as far as the people are annotated for them."""
    confidences = rows["true_2d"][..., 2]
    people = AnnotatedPeople(
        name="validation",
        folder=Path(),
        images=[""] * len(confidences),
        boxes=np.zeros((len(confidences), 4)),
        sizes=rows["box_size"],
        points=tuple(range(NUM_KEYPOINTS)),
        keypoints_2d=np.concatenate(
            [rows["true_2d"][..., :2], (confidences * (confidences > CONFIDENT))[..., None]], -1
        ),
        joints_3d=rows["true_3d"],
    )
    predictions = Predictions(people.points, rows["predicted_3d"], rows["predicted_2d"])
    found: dict[str, float] = {}
    if (rows["true_3d"][:, [*COMMON_14, *PELVIS_JOINT], 3] > 0).all(1).any():
        found |= pose_errors(people, predictions, partial=True)
    if (confidences > CONFIDENT).any():
        found |= keypoint_figures(people, predictions, partial=True)[0]
    return {name: found[name] for name in FIGURES if name in found}


def draw(crops: NDArray[np.uint8], output: Prediction, body: BodyModel, renderer: Renderer) -> NDArray[np.uint8]:
    """The crops (N, 256, 256, 3) side by side, and below them with the predicted bodies: (512, 256 N, 3)."""
    middle = (CROP_SIZE / 2, CROP_SIZE / 2)
    intrinsics = Intrinsics(CROP_FOCAL_LENGTH, middle)
    drawn = []
    for i, crop in enumerate(crops):
        rows = {
            name: getattr(output.output, name)[i : i + 1].detach().float().cpu().numpy()
            for name in ("global_orient", "body_pose", "betas", "camera_crop")
        }
        camera = full_image_camera(rows["camera_crop"], np.array([middle]), np.array([float(CROP_SIZE)]), intrinsics)
        joints = body.joints_of_arrays(rows["global_orient"], rows["body_pose"], rows["betas"])
        bodies = Bodies(
            **rows,
            camera=camera,
            joints_3d=joints,
            joints_2d=project(joints, camera, intrinsics),
            focal_length=CROP_FOCAL_LENGTH,
            principal_point=middle,
            shape_space=body.shape_space,
        )
        box = np.array([[0, 0, CROP_SIZE, CROP_SIZE]], np.float32)
        frame = TrackedFrame(
            i, 0.0, str(i), (CROP_SIZE, CROP_SIZE), np.ones(1, np.int64), np.zeros(1, np.int64),
            Detections(box, np.ones(1, np.float32)), bodies,
        )  # fmt: skip
        try:
            drawn.append(renderer.draw(crop, frame))
        except FourDHumansError:
            drawn.append(crop)
    return np.vstack([np.hstack(list(crops)), np.hstack(drawn)])
