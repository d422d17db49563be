"""Fixtures that several folders use: tracked frames with every field filled in, and random pose features."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.people import Bodies, Detections, Mask, Rejected, TrackedFrame

SIZE = (72, 128)


@pytest.fixture
def make_frame() -> Callable[..., TrackedFrame]:
    def make(index: int = 0, count: int = 3, texture: bool = False, **changes: object) -> TrackedFrame:
        rng = np.random.default_rng([index, count])

        def numbers(*shape: int) -> np.ndarray:
            return rng.normal(size=(count, *shape)).astype(np.float32)

        rotations = Rotation.random(count * 24, rng).as_matrix().astype(np.float32).reshape(count, 24, 3, 3)
        corners = rng.uniform(0, 60, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(5, 60, (count, 2))], axis=1).astype(np.float32)
        detections = Detections(
            boxes=boxes,
            scores=rng.random(count, np.float32),
            masks=[Mask.from_full(rng.random(SIZE) > 0.5) for _ in range(count)],
            keypoints=numbers(17, 3),
            annotations=[{"id": 7 + row} for row in range(count)],
            rejected=[Rejected((1.0, 2.0, 3.5, 4.0), 0.125, "too small")],
        )
        bodies = Bodies(
            global_orient=rotations[:, :1],
            body_pose=rotations[:, 1:],
            betas=numbers(10),
            camera_crop=np.abs(numbers(3)) + 0.5 if count else None,
            crop_center=numbers(2) * 20 + 60 if count else None,
            crop_size=np.abs(numbers()) * 20 + 10 if count else None,
            camera=numbers(3) + np.array([0, 0, 30], np.float32),
            joints_3d=numbers(45, 3),
            joints_2d=numbers(45, 2) * 20 + 60,
            focal_length=1234.5,
            principal_point=(60.5, 40.25),
            shape_space="open",
            texture=numbers(4, 256, 256) if texture else None,
            confidence=rng.random(count, np.float32),
        )
        frame = TrackedFrame(
            index=index,
            time=index / 24,
            name=f"{index:06d}",
            size=SIZE,
            ids=np.arange(1, count + 1),
            time_since_seen=np.resize([0, 4, -1], count),
            detections=detections,
            bodies=bodies,
            predicted_pose=numbers(229),
            predicted_location=numbers(99),
            is_cut=index == 2,
            detected=count + 1,
        )
        for name, value in changes.items():
            setattr(frame, name, value)
        return frame

    return make


@pytest.fixture
def random_poses():
    """(shape) -> random raw features (*shape, 229) that are rotations, betas and a camera."""

    def make(*shape: int, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        matrices = np.linalg.qr(rng.normal(size=(*shape, 24, 3, 3)))[0]
        matrices[..., 0] *= np.linalg.det(matrices)[..., None]
        rest = rng.normal(size=(*shape, 13))
        return np.concatenate([matrices.reshape(*shape, 216), rest], -1).astype(np.float32)

    return make
