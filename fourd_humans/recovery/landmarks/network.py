"""BlazePose GHUM: 33 landmarks of a person, in the image and in metres, and a mask (Google, Apache-2.0)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from fourd_humans.checkpoints.onnx import load_session
from fourd_humans.people import Float
from fourd_humans.recovery.landmarks.regions import INPUT_SIZE, Regions

WEIGHTS = Path(__file__).parent / "data" / "blazepose_landmark_full.onnx"
NUM_LANDMARKS = 33  # of the network's 39; the others define the next crop in the published pipeline
OUTPUTS = ("landmarks", "presence", "segmentation", "world_landmarks")
# Landmark -> the one on the other side of the body.
MIRRORED = np.array([0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 if i % 2 else i - 1 for i in range(11, 33))])


@dataclass(frozen=True)
class Landmarks:
    """The network's output for N people.

    pixels: (N, 33, 2) in the frame. visibility: (N, 33) in 0..1. landmarks_3d: (N, 33, 3) metres from between the hips,
    x right, y down, z away from the camera. presence: (N,) in 0..1, whether there is a person.
    segmentation: (N, 256, 256) logits of the person's mask, in the crops.
    """

    pixels: Float
    visibility: Float
    landmarks_3d: Float
    presence: Float
    segmentation: Float

    def mirrored(self) -> Landmarks:
        """The same picture read as the other side of the body: left and right exchanged, near and far exchanged."""
        return Landmarks(
            self.pixels[:, MIRRORED],
            self.visibility[:, MIRRORED],
            self.landmarks_3d[:, MIRRORED] * np.array([1, 1, -1], np.float32),
            self.presence,
            self.segmentation,
        )

    def where(self, chosen: NDArray[np.bool_], other: Landmarks) -> Landmarks:
        """These landmarks where `chosen` (N,), the other ones elsewhere."""

        def choose(own: Float, others: Float) -> Float:
            return np.where(chosen.reshape(-1, *[1] * (own.ndim - 1)), own, others)

        return Landmarks(
            choose(self.pixels, other.pixels),
            choose(self.visibility, other.visibility),
            choose(self.landmarks_3d, other.landmarks_3d),
            choose(self.presence, other.presence),
            choose(self.segmentation, other.segmentation),
        )


class LandmarkNetwork:
    """device, threads: see `load_session`."""

    def __init__(self, device: str = "cpu", threads: int = 0, weights: Path = WEIGHTS) -> None:
        self.session = load_session(weights, device, threads)

    def __call__(self, crops: Float, regions: Regions) -> Landmarks:
        """crops: (N, 256, 256, 3) of the frames at `regions`, see `regions.crop`."""
        landmarks, presence, segmentation, world = self.session.run(list(OUTPUTS), {"image": crops})
        landmarks = landmarks.reshape(len(crops), -1, 5)[:, :NUM_LANDMARKS]
        to_frame = regions.to_frame()
        pixels = np.einsum("nij,nkj->nki", to_frame[:, :, :2], landmarks[..., :2]) + to_frame[:, None, :, 2]
        rotation = to_frame[:, :, :2] * (INPUT_SIZE / regions.side)[:, None, None]
        world = world.reshape(len(crops), -1, 3)[:, :NUM_LANDMARKS]
        world = np.concatenate([np.einsum("nij,nkj->nki", rotation, world[..., :2]), world[..., 2:]], -1)
        return Landmarks(
            pixels.astype(np.float32),
            (expit(landmarks[..., 3]) * expit(landmarks[..., 4])).astype(np.float32),
            world.astype(np.float32),
            presence.reshape(-1),
            segmentation[..., 0],
        )
