"""A video with exact ground truth, made by ourselves: five clothed open bodies walk about a yard.

They cross behind one another, one of them is wholly hidden behind another for more than a second, and one leaves
and comes back. It measures the whole chain; nothing is tuned to it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from demo_scene.drawing import Skin, backdrop, cast_shadows, develop, draw_people
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.masks import to_rle
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.people import Mask
from fourd_humans.video import VideoWriter

CAMERA_HEIGHT = 1.25  # metres
PITCH = math.radians(7)  # that the camera looks down
FOCAL_SHARE = 0.94  # focal length over the picture's width: 56 degrees of view
LENGTH = 8.0  # seconds that the walks below are written for

# Where each person is when: seconds, metres to the right of the camera, metres away from it.
WALKS = (
    ((0.0, -2.5, 3.2), (2.2, 0.0, 3.2), (5.2, 0.0, 3.2), (8.0, 2.9, 3.2)),  # comes close, stands, goes on
    ((0.0, 3.6, 9.4), (2.8, 0.3, 9.4), (4.3, -0.3, 9.4), (8.0, -4.1, 9.4)),  # slow while behind the first
    ((0.0, 1.5, 5.5), (1.9, 3.65, 5.5), (2.3, 3.75, 5.6), (2.8, 3.3, 5.6), (8.0, -3.0, 5.5)),  # leaves, comes back
    ((0.0, -5.2, 11.6), (8.0, 3.8, 10.2)),  # crosses at the back
    ((0.0, 1.9, 11.6), (8.0, 1.5, 4.3)),  # comes towards the camera
)
STANDING = ((0.25, -1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, -1.0))  # where each looks (right, away) then
STRIDE = 1.35  # metres of two steps


@dataclass(frozen=True)
class DemoScene:
    """The files of a scene.

    video: H.264. truth: npz, see `make_demo_scene`. boxes: MOT text, frames from 1, class 1, visibility last; boxes go
    on behind what hides them and beyond the picture's border. masks: json, the visible pixels of each person as COCO
    RLE: {frame from 0: {id: RLE}}.
    """

    video: Path
    truth: Path
    boxes: Path
    masks: Path


def make_demo_scene(
    folder: Path | str,
    size: tuple[int, int] = (540, 960),
    seconds: float = LENGTH,
    frame_rate: float = 25.0,
    seed: int = 0,
    *,
    pitch: float = PITCH,
    roll: float = 0.0,
    camera_height: float = CAMERA_HEIGHT,
    people: int | None = None,
) -> DemoScene:
    """Render the scene and its ground truth into `folder`, which is made if it is missing.

    size: (height, width) in pixels. seconds: shorter or longer than 8, people walk faster or slower. seed: of shapes,
    gaits, textures and grain; the same one gives the same scene. pitch: radians that the camera looks down. roll:
    radians that it is turned about its optical axis. camera_height: metres above the ground. people: how many of the
    five; by default all.

    The npz holds, for T frames and P people: ids (P,); betas (P, 10), shape_space; global_orient (T, P, 1, 3, 3),
    body_pose (T, P, 23, 3, 3), camera (T, P, 3) as in `Bodies`; joints_3d (T, P, 45, 3) in the body's own position,
    joints_2d (T, P, 45, 2) pixels; boxes and visible_boxes (T, P, 4) xyxy of the whole body and of what is seen of it
    (0 where nothing is); visibility (T, P) the share of the body's pixels that are seen; present (T, P), whether any of
    it lies in the picture, seen or hidden; size, frame_rate, focal_length, principal_point; up (3,), the direction
    against gravity in the camera frame, and floor, the height of the ground along it.

    Raises: UsageError for a size below 64 pixels or a length outside 2 to 30 seconds.
    """
    if min(size) < 64 or not 2 <= seconds <= 30 or not 1 <= frame_rate <= 120:
        raise UsageError("the scene needs at least 64x64 pixels, 2 to 30 seconds and 1 to 120 frames a second")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scene = DemoScene(*(folder / name for name in ("scene.mp4", "truth.npz", "gt.txt", "masks.json")))
    rng = np.random.default_rng(seed)
    body_model = BodyModel.open_body()
    faces = np.ascontiguousarray(body_model.faces, dtype=np.int64)
    intrinsics = Intrinsics(FOCAL_SHARE * size[1], (size[1] / 2, size[0] / 2))
    to_camera = (Rotation.from_euler("z", roll) * Rotation.from_euler("x", pitch)).as_matrix()
    count, people = round(seconds * frame_rate), len(WALKS) if people is None else people
    betas = np.clip(rng.normal(0, 0.9, (people, 10)), -1.8, 1.8).astype(np.float32)
    motions = [
        _walk(np.array(walk), standing, LENGTH * np.arange(count) / count, rng)
        for walk, standing in list(zip(WALKS, STANDING, strict=True))[:people]
    ]
    skin = Skin.open_body()
    textures = np.stack([skin.dress(person, rng) for person in range(people)])
    empty = backdrop(size, intrinsics, to_camera, camera_height, seed)

    truth: dict[str, list[NDArray]] = {}
    masks: dict[int, dict[int, dict]] = {}
    with VideoWriter(scene.video, frame_rate, size, quality=18) as writer:
        for t in range(count):
            bodies = _place(body_model, [motion.at(t) for motion in motions], betas, to_camera, camera_height)
            vertices = bodies.pop("vertices")
            seen, seen_masks = _visibility(vertices, faces, intrinsics, size)
            projected = project(vertices, np.zeros((people, 3)), intrinsics)
            bodies["joints_2d"] = project(bodies["joints_3d"], bodies["camera"], intrinsics)
            bodies["boxes"] = np.concatenate([projected.min(1), projected.max(1)], axis=1)
            for name, value in (bodies | seen).items():
                truth.setdefault(name, []).append(value)
            masks[t] = {person + 1: to_rle(mask) for person, mask in enumerate(seen_masks) if mask.pixels.size}

            image = empty.copy()
            cast_shadows(image, vertices, faces, to_camera, intrinsics, camera_height)
            draw_people(image, vertices, faces, skin, textures, to_camera, intrinsics)
            writer.write(develop(image, rng), t / frame_rate)

    arrays = {name: np.stack(values) for name, values in truth.items()}
    constants: dict[str, Any] = {
        "ids": np.arange(1, people + 1), "betas": betas, "shape_space": body_model.shape_space, "size": np.array(size),
        "frame_rate": frame_rate, "focal_length": intrinsics.focal_length,
        "principal_point": np.array(intrinsics.principal_point), "up": -to_camera[:, 1], "floor": -camera_height,
    }  # fmt: skip
    np.savez_compressed(scene.truth, **(constants | arrays))
    _write_mot(scene.boxes, arrays)
    texts = {t: {i: rle | {"counts": rle["counts"].decode()} for i, rle in of.items()} for t, of in masks.items()}
    scene.masks.write_text(json.dumps(texts), encoding="utf-8")
    return scene


@dataclass(frozen=True)
class _Motion:
    """One person over time. position: (T, 2) metres right and away. orient: (T, 3, 3) in the level world; pose:
    (T, 23, 3, 3)."""

    position: NDArray[np.float64]
    orient: NDArray[np.float64]
    pose: NDArray[np.float64]

    def at(self, t: int) -> tuple[NDArray, NDArray, NDArray]:
        return self.position[t], self.orient[t], self.pose[t]


def _walk(
    walk: NDArray[np.float64], standing: tuple[float, float], time: NDArray[np.float64], rng: np.random.Generator
) -> _Motion:
    """A person who is at the given places (seconds, right, away) at the given times. time: (T,) of each frame."""
    count, step = len(time), time[1] - time[0]
    path = PchipInterpolator(walk[:, 0], walk[:, 1:])
    smooth = 0.12 / step
    position = gaussian_filter1d(path(time), smooth, axis=0, mode="nearest")
    velocity = gaussian_filter1d(path.derivative()(time), smooth, axis=0, mode="nearest")
    speed = np.linalg.norm(velocity, axis=1)
    stands = np.exp(-((speed / 0.3) ** 2))[:, None]
    direction = gaussian_filter1d(velocity + 0.6 * stands * np.array(standing), smooth, axis=0, mode="nearest")
    heading = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    right, away, zero, one = heading[:, 0], heading[:, 1], np.zeros(count), np.ones(count)
    # The body's own axes (left, up, ahead) in the level world (right, down, away).
    orient = np.stack([np.stack([-away, zero, right], 1), np.stack([zero, -one, zero], 1),
                       np.stack([right, zero, away], 1)], axis=2)  # fmt: skip
    phase = rng.uniform() + np.cumsum(speed) * step / STRIDE
    vigour = np.clip(speed, 0, 1.3) ** 0.6
    sway = 2 * np.pi * 0.25 * time + rng.uniform(0, 2 * np.pi)
    pose, pelvis = _gait(phase, vigour, sway, rng)
    return _Motion(position, orient @ pelvis, pose)


def _gait(
    phase: NDArray, vigour: NDArray, sway: NDArray, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joint rotations of walking: (T, 23, 3, 3), and the pelvis's (T, 3, 3) relative to the heading.

    phase: (T,) full cycles; the left heel touches the ground at whole numbers. vigour: (T,) 0 standing, 1 walking.
    The angles follow the usual curves of gait analysis (Perry, "Gait Analysis", 1992), roughly.
    """
    angles = np.zeros((len(phase), 24, 3))  # degrees about the body's own axes: left, up, ahead
    swing, bend = rng.uniform(0.8, 1.2), rng.uniform(10, 25)
    for hip, knee, ankle, shift in ((1, 4, 7, 0.0), (2, 5, 8, 0.5)):
        p = np.mod(phase + shift, 1)
        angles[:, hip, 0] = -vigour * (7 + 22 * np.cos(2 * np.pi * p))
        angles[:, knee, 0] = 3 + vigour * (3 + 14 * _bump(p, 0.14, 0.08) + 55 * _bump(p, 0.73, 0.11))
        angles[:, ankle, 0] = vigour * (5 * _bump(p, 0.07, 0.05) - 9 * _bump(p, 0.42, 0.14) + 16 * _bump(p, 0.63, 0.06))
    cycle = 2 * np.pi * phase
    angles[:, 0, 1] = -4 * vigour * np.cos(cycle)  # the pelvis turns with the leg that goes ahead
    angles[:, 0, 2] = 2.5 * vigour * np.sin(cycle) + 0.6 * np.sin(sway)
    angles[:, 0, 0] = 2 * vigour
    angles[:, 6, 1] = 7 * vigour * np.cos(cycle)
    angles[:, 9, 2] = -2.0 * vigour * np.sin(cycle)
    angles[:, 15, 1] = 6 * np.sin(0.7 * sway)
    pose = Rotation.from_euler("YXZ", angles[..., [1, 0, 2]].reshape(-1, 3), degrees=True).as_matrix()
    pose = pose.reshape(len(phase), 24, 3, 3)
    for shoulder, elbow, side, shift in ((16, 18, 1, 0.5), (17, 19, -1, 0.0)):
        swings = -vigour * swing * 20 * np.cos(2 * np.pi * (phase + shift)) + 2 * np.sin(sway)
        down = _about((0, 0, 1), np.full(len(phase), -74.0 * side))
        pose[:, shoulder] = (_about((1, 0, 0), swings) * down).as_matrix()
        bends = -side * (bend + 12 * vigour * (1 + np.cos(2 * np.pi * (phase + shift))) / 2)
        pose[:, elbow] = _about((0, 1, 0), bends).as_matrix()
    return pose[:, 1:], pose[:, 0]


