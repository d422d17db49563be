"""Tracked people in a stated world: its axes, its unit, each body placed by its pelvis.

Results stand in the camera's frame, x right, y down, z away, in metres; every format wants another one. A body of
SMPL's family turns about its pelvis joint, not about its origin: with J₀ the pelvis of the shaped body at rest, a
vertex v of the posed body (before its root rotation R₀) stands at R₀ (v − J₀) + J₀ + t in the camera's frame, and in
a world that the rotation M leads to at

    M R₀ (v − J₀) + M (J₀ + t):

the root rotation is M R₀, and the pelvis stands at M (J₀ + t). M t would be wrong by up to half a metre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from fourd_humans.body.joints import ROOT
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.motion.level import LevelMode, level_scene
from fourd_humans.people import Float
from fourd_humans.rendering.views import ordinary_depth_scale
from fourd_humans.tracklets import Tracklet, Tracklets

DEFAULT_FRAME_RATE = 30.0  # of a single frame
BODIES_AT_ONCE = 64

Array = NDArray[np.float64]


@dataclass(frozen=True)
class World:
    """A right-handed world whose origin is the camera, or the floor below it.

    axes: (3, 3) the directions of its x, y and z in the camera's frame, row by row. metres: what one unit stands for.
    """

    axes: tuple[tuple[float, float, float], ...]
    metres: float = 1.0

    @property
    def rotation(self) -> Array:
        return np.array(self.axes)


Y_UP = World(((1, 0, 0), (0, -1, 0), (0, 0, -1)))
"""x right, y up, z towards the camera; metres."""
Z_UP = World(((1, 0, 0), (0, 0, 1), (0, -1, 0)))
"""x right, y away from the camera, z up; metres."""


@dataclass(frozen=True)
class Camera:
    """The camera that filmed, in the world.

    position: (F, 3) and rotation: (F, 3, 3), whose columns are its right, down and forward, in each of the F frames.
    focal_length: pixels. principal_point: (x, y) pixels. size: (height, width).
    """

    position: Array
    rotation: Array
    focal_length: float
    principal_point: tuple[float, float]
    size: tuple[int, int]


@dataclass(frozen=True)
class Motion:
    """One person over the T frames that have them, in a world.

    indices: (T,) of the frames, in the scene's times. seen: (T,) True where the person was detected.
    pelvis: (T, 3) position of the pelvis joint, in the world's unit.
    rotations: (T, 24, 3, 3) of the joints relative to their parents; the first turns the whole body in the world.
    betas: (10,) of the body model in use, the same in all frames.
    rest_joints: (24, 3), rest_vertices: (V, 3): that shape in the T-pose, y up and facing +z, in the world's unit.
    """

    id: int
    indices: NDArray[np.int64]
    seen: NDArray[np.bool_]
    pelvis: Array
    rotations: Array
    betas: Array
    rest_joints: Array
    rest_vertices: Array

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def name(self) -> str:
        return f"person_{self.id}"

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First and last index of each run of frames without a gap."""
        breaks = np.flatnonzero(np.diff(self.indices) > 1)
        starts, ends = np.append(0, breaks + 1), np.append(breaks, len(self) - 1)
        return [(int(self.indices[a]), int(self.indices[b])) for a, b in zip(starts, ends, strict=True)]

    def presence(self, frames: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The indices, of so many frames, from which on the person is there or away, and which of the two."""
        there = np.zeros(frames, bool)
        there[self.indices] = True
        changes = np.append(0, 1 + np.flatnonzero(np.diff(there)))
        return changes, there[changes]


@dataclass(frozen=True)
class Scene:
    """The people of a video in one world.

    times: (F,) seconds from the first frame, exactly as in the video. frames: (F,) the frames' numbers in the video.
    start: seconds of the first frame in the video. frame_rate: frames a second, the average where it varies.
    notes: of each shot that could not be levelled, why.
    """

    world: World
    people: list[Motion]
    camera: Camera
    body_model: BodyModel
    times: Array
    frames: NDArray[np.int64]
    start: float
    frame_rate: float
    notes: tuple[str, ...] = ()

    def posed(self, motion: Motion) -> Iterator[tuple[slice, Array, Array, Array]]:
        """A person's body in the world, some frames at a time: which of the T they are, and for these vertices
        (N, V, 3), joints (N, 44, 3) and SMPL's 24 joints (N, 24, 3), in the world's unit.

        The 44 are those of results; the 45th, the origin of the model, is no point of the body.
        """
        for first in range(0, len(motion), BODIES_AT_ONCE):
            part = slice(first, min(first + BODIES_AT_ONCE, len(motion)))
            rotations = _tensor(self.body_model, motion.rotations[part])
            betas = _tensor(self.body_model, motion.betas).expand(len(rotations), -1)
            with torch.inference_mode():
                output = self.body_model(rotations[:, :1], rotations[:, 1:], betas)
            skeleton = output.skeleton.cpu().numpy().astype(float)
            move = motion.pelvis[part, None] - skeleton[:, :1] / self.world.metres
            vertices, joints, skeleton = (
                points / self.world.metres + move
                for points in (output.vertices.cpu().numpy(), output.joints[:, :ROOT].cpu().numpy(), skeleton)
            )
            yield part, vertices, joints, skeleton

    def vertices(self, motion: Motion, row: int) -> Array:
        """The mesh (V, 3) of a person in one of their T frames, in the world's unit."""
        part = slice(row, row + 1)
        one = replace(motion, **{n: getattr(motion, n)[part] for n in ("indices", "seen", "pelvis", "rotations")})
        return next(self.posed(one))[1][0]

    def joints(self, motion: Motion) -> tuple[Array, Array]:
        """The 44 joints (T, 44, 3) and SMPL's 24 (T, 24, 3) of a person in all their frames, in the world's unit."""
        parts = [(joints, skeleton) for _, _, joints, skeleton in self.posed(motion)]
        return np.concatenate([joints for joints, _ in parts]), np.concatenate([skeleton for _, skeleton in parts])

    def resampled(self, frame_rate: float) -> Scene:
        """The scene at a constant frame rate: rotations by spherical, positions by linear interpolation.

        Nobody is interpolated across frames that do not have them.
        """
        times = np.arange(int(self.times[-1] * frame_rate + 1e-6) + 1) / frame_rate
        nearest = _nearest(self.times, times)
        camera = replace(self.camera, position=self.camera.position[nearest], rotation=self.camera.rotation[nearest])
        people = [motion for motion in (_resample(each, self.times, times) for each in self.people) if len(motion)]
        return replace(
            self, people=people, camera=camera, times=times, frames=self.frames[nearest], frame_rate=frame_rate
        )

    @property
    def is_regular(self) -> bool:
        """Whether the frames follow each other at `frame_rate`, none missing, to a fifth of a frame."""
        return bool(np.abs(self.times * self.frame_rate - np.arange(len(self.times))).max() < 0.2)

    def regular(self) -> Scene:
        """The scene for formats that know a frame rate and no times: itself, or resampled where times vary."""
        return self if self.is_regular else self.resampled(self.frame_rate)


def make_scene(
    tracklets: Tracklets,
    body_model: BodyModel,
    world: World = Y_UP,
    frame_rate: float | None = None,
    depth_scale: float | None = None,
    level: LevelMode = "none",
) -> Scene:
    """Everybody in `tracklets` in a world.

    body_model: of the results. Results of another shape space are shown in this one's mean shape.
    frame_rate: to resample to.
    level: puts people upright on a floor at height 0, with the depths of an ordinary lens, see `motion.level`. With
    "none", or a depth scale, the origin is the camera, and its pitch makes people lean.
    depth_scale: factor on people's distances from the camera and on its focal length, which leaves their pixels about
    in place. By default that of an ordinary lens where the results assume a longer one, as the released code does,
    whose people stand a hundred metres away and jump by a metre a frame; else 1.

    Raises: UsageError where there is nobody, or for a frame rate or depth scale that is none.
    """
    if depth_scale is not None and not 0 < depth_scale < np.inf:
        raise UsageError(f"the depth scale must be a positive number, not {depth_scale:g}")
    if frame_rate is not None and not 0 < frame_rate <= 1000:
        raise UsageError(f"the frame rate must lie between 0 and 1000 frames a second, not {frame_rate:g}")
    if not len(tracklets.ids):
        raise UsageError(f"there is nobody in these {len(tracklets)} frames, so there is nothing to export")
    frames = np.array([frame.index for frame in tracklets])
    times = np.array([frame.time for frame in tracklets])
    times, start = times - times[0], float(times[0])
    if (np.diff(times) <= 0).any():
        raise UsageError("the times of these results do not increase from frame to frame")
    average = (len(times) - 1) / times[-1] if len(times) > 1 else DEFAULT_FRAME_RATE
    levelled = level_scene(tracklets, body_model, level if depth_scale is None else "none")
    tracklets = levelled.tracklets
    first = next(frame for frame in tracklets if len(frame))
    if depth_scale is None:  # the level world has the depths of an ordinary lens already
        depth_scale = 1.0 if level != "none" else ordinary_depth_scale(first.bodies.focal_length, first.size)
    camera = Camera(
        position=np.outer(-levelled.camera_height, world.rotation[:, 1]) / world.metres,
        rotation=world.rotation @ levelled.camera_rotation,
        focal_length=first.bodies.focal_length * depth_scale,
        principal_point=first.bodies.principal_point,
        size=first.size,
    )
    motions = (tracklet_in_world(tracklets.person(int(id)), body_model, world, depth_scale) for id in tracklets.ids)
    people = [replace(motion, indices=np.searchsorted(frames, motion.indices)) for motion in motions if len(motion)]
    if not people:
        raise UsageError("nobody in these results has a position, so there is nothing to export")
    scene = Scene(world, people, camera, body_model, times, frames, start, float(average), tuple(levelled.notes))
    return scene if frame_rate is None else scene.resampled(frame_rate)


def tracklet_in_world(tracklet: Tracklet, body_model: BodyModel, world: World, depth_scale: float = 1.0) -> Motion:
    """One person's motion in a world, with the mean of the shapes in the frames that the person was seen in.

    depth_scale: factor on the distance of the body's origin from the camera.
    `Motion.indices` are the numbers of the frames. Frames whose pose or position is not finite are left out.
    """
    bodies = tracklet.bodies
    same_shapes = bodies.shape_space == body_model.shape_space
    betas = bodies.betas if same_shapes else np.zeros_like(bodies.betas)
    usable = (
        np.isfinite(bodies.camera).all(1) & np.isfinite(bodies.body_pose).all((1, 2, 3)) & np.isfinite(betas).all(1)
    )
    usable &= np.insert(np.diff(tracklet.frames) > 0, 0, True)  # nobody is in one frame twice
    counted = usable & tracklet.seen if (usable & tracklet.seen).any() else usable
    shape = betas[counted].mean(0, dtype=float) if counted.any() else np.zeros(betas.shape[1])
    each_pelvis = _rest(body_model, betas[usable])[0][:, 0]
    camera = bodies.camera[usable] * np.array([1.0, 1.0, depth_scale])
    rest_joints, rest_vertices = (values[0] / world.metres for values in _rest(body_model, shape[None]))
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], axis=1)[usable].astype(float)
    rotations[:, 0] = world.rotation @ rotations[:, 0]
    return Motion(
        id=tracklet.id,
        indices=tracklet.frames[usable],
        seen=tracklet.seen[usable],
        pelvis=(each_pelvis + camera) @ world.rotation.T / world.metres,
        rotations=_orthogonal(rotations),
        betas=shape,
        rest_joints=rest_joints,
        rest_vertices=rest_vertices,
    )


