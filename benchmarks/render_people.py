"""Pictures of synthetic people with exact annotations, to train HMR 2.0 on: clothed open bodies over real frames.

    python benchmarks/render_people.py FOLDER [--people N] [--seed N] [--facing DEGREES] [--upright]
        [--blur PIXELS] [--looks N] [--background VIDEO]... [--part FROM TO]

Writes the tars of N people, one in each 256x256 picture, ``mocap.npz`` with as many other poses and shapes for a
discriminator, and ``smpl_mean_params.npz`` with their mean. Poses are those of the fifteen everyday actions of
`fourd_humans.training.actions.movements`. People are seen from all sides, or, with --facing, from at most so many
degrees to the left or right of their front. Backgrounds are parts of frames, with --blur out of focus by half to all
of so many pixels; --part takes them from that share of each video, so that held-out pictures can have others.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from demo_scene.drawing import Skin, develop, draw_people
from numpy.typing import NDArray

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, nearest_rotation
from fourd_humans.training.actions.movements import ACTIONS, movement_clip
from fourd_humans.training.hmr2.annotations import NUM_KEYPOINTS, from_box
from fourd_humans.training.hmr2.tars import TarWriter
from fourd_humans.video import open_source

VIDEOS = [Path(__file__).parents[1] / "demo_videos" / name for name in ("two_people.mp4", "walk.mp4")]
SIZE = 256  # of the pictures
FOCAL_LENGTH = 400.0
FRAMES = 40  # of each video, evenly spaced
AT_ONCE = 100
LYING = ("lie", "fall", "get up")
POSES_OF_A_CLIP, APART = 5, 12  # so many frames apart, at 30 a second
Floats = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--facing", type=float, default=180.0)
    parser.add_argument("--upright", action="store_true", help="nobody who lies, falls or gets up")
    parser.add_argument("--blur", type=float, default=0.0)
    parser.add_argument("--looks", type=int, default=60, help="different clothes, skin and hair")
    parser.add_argument("--background", type=Path, action="append", help="a video; by default the demo videos")
    parser.add_argument("--part", type=float, nargs=2, default=(0.0, 1.0))
    options = parser.parse_args()
    backgrounds = [
        frame for video in options.background or VIDEOS for frame in frames_of(video, options.part[0], options.part[1])
    ]
    actions = [action for action in ACTIONS if not (options.upright and action in LYING)]
    render(
        options.folder, options.people, options.seed, backgrounds, actions, options.facing, options.blur, options.looks
    )


def frames_of(video: Path, first: float, last: float) -> Iterator[NDArray[np.uint8]]:
    """Evenly spaced frames between two shares of the video."""
    source = open_source(video)
    count = source.frame_count or 1
    chosen = set(np.linspace(first * count, max(last * count - 1, 0), FRAMES).astype(int).tolist())
    for frame in source:
        if frame.index in chosen and hasattr(frame, "image"):
            yield frame.image


def render(
    folder: Path,
    people: int,
    seed: int,
    backgrounds: Sequence[NDArray[np.uint8]],
    actions: Sequence[str],
    facing: float,
    blur: float,
    looks: int,
) -> None:
    body, skin = BodyModel.open_body(), Skin.open_body()
    faces = np.ascontiguousarray(body.faces, np.int64)
    rng = np.random.default_rng([seed, 256])
    textures = [skin.dress(look % 25, rng).astype(np.float32) for look in range(looks)]
    intrinsics = Intrinsics(FOCAL_LENGTH, (SIZE / 2, SIZE / 2))
    with TarWriter(folder) as writer:
        for first in range(0, people, AT_ONCE):
            count = min(AT_ONCE, people - first)
            rotations, betas = poses(count, [seed, 1, first], body, actions)
            rotations[:, 0] = turned_to_the_camera(rotations[:, 0], facing, rng)
            with torch.inference_mode():
                parameters = (rotations[:, :1], rotations[:, 1:], betas)
                posed = body(*(torch.from_numpy(np.ascontiguousarray(p)) for p in parameters))
            vertices, joints = posed.vertices.numpy(), posed.joints.numpy()
            axis_angles = matrix_to_axis_angle(torch.from_numpy(rotations)).numpy().reshape(count, 72)
            for i in range(count):
                place = placed(vertices[i], rng)
                image = background(backgrounds[int(rng.integers(len(backgrounds)))], blur, rng)
                texture = np.clip(textures[rng.integers(looks)] * tint(rng), 0, 1).astype(np.float32)
                turned = cv2.Rodrigues(rng.normal(0, 0.6, 3))[0]  # of the sun
                draw_people(
                    image,
                    np.asarray(vertices[i] + place, np.float64)[None],
                    faces,
                    skin,
                    texture[None],
                    np.asarray(turned, np.float64),
                    intrinsics,
                )
                pixels = project(vertices[i][None], place[None], intrinsics)[0]
                keypoints = project(joints[i][None, :NUM_KEYPOINTS], place[None], intrinsics)[0]
                person = from_box(
                    np.concatenate([pixels.min(0), pixels.max(0)]),
                    keypoints_2d=with_confidence(keypoints),
                    keypoints_3d=with_confidence(joints[i, :NUM_KEYPOINTS]),
                    body_pose=axis_angles[i].astype(np.float32),
                    betas=betas[i],
                    has_body_pose=True,
                    has_betas=True,
                    shape_space=body.shape_space,
                )
                writer.write(f"{first + i:06d}", develop(image, rng), [person])
            print(f"{first + count} of {people}", flush=True)
    rotations, betas = poses(people, [seed, 2], body, actions)
    angles = matrix_to_axis_angle(torch.from_numpy(rotations)).numpy().reshape(people, 72)
    np.savez_compressed(folder / "mocap.npz", body_pose=angles.astype(np.float32), betas=betas)
    mean = nearest_rotation(torch.from_numpy(rotations).mean(0)).numpy()
    mean[0] = np.diag([1, -1, -1])  # facing the camera
    np.savez(
        folder / "smpl_mean_params.npz",
        pose=np.concatenate([mean[:, :, 0], mean[:, :, 1]], 1).reshape(144).astype(np.float32),
        shape=np.zeros(10, np.float32),
        cam=np.array([0.9, 0, 0], np.float32),
    )


def poses(people: int, seed: list[int], body: BodyModel, actions: Sequence[str]) -> tuple[Floats, Floats]:
    """Rotations (N, 24, 3, 3) in the camera's frame, and betas (N, 10). Each clip gives a few poses."""
    rng = np.random.default_rng(seed)
    clips = [
        movement_clip(str(rng.choice(actions)), POSES_OF_A_CLIP * APART, int(rng.integers(2**31)), body).poses[::APART]
        for _ in range(-(-people // POSES_OF_A_CLIP))
    ]
    features = np.concatenate(clips)[:people].astype(np.float32)
    betas = np.clip(rng.normal(0, 1, (people, 10)), -3, 3).astype(np.float32)
    return features[:, :216].reshape(-1, 24, 3, 3), betas


def turned_to_the_camera(root: Floats, facing: float, rng: np.random.Generator) -> Floats:
    """The root's rotations (N, 3, 3), turned about the picture's vertical so that people face the camera to within
    `facing` degrees, evenly distributed."""
    upright = root * np.array([1, -1, -1], np.float32)  # the identity where a person faces the camera
    heading = np.arctan2(upright[:, 0, 2] - upright[:, 2, 0], upright[:, 0, 0] + upright[:, 2, 2])
    angles = np.zeros((len(root), 3))
    angles[:, 1] = np.radians(rng.uniform(-facing, facing, len(root))) - heading
    turns = axis_angle_to_matrix(torch.from_numpy(angles)).numpy()
    return (turns @ root).astype(np.float32)


def placed(vertices: Floats, rng: np.random.Generator) -> Floats:
    """(3,) a place before the camera where the person fills most of the picture's height or width."""
    low, high = vertices.min(0), vertices.max(0)
    extent = float((high - low)[:2].max())
    depth = FOCAL_LENGTH * extent / (rng.uniform(0.62, 0.82) * SIZE) + float((high - low)[2]) / 2
    x, y = rng.normal(0, 0.04, 2) * extent - ((low + high) / 2)[:2]
    return np.array([x, y, depth - (low + high)[2] / 2], np.float32)


def background(frame: NDArray[np.uint8], blur: float, rng: np.random.Generator) -> Floats:
    """A random square part of a frame, often mirrored, in another brightness: (SIZE, SIZE, 3), 0 to 1."""
    height, width = frame.shape[:2]
    side = int(rng.uniform(0.3, 1.0) * min(height, width))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    part = cv2.resize(frame[top : top + side, left : left + side], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    part = part[:, ::-1] if rng.random() < 0.5 else part
    if blur:
        part = cv2.GaussianBlur(part, (0, 0), blur * rng.uniform(0.5, 1))
    return np.clip(part.astype(np.float32) / 255 * tint(rng), 0, 1).astype(np.float32)


def tint(rng: np.random.Generator) -> Floats:
    """(3,) factors on the channels: more or less light, a little warmer or colder."""
    return np.asarray(rng.uniform(0.7, 1.2) * rng.uniform(0.93, 1.07, 3), np.float32)


def with_confidence(points: NDArray[np.floating]) -> Floats:
    return np.concatenate([points, np.ones((len(points), 1))], 1).astype(np.float32)


if __name__ == "__main__":
    main()