def _about(axis: tuple[int, int, int], degrees: NDArray[np.float64]) -> Rotation:
    return Rotation.from_rotvec(np.outer(degrees, axis), degrees=True)


def _bump(phase: NDArray, center: float, width: float) -> NDArray[np.float64]:
    away = np.mod(phase - center + 0.5, 1) - 0.5
    return np.exp(-((away / width) ** 2))


def _place(
    body_model: BodyModel,
    people: list[tuple[NDArray, NDArray, NDArray]],
    betas: NDArray,
    to_camera: NDArray,
    camera_height: float,
) -> dict[str, NDArray]:
    """This frame's bodies in the camera frame, each standing with its lowest point on the ground."""
    position = np.stack([person[0] for person in people])
    orient = to_camera @ np.stack([person[1] for person in people])[:, None]
    pose = np.stack([person[2] for person in people])
    parameters = [np.asarray(parameter, np.float32) for parameter in (orient, pose, betas)]
    with torch.inference_mode():
        posed = body_model(*map(torch.from_numpy, parameters))
    vertices, pelvis = posed.vertices.numpy().astype(np.float64), posed.skeleton[:, :1].numpy().astype(np.float64)
    lowest = ((vertices - pelvis) @ to_camera[:, 1]).max(1)  # to_camera's columns are the level world's axes
    place = np.stack([position[:, 0], camera_height - lowest, position[:, 1]], axis=1)
    camera = (place @ to_camera.T - pelvis[:, 0]).astype(np.float32)
    return {
        "global_orient": parameters[0],
        "body_pose": parameters[1],
        "camera": camera,
        "joints_3d": posed.joints.numpy(),
        "vertices": vertices + camera[:, None],
    }


