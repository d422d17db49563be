"""People to draw: a few bodies in a row, made from the body model."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.people import Bodies, Detections, TrackedFrame


@pytest.fixture(scope="session")
def body_model() -> BodyModel:
    return BodyModel.open_body()


@pytest.fixture(scope="session")
def tracked(body_model: BodyModel) -> Callable[..., TrackedFrame]:
    """A frame with upright people who face the camera at the given places (right, down, away), metres."""

    def tracked(
        places: Sequence[tuple[float, float, float]],
        size: tuple[int, int] = (120, 160),
        focal_length: float = 150.0,
        time_since_seen: Sequence[int] | None = None,
        index: int = 0,
    ) -> TrackedFrame:
        count = len(places)
        orient = np.tile(np.diag([1.0, -1, -1]).astype(np.float32), (count, 1, 1, 1))
        pose = np.tile(np.eye(3, dtype=np.float32), (count, 23, 1, 1))
        betas = np.zeros((count, 10), np.float32)
        camera = np.array(places, np.float32).reshape(count, 3)
        intrinsics = Intrinsics(focal_length, (size[1] / 2, size[0] / 2))
        joints = body_model.joints(*(torch.from_numpy(array) for array in (orient, pose, betas))).numpy()
        pixels = project(joints, camera, intrinsics)
        boxes = np.concatenate([pixels.min(1), pixels.max(1)], 1) if count else np.zeros((0, 4), np.float32)
        bodies = Bodies(
            orient, pose, betas, camera, joints, pixels,
            focal_length, intrinsics.principal_point, body_model.shape_space,
        )  # fmt: skip
        hidden = np.zeros(count, np.int64) if time_since_seen is None else np.array(time_since_seen, np.int64)
        return TrackedFrame(
            index, index / 10, f"{index:06}", size, np.arange(1, count + 1), hidden,
            Detections(boxes, np.ones(count, np.float32)), bodies,
        )  # fmt: skip

    return tracked