def _rest(body_model: BodyModel, betas: Array | Float) -> tuple[Array, Array]:
    """Joints (N, 24, 3) and vertices (N, V, 3) of shapes at rest; vertices only for the first of them."""
    shapes = _tensor(body_model, betas)
    joints = body_model.J_template + torch.einsum("jck,nk->njc", body_model.J_shapedirs, shapes)
    vertices = body_model.v_template + torch.einsum("vck,nk->nvc", body_model.shapedirs, shapes[:1])
    return joints.cpu().numpy().astype(float), vertices.cpu().numpy().astype(float)


def without_gaps(motion: Motion, times: Array) -> Motion:
    """The person in every frame from the first to the last that has them, for formats in which nobody can be away.

    times: of the scene's frames. Filled-in frames are interpolated, and not `seen`.
    """
    indices = np.arange(motion.indices[0], motion.indices[-1] + 1)
    filled = _at(motion, times[motion.indices], times[indices])
    return replace(filled, indices=indices, seen=filled.seen & np.isin(indices, motion.indices))


def _resample(motion: Motion, before: Array, times: Array) -> Motion:
    """`motion`, whose frames are at `before`, at other times: those between two neighbouring frames that it has."""
    there = np.zeros(len(before), bool)
    there[motion.indices] = True
    right = np.clip(np.searchsorted(before, times - 1e-6), 0, len(before) - 1)  # the first frame not earlier
    left = np.where(np.abs(before[right] - times) <= 1e-6, right, np.maximum(right - 1, 0))
    indices = np.flatnonzero(there[left] & there[right])
    return replace(_at(motion, before[motion.indices], times[indices]), indices=indices)