def _visibility(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], intrinsics: Intrinsics, size: tuple[int, int]
) -> tuple[dict[str, NDArray], list[Mask]]:
    """What is seen of each person, and the mask of it, from the picture of all and one of each alone."""
    _, numbers = rasterise(vertices, faces, intrinsics, size)
    owner = np.where(numbers >= 0, numbers // len(faces), -1)
    boxes = np.zeros((len(vertices), 4), np.float32)
    visibility = np.zeros(len(vertices), np.float32)
    present = np.zeros(len(vertices), bool)
    masks = []
    for person, body in enumerate(vertices):
        # Alone, in a window that holds all of the body, also what lies beyond the picture's border.
        pixels = project(body[None], np.zeros((1, 3)), intrinsics)[0]
        corner = np.floor(pixels.min(0)) - 1
        shape = np.ceil(pixels.max(0) - corner).astype(int) + 1
        shifted = Intrinsics(intrinsics.focal_length, tuple(np.array(intrinsics.principal_point) - corner))
        alone = rasterise(body[None], faces, shifted, (int(shape[1]), int(shape[0])))[1] >= 0
        left, top = (int(c) for c in corner)
        inside = alone[max(-top, 0) : max(size[0] - top, 0), max(-left, 0) : max(size[1] - left, 0)]
        mask = Mask.from_full(owner == person)
        masks.append(mask)
        present[person] = inside.any()
        visibility[person] = mask.pixels.sum() / max(alone.sum(), 1)
        if mask.pixels.size:
            h, w = mask.pixels.shape
            boxes[person] = mask.left, mask.top, mask.left + w, mask.top + h
    return {"visible_boxes": boxes, "visibility": visibility, "present": present}, masks


def _write_mot(path: Path, arrays: dict[str, NDArray]) -> None:
    with path.open("w", encoding="ascii") as file:
        for t, (boxes, visibility, present) in enumerate(
            zip(arrays["boxes"], arrays["visibility"], arrays["present"], strict=True)
        ):
            for person in np.flatnonzero(present):
                x1, y1, x2, y2 = boxes[person]
                file.write(
                    f"{t + 1},{person + 1},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,1,{visibility[person]:.3f}\n"
                )
