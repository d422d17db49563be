"""Made-up people with known bodies, and what is seen of them."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from fourd_humans.body.joint_limits import STANDING_POSE, USUAL_MAX, USUAL_MIN
from fourd_humans.body.joints import COCO_17
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.people import Bodies, Detections, Frame

SIZE = (720, 960)
CAMERA = Intrinsics(1100.0, (480.0, 360.0))


@dataclass(frozen=True)
class Scene:
    """N pictures of one person each. truth, start: bodies, the start with every joint rotated by 20 degrees."""

    frames: list[Frame]
    truth: list[Bodies]
    start: list[Bodies]
    found: list[Detections]


def place(body: BodyModel, rotations: np.ndarray, betas: np.ndarray, camera: np.ndarray) -> Bodies:
    rotations, betas, camera = (a.astype(np.float32) for a in (rotations, betas, camera))
    joints = body.joints_of_arrays(rotations[:, :1], rotations[:, 1:], betas)
    return Bodies(
        rotations[:, :1], rotations[:, 1:], betas, camera, joints, project(joints, camera, CAMERA),
        CAMERA.focal_length, CAMERA.principal_point, body.shape_space,
    )  # fmt: skip


def detect(bodies: Bodies, noise: float = 0.0, rng: np.random.Generator | None = None) -> Detections:
    """Boxes and COCO keypoints of bodies, with errors of so many pixels."""
    points = bodies.joints_2d[:, list(COCO_17)]
    low, high = points.min(1), points.max(1)
    margin = 0.08 * (high - low).max(1, keepdims=True)
    if rng is not None:
        points = points + rng.normal(0, noise, points.shape)
    keypoints = np.concatenate([points, np.full((*points.shape[:2], 1), 0.9)], 2).astype(np.float32)
    boxes = np.concatenate([low - margin, high + margin], 1)
    return Detections(boxes, np.full(len(boxes), 0.9, np.float32), keypoints=keypoints)


def frame(size: tuple[int, int] = SIZE, index: int = 0) -> Frame:
    return Frame(index, index / 25, f"{index:06d}", np.zeros((*size, 0), np.uint8))


def make_scene(body: BodyModel) -> Scene:
    """Of each person, a fifth of the keypoints do not count, and the others err by 2 pixels an axis."""
    rng = np.random.default_rng(4)
    count = 24
    spread = 0.2 * (USUAL_MAX - USUAL_MIN)
    angles = np.clip(STANDING_POSE + rng.normal(0, 1, (count, 69)) * spread, USUAL_MIN, USUAL_MAX)
    pose = Rotation.from_rotvec(np.radians(angles).reshape(-1, 3)).as_matrix().reshape(count, 23, 3, 3)
    heading = Rotation.from_euler(
        "yx", np.stack([rng.uniform(-180, 180, count), np.full(count, 180.0)], 1), degrees=True
    )
    rotations = np.concatenate([heading.as_matrix()[:, None], pose], 1)
    camera = np.stack([rng.uniform(-0.5, 0.5, count), rng.uniform(-0.1, 0.3, count), rng.uniform(3, 5, count)], 1)
    truth = place(body, rotations, rng.normal(0, 0.7, (count, 10)), camera)
    axes = rng.normal(size=(count * 24, 3))
    axes *= np.radians(20) / np.linalg.norm(axes, axis=1, keepdims=True)
    off = Rotation.from_rotvec(axes).as_matrix().reshape(count, 24, 3, 3) @ rotations
    start = place(body, off, np.zeros((count, 10)), camera * [1, 1, 1.1])
    found = detect(truth, 2.0, rng)
    keypoints = found.keypoints.copy()
    keypoints[rng.random((count, 17)) < 0.2, 2] = 0.1
    rows = range(count)
    return Scene(
        [frame() for _ in rows], [truth[i] for i in rows], [start[i] for i in rows],
        [replace(found, keypoints=keypoints)[i] for i in rows],
    )  # fmt: skip
