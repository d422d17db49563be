"""Tracklets in a level world: gravity points down, and people stand on a floor.

Results stand in the camera's frame; a camera that looks down makes everybody lean by its pitch. With the released
convention's focal length people also stand tens of metres away and far apart. Here they are put into the frame of a
level camera with ordinary perspective that stands where the real one stood, above the origin of the floor: x right, y
down with y = 0 on the floor, z away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import ROOT
from fourd_humans.body.model import BodyModel
from fourd_humans.errors import UsageError
from fourd_humans.motion.gravity import (
    FEET,
    LEVEL_CONFIDENCE,
    uprightness,
    weighted_median,
    with_assumed_intrinsics,
)
from fourd_humans.motion.shots import rotation_function
from fourd_humans.people import Shot, TrackedFrame
from fourd_humans.tracklets import Tracklets

Array = NDArray[np.float64]
LevelMode = Literal["auto", "none"] | float
"""auto: as estimated, where the estimate is certain enough. none: the results' own frame. A number: the camera looks
down by so many degrees."""


@dataclass(frozen=True)
class LevelScene:
    """People in the level world.

    tracklets: every frame's bodies in it; their `camera` is the translation in that world, and `focal_length` that of
        the camera assumed. Boxes, masks and 2D points stay those of the image.
    camera_rotation: (F, 3, 3) from each frame's camera to the world. camera_height: (F,) metres above the floor.
    notes: of each shot that could not be levelled, why.
    """

    tracklets: Tracklets
    camera_rotation: Array
    camera_height: Array
    notes: list[str]


def level_scene(tracklets: Tracklets, body_model: BodyModel, mode: LevelMode = "auto") -> LevelScene:
    """Put everybody into a level world, shot by shot.

    body_model: that of the results, whose pelvis bodies turn about.
    Raises: UsageError for a pitch of 90 degrees or more.
    """
    if not isinstance(mode, str) and not abs(mode) < 90:
        raise UsageError(f"the camera's pitch must lie between -90 and 90 degrees, not {mode:g}")
    count = len(tracklets)
    rotations, heights = np.broadcast_to(np.eye(3), (count, 3, 3)).copy(), np.zeros(count)
    if mode == "none":
        return LevelScene(tracklets, rotations, heights, [])
    frames, notes = list(tracklets.frames), []
    indices = np.array([frame.index for frame in frames], np.int64)
    order = np.argsort(indices, kind="stable")
    for shot in tracklets.shots or [Shot(frames[0].index, frames[-1].index)] if count else []:
        begin, end = np.searchsorted(indices[order], (shot.first_frame, shot.last_frame + 1))
        places = order[begin:end].tolist()
        up, note = _up(shot, mode)
        if note:
            notes.append(note)
        axes = level_axes(up)
        at = rotation_function(shot.first_frame, [(frame, np.array(matrix)) for frame, matrix in shot.rotations])
        for place in places:
            rotations[place] = axes @ at(frames[place].index)
            frames[place] = _rotated(frames[place], rotations[place], body_model)
        floor = _floor([frames[place] for place in places])
        for place in places:
            bodies = frames[place].bodies
            moved = bodies.camera - np.array([0, floor, 0], np.float32)
            frames[place] = replace(frames[place], bodies=replace(bodies, camera=moved))
            heights[place] = floor
    return LevelScene(replace(tracklets, frames=frames), rotations, heights, notes)


def level_axes(up: tuple[float, float, float]) -> Array:
    """(3, 3) from the camera's frame to a level one with x right, y down and z away: the camera's forward direction,
    made horizontal."""
    down = -np.asarray(up, float)
    away = np.array([0.0, 0.0, 1.0]) - down[2] * down
    if np.linalg.norm(away) < 1e-3:  # the camera looks straight down or up
        away = np.array([0.0, -1.0, 0.0]) + down[1] * down
    away /= np.linalg.norm(away)
    return np.stack([np.cross(down, away), down, away])


def _up(shot: Shot, mode: LevelMode) -> tuple[tuple[float, float, float], str | None]:
    """The direction up in the shot's first frame, and why it is only the camera's own."""
    own = (0.0, -1.0, 0.0)
    if not isinstance(mode, str):
        pitch = math.radians(mode)
        return (0.0, -math.cos(pitch), -math.sin(pitch)), None
    where = f"frames {shot.first_frame} to {shot.last_frame}"
    if shot.camera_motion == "moving":
        return own, f"{where} are not levelled: the camera moves, which is not supported"
    if shot.gravity is None:
        return own, f"{where} are not levelled: nobody stands upright"
    if shot.gravity.confidence < LEVEL_CONFIDENCE:
        return own, f"{where} are not levelled: the direction of gravity is not certain ({shot.gravity.confidence:.2f})"
    return shot.gravity.up, None


def _rotated(frame: TrackedFrame, rotation: Array, body_model: BodyModel) -> TrackedFrame:
    """The frame's people in the level world, still with the camera at the origin."""
    bodies = frame.bodies
    if not len(bodies):
        return frame
    camera, own, origins = with_assumed_intrinsics(bodies, frame.detections.boxes, frame.size)
    turn = rotation @ own  # (N, 3, 3)
    betas = bodies.betas if bodies.shape_space == body_model.shape_space else np.zeros_like(bodies.betas)
    pelvis = body_model.pelvis_of(betas)
    joints = np.einsum("nij,nkj->nki", turn, bodies.joints_3d) + (origins @ rotation.T)[:, None]
    translation = np.einsum("nij,nj->ni", turn, pelvis) + origins @ rotation.T - pelvis
    joints -= translation[:, None]
    joints[:, ROOT] = 0  # the model's origin, which does not turn with the body
    turned = replace(
        bodies,
        global_orient=(turn[:, None] @ bodies.global_orient).astype(np.float32),
        camera=translation.astype(np.float32),
        joints_3d=joints.astype(np.float32),
        focal_length=camera.focal_length,
        principal_point=camera.principal_point,
    )
    return replace(frame, bodies=turned)


def _floor(frames: Sequence[TrackedFrame]) -> float:
    """y of the floor in the level world around the camera: the median of the lowest points of upright people's feet."""
    lowest, weights = [], []
    for frame in frames:
        for row in np.flatnonzero(frame.seen):
            joints = frame.bodies.joints_3d[row]
            lowest.append(float((joints[list(FEET), 1] + frame.bodies.camera[row, 1]).max()))
            weights.append(uprightness(joints) + 1e-3)  # where nobody is upright, everybody counts alike
    return weighted_median(np.array(lowest), np.array(weights)) if lowest else 0.0
