"""BlazePose GHUM: 33 landmarks of a person, in the picture and in metres, and a mask (Google, Apache-2.0)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.special import expit

from fourd_humans.checkpoints.onnx import load_session
from fourd_humans.people import Float, Mask
from fourd_humans.recovery.landmarks.regions import SIDE, Regions

WEIGHTS = Path(__file__).parent / "data" / "blazepose_landmark_full.onnx"
BODY = 33  # of the 39 landmarks; the others are helpers for the next cut-out
OUTPUTS = ("landmarks", "presence", "segmentation", "world_landmarks")


@dataclass(frozen=True)
class Landmarks:
    """What the network says of N people.

    pixels: (N, 33, 2) in the frame. visibility: (N, 33) in 0..1. metres: (N, 33, 3) from between the hips, x right,
    y down, z away from the camera. presence: (N,) in 0..1, whether there is a person.
    segmentation: (N, 256, 256) logits of the person's mask, in the cut-outs.
    """

    pixels: Float
    visibility: Float
    metres: Float
    presence: Float
    segmentation: Float


class LandmarkNetwork:
    """device, threads: see `fourd_humans.checkpoints.onnx.load_session`."""

    def __init__(self, device: str = "cpu", threads: int = 0, weights: Path = WEIGHTS) -> None:
        self.session = load_session(weights, device, threads)

    def __call__(self, pictures: Float, regions: Regions) -> Landmarks:
        """pictures: (N, 256, 256, 3), cut out of their frames at `regions`."""
        landmarks, presence, segmentation, world = self.session.run(list(OUTPUTS), {"image": pictures})
        landmarks = landmarks.reshape(len(pictures), -1, 5)[:, :BODY]
        to_frame = regions.to_frame()
        pixels = np.einsum("nij,nkj->nki", to_frame[:, :, :2], landmarks[..., :2]) + to_frame[:, None, :, 2]
        turn = to_frame[:, :, :2] * (SIDE / regions.side)[:, None, None]
        metres = world.reshape(len(pictures), -1, 3)[:, :BODY]
        metres = np.concatenate([np.einsum("nij,nkj->nki", turn, metres[..., :2]), metres[..., 2:]], -1)
        return Landmarks(
            pixels.astype(np.float32),
            (expit(landmarks[..., 3]) * expit(landmarks[..., 4])).astype(np.float32),
            metres.astype(np.float32),
            presence.reshape(-1),
            segmentation[..., 0],
        )


def mask_in_frame(segmentation: Float, regions: Regions, row: int, size: tuple[int, int]) -> Mask:
    """The mask of person `row` in a frame of `size` (height, width), from the logits (256, 256) of its cut-out."""
    height, width = size
    rows, columns = np.flatnonzero((segmentation > 0).any(1)), np.flatnonzero((segmentation > 0).any(0))
    if not len(rows):
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    x, y = (columns[0], columns[-1] + 1), (rows[0], rows[-1] + 1)
    to_frame = regions.to_frame()[row]
    corners = to_frame[:, :2] @ np.array([[x[0], x[1], x[0], x[1]], [y[0], y[0], y[1], y[1]]]) + to_frame[:, 2:]
    left, top = np.clip(np.floor(corners.min(1)), 0, [width, height]).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(1)), 0, [width, height]).astype(int).tolist()
    if right <= left or bottom <= top:
        return Mask(np.zeros((0, 0), dtype=bool), 0, 0, size)
    to_frame[:, 2] -= left, top
    # 16 steps a logit: bytes are several times as fast to warp as floats, and only where they cross 0 matters
    steps = np.clip(segmentation * 16 + 128, 0, 255).astype(np.uint8)
    warped = cv2.warpAffine(steps, to_frame, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    inside = Mask.from_full(warped > 128)
    return Mask(inside.pixels, left + inside.left, top + inside.top, size)