def _at(motion: Motion, own_times: Array, times: Array) -> Motion:
    """`motion`, whose frames are at `own_times`, at `times` between its first and its last."""
    moments = np.clip(times, own_times[0], own_times[-1])
    pelvis, rotations = motion.pelvis, motion.rotations
    if len(motion) > 1 and len(times):
        pelvis = np.stack([np.interp(moments, own_times, pelvis[:, axis]) for axis in range(3)], axis=1)
        joints = (Rotation.from_matrix(rotations[:, joint]) for joint in range(rotations.shape[1]))
        rotations = np.stack([Slerp(own_times, joint)(moments).as_matrix() for joint in joints], axis=1)
    else:
        pelvis, rotations = (np.repeat(values[:1], len(times), axis=0) for values in (pelvis, rotations))
    return replace(motion, seen=motion.seen[_nearest(own_times, moments)], pelvis=pelvis, rotations=rotations)


def _nearest(sorted_times: Array, times: Array) -> NDArray[np.int64]:
    """For each of `times`, which of `sorted_times` is nearest."""
    return np.searchsorted((sorted_times[1:] + sorted_times[:-1]) / 2, times)


def _orthogonal(rotations: Array) -> Array:
    """What was stored in single precision, as rotations to double precision."""
    return Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_matrix().reshape(rotations.shape)


def _tensor(body_model: BodyModel, array: Array | Float) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(body_model.J_template)
