"""Predicted detections and bodies of hidden people: their last observation, moved and posed as predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics, project
from fourd_humans.geometry.crops import crop_cameras
from fourd_humans.people import Bodies, Detections, Float, concatenate
from fourd_humans.pose_features import cameras_from_locations, pose_features, split_pose_features
from fourd_humans.tracking.track import Track

# posed joints (N, 45, 3) from global_orient (N, 1, 3, 3), body_pose (N, 23, 3, 3) and betas (N, 10)
Joints = Callable[[Float, Float, Float], Float]


def hidden_people(
    tracks: Sequence[Track], size: tuple[int, int], joints: Joints | None = None
) -> list[tuple[Detections, Bodies]]:
    """The detection and the body of each hidden track, as predicted at a frame of `size` (height, width)."""
    seen = [track.last_seen for track in tracks if track.last_seen is not None]
    if not seen:
        return []
    last = concatenate([body for _, body in seen])
    bodies = _move(last, np.stack([track.expected.location for track in tracks]), size)
    bodies = _pose(bodies, np.stack([track.expected.pose for track in tracks]), joints)
    bodies = replace(
        bodies,
        joints_2d=project(bodies.joints_3d, bodies.camera, _intrinsics(bodies)),
        confidence=None if bodies.confidence is None else np.zeros_like(bodies.confidence),
    )
    return [
        (_move_detection(detection, last[row], bodies[row]), replace(bodies[row], texture=track.texture[None]))
        for row, (track, (detection, _)) in enumerate(zip(tracks, seen, strict=True))
    ]


def _move(bodies: Bodies, locations: NDArray, size: tuple[int, int]) -> Bodies:
    """The bodies at other locations; the crop moves along, so that its camera stays the same."""
    intrinsics, crop = _intrinsics(bodies), crop_cameras(bodies).camera
    camera = cameras_from_locations(locations, size, intrinsics)
    metres_per_pixel = camera[:, 2] / intrinsics.focal_length
    shift = (camera[:, :2] - crop[:, 1:]) / metres_per_pixel[:, None]
    return replace(
        bodies,
        camera=camera,
        crop_center=(np.asarray(intrinsics.principal_point) + shift).astype(np.float32),
        crop_size=(2 / (crop[:, 0] * metres_per_pixel)).astype(np.float32),
    )


def _pose(bodies: Bodies, poses: NDArray, joints: Joints | None) -> Bodies:
    """The bodies in other poses (N, 229). Where the pose is another, joints are computed anew if that is possible."""
    changed = (pose_features(bodies)[:, :226] != poses[:, :226]).any(1)
    if joints is None or not changed.any():
        return bodies
    global_orient, body_pose, betas = split_pose_features(poses)
    joints_3d = bodies.joints_3d.copy()
    joints_3d[changed] = joints(global_orient[changed], body_pose[changed], betas[changed])
    return replace(bodies, global_orient=global_orient, body_pose=body_pose, betas=betas, joints_3d=joints_3d)


def _move_detection(detection: Detections, before: Bodies, after: Bodies) -> Detections:
    """The detection moved and scaled with its crop. Nothing of the person is in view: no mask, keypoints unscored."""
    old, new = crop_cameras(before), crop_cameras(after)
    scale = new.size / old.size

    def moved(points: NDArray) -> Float:
        return ((points - old.center[0]) * scale + new.center[0]).astype(np.float32)

    keypoints = detection.keypoints
    if keypoints is not None:
        keypoints = np.concatenate([moved(keypoints[..., :2]), np.zeros_like(keypoints[..., 2:])], axis=-1)
    return Detections(
        boxes=moved(detection.boxes.reshape(2, 2)).reshape(1, 4),
        scores=detection.scores,
        masks=None if detection.masks is None else [None],
        keypoints=keypoints,
        annotations=None if detection.annotations is None else [None],
    )


def _intrinsics(bodies: Bodies) -> Intrinsics:
    return Intrinsics(bodies.focal_length, bodies.principal_point)
