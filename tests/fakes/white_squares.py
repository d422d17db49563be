"""Stages that see white squares, for tests of what goes on around the networks: fast, and the same everywhere."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from fourd_humans.config import Config
from fourd_humans.people import NUM_JOINTS, TEXTURE_SIZE, Bodies, Detections
from fourd_humans.pipeline import Pipeline

SIDE = 20


class WhiteSquares:
    """Finds, recovers and textures them; fails on frames whose corner pixel is red."""

    def __init__(self):
        self.batches = []

    def detect(self, frames):
        self.batches.append(len(frames))
        if any(frame.image[0, 0, 0] == 200 for frame in frames):
            raise RuntimeError("red corner")
        return [self._find(frame.image) for frame in frames]

    def _find(self, image):
        ys, xs = np.nonzero(image[..., 1] == 255)
        if not len(xs):
            return Detections.empty()
        box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
        return Detections(box, np.ones(1, np.float32))

    def recover(self, frames, detections):
        return [(d, self._body(d.boxes, frame.size)) for frame, d in zip(frames, detections, strict=True)]

    def _body(self, boxes, size):
        n = len(boxes)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        eye = np.eye(3, dtype=np.float32)
        camera = np.concatenate([(centers - np.array(size[::-1]) / 2) / 100, np.full((n, 1), 10)], 1).astype(np.float32)
        return Bodies(
            np.tile(eye, (n, 1, 1, 1)), np.tile(eye, (n, 23, 1, 1)), np.zeros((n, 10), np.float32),
            camera, np.zeros((n, NUM_JOINTS, 3), np.float32), np.repeat(centers[:, None], NUM_JOINTS, 1), 1000.0,
            (size[1] / 2, size[0] / 2), "test",
        )  # fmt: skip

    def texture(self, frames, detections, bodies):
        return [replace(b, texture=np.ones((len(b), 4, TEXTURE_SIZE, TEXTURE_SIZE), np.float32)) for b in bodies]


def picture(x, size=(80, 160)):
    image = np.zeros((*size, 3), np.uint8)
    image[30 : 30 + SIDE, x : x + SIDE] = 255
    return image


def write_squares(path: Path, count: int, *, begin: int = 0, seconds: float = 0.0, rate: int = 30) -> Path:
    """A video of one square that moves to the right; key frames every ten.

    seconds: that every batch takes to detect, told to `make_pipeline` by the colour of a corner.
    """
    import av  # here, so that the other fakes do without

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"g": "10", "qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 80, "yuv444p"
        for t in range(count):
            image = picture(begin + t)
            image[60:, :20] = round(seconds * 100)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


class SlowSquares(WhiteSquares):
    """Takes its time where the video says so, and ends the process where it finds the file KILL of the environment."""

    def detect(self, frames):
        time.sleep(float(frames[0].image[70, 10, 0]) / 100)
        order = os.environ.get("KILL")
        if order and Path(order).exists():
            Path(order).unlink()
            os._exit(9)
        return super().detect(frames)


class SquaresPipeline(Pipeline):
    """A `Pipeline` of these stages."""

    def __init__(self, config: Config, observing: bool = True) -> None:
        squares = SlowSquares()
        super().__init__(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)


def make_pipeline(config: Config) -> Pipeline:
    """For workers, in place of `Pipeline`."""
    return SquaresPipeline(config)
