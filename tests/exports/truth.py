"""Where tracked people stand, computed straight from the results, without the exporters."""

import numpy as np
import torch

DEPTH_SCALE = 0.5 / np.tan(np.radians(55) / 2) / (5000 / 256)  # from the released focal length to a view of 55 degrees


def posed(tracklets, body_model, person, rotation, *, pose_shapes=True, depth_scale=DEPTH_SCALE):
    """A person in all their frames, in a world that `rotation` (3, 3) leads to from the camera's frame.

    Returns vertices (T, V, 3), 44 joints (T, 44, 3) and SMPL's 24 (T, 24, 3), in metres, for the mean shape of the
    frames in which the person was seen, with the pelvis where each frame's own shape has it.
    """
    tracklet = tracklets.person(person)
    bodies = tracklet.bodies
    rotations = torch.from_numpy(np.concatenate([bodies.global_orient, bodies.body_pose], axis=1))
    own = torch.from_numpy(bodies.betas)
    mean = own[torch.from_numpy(tracklet.seen)].mean(0).expand_as(own)
    pelvis = body_model(rotations[:, :1], rotations[:, 1:], own).skeleton[:, :1]
    posedirs = body_model.surface.directions[10:].clone()
    if not pose_shapes:
        body_model.surface.directions[10:] = 0
    output = body_model(rotations[:, :1], rotations[:, 1:], mean)
    body_model.surface.directions[10:] = posedirs
    move = pelvis - output.skeleton[:, :1] + torch.from_numpy(bodies.camera * np.float32([1, 1, depth_scale]))[:, None]
    return tuple(
        (points + move).numpy().astype(float) @ np.asarray(rotation, float).T
        for points in (output.vertices, output.joints[:, :44], output.skeleton)
    )


def farthest(points, others):
    """Millimetres between the two points that are farthest apart."""
    return 1000 * np.linalg.norm(np.asarray(points) - np.asarray(others), axis=-1).max()
