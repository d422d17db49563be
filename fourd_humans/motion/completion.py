"""Amodal completion: the bodies of people where something hides them, from the frames around."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fourd_humans.body.model import BodyModel
from fourd_humans.errors import FourDHumansError
from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.crops import with_camera
from fourd_humans.motion.interpolation import from_picture, mix, neighbours, to_picture, turn
from fourd_humans.motion.pose_transformer import ROTATIONS, PoseTransformer
from fourd_humans.people import Bodies, Float
from fourd_humans.pose_features import motion_features

CONTEXT = 32  # frames looked at on each side, and in the released layout also kept from one window


def complete(
    frames_seen: NDArray[np.integer],
    bodies: Bodies,
    frames_missing: NDArray[np.integer],
    body_model: BodyModel,
    network: PoseTransformer | None = None,
) -> Bodies:
    """The bodies of one person in frames where the person was not seen.

    frames_seen: (K,) ascending. bodies: K rows; those with features that are not finite are passed over.
    frames_missing: (M,). network: fills in the rotations; None, or a gap longer than the network can span, interpolates
    every joint between the observations around it (slerp). Shape, translation and crop are interpolated likewise (the
    translation along a straight line in the image, depth by its logarithm) and held constant outside all observations.

    Returns M rows without textures.
    Raises: FourDHumansError where no frame was seen.
    """
    features = motion_features(bodies)
    frames_seen, bodies, values = (
        frames_seen[features.usable],
        bodies[features.usable],
        features.values[features.usable],
    )
    if not len(frames_seen):
        raise FourDHumansError("a person who is not seen in any frame cannot be completed")
    before, after, share = neighbours(frames_seen, frames_missing)
    seen_rotations = values[:, ROTATIONS].reshape(-1, 24, 3, 3)
    rotations = turn(seen_rotations[before], seen_rotations[after], share)
    if network is not None:
        start = min(frames_seen[0], *frames_missing)
        known = np.zeros(max(frames_seen[-1], *frames_missing) - start + 1, bool)
        known[frames_seen - start] = True
        whole = np.zeros((len(known), values.shape[1]), np.float32)
        whole[frames_seen - start] = values
        filled, answered = fill_in(network, whole[None], known)
        filled, answered = filled[0, frames_missing - start], answered[frames_missing - start]
        rotations = np.where(answered[:, None, None, None], filled[:, ROTATIONS].reshape(-1, 24, 3, 3), rotations)
    camera = from_picture(mix(to_picture(bodies.camera), before, after, share))
    posed = replace(
        bodies,
        global_orient=rotations[:, :1],
        body_pose=rotations[:, 1:],
        betas=mix(bodies.betas, before, after, share),
        crop_center=None if bodies.crop_center is None else mix(bodies.crop_center, before, after, share),
        crop_size=None if bodies.crop_size is None else mix(bodies.crop_size, before, after, share),
        texture=None,
        confidence=None if bodies.confidence is None else np.zeros(len(frames_missing), np.float32),
    )
    return with_joints(with_camera(posed, camera), body_model)


def with_joints(bodies: Bodies, body_model: BodyModel) -> Bodies:
    """The bodies with the joints that follow from their parameters and camera."""
    joints = body_model.joints_of_arrays(bodies.global_orient, bodies.body_pose, bodies.betas)
    pixels = project(joints, bodies.camera, Intrinsics(bodies.focal_length, bodies.principal_point))
    return replace(bodies, joints_3d=joints, joints_2d=pixels)


@torch.inference_mode()
def fill_in(network: PoseTransformer, features: Float, known: NDArray[np.bool_]) -> tuple[Float, NDArray[np.bool_]]:
    """What the network reads in every frame of sequences of any length.

    features: (B, T, 229). known: (T,) bool, of all of them; the features of other frames are not looked at.
    Returns (B, T, 229), and (T,) bool where there is an answer: where the network saw a known frame within reach. In
    the plain layout only unknown frames are answered.
    """
    filled = np.zeros_like(features)
    answered = np.zeros(len(known), bool)
    windows = _released_windows(len(known)) if network.has_bottleneck else _gap_windows(known, network.frames)
    for window, kept in windows:
        if known[window].any():
            inside = slice(kept.start - window.start, kept.stop - window.start)
            filled[:, kept] = _read(network, features[:, window], known[window])[:, inside]
            answered[kept] = True
    return filled, answered


def _read(network: PoseTransformer, features: Float, known: NDArray[np.bool_]) -> Float:
    device, count = network.mean.device, len(known)
    padding = network.frames - count if network.has_bottleneck else 0
    poses = torch.from_numpy(np.pad(features, ((0, 0), (0, padding), (0, 0)))).to(device)
    masked = torch.from_numpy(np.pad(~known, (0, padding), constant_values=True)).to(device)
    return network(poses, masked.expand(len(poses), -1))[:, :count].cpu().numpy()


def _released_windows(count: int) -> list[tuple[slice, slice]]:
    """(frames to look at, frames to keep of them): stretches of 32 with 32 on each side, as the released code does."""
    starts = range(0, count, CONTEXT)
    return [
        (slice(max(s - CONTEXT, 0), min(s + 2 * CONTEXT, count)), slice(s, min(s + CONTEXT, count))) for s in starts
    ]


def _gap_windows(known: NDArray[np.bool_], longest: int) -> list[tuple[slice, slice]]:
    """(frames to look at, frames to keep of them): each gap as a whole with what is seen up to 32 frames around it.

    Gaps that leave no room for a frame on either side are left out.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[1], known.astype(int), [1]])))
    windows = []
    for start, stop in edges.reshape(-1, 2):
        context = min(CONTEXT, (longest - (stop - start)) // 2)
        if context > 0:
            windows.append((slice(max(start - context, 0), min(stop + context, len(known))), slice(start, stop)))
    return windows


def boxes_around(bodies: Bodies, reference: Bodies, reference_boxes: Float) -> Float:
    """Boxes (N, 4) for bodies that were not detected, as wide around their joints as the reference boxes around theirs.

    bodies: N rows. reference, reference_boxes: the same people's rows where they were detected, at least one.
    """
    low, high = reference.joints_2d.min(1), reference.joints_2d.max(1)
    size = np.maximum(high - low, 1.0)
    before = np.clip(np.mean((low - reference_boxes[:, :2]) / size, axis=0), -0.5, 1.0)
    after = np.clip(np.mean((reference_boxes[:, 2:] - high) / size, axis=0), -0.5, 1.0)
    low, high = bodies.joints_2d.min(1), bodies.joints_2d.max(1)
    size = high - low
    return np.concatenate([low - before * size, high + after * size], axis=1).astype(np.float32)
