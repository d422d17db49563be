"""Milliseconds per frame of rendering: depth buffers, overlay, supersampled edges, side and top views.

    python benchmarks/rendering.py [--threads 2] [--repeats 15]

Prints the median and the quickest of the repeats, and the processor time, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import rasterise
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.rendering.renderer import Renderer

SIZE = (720, 1280)


def people(count: int, body_model: BodyModel) -> TrackedFrame:
    """`count` people next to one another, each about 400 pixels high."""
    orient = np.tile(np.diag([1.0, -1, -1]).astype(np.float32), (count, 1, 1, 1))
    pose = np.tile(np.eye(3, dtype=np.float32), (count, 23, 1, 1))
    camera = np.array([[0.75 * (k - (count - 1) / 2), 0, 4.2 + 0.3 * (k % 2)] for k in range(count)], np.float32)
    bodies = Bodies.empty(body_model.shape_space, 1000.0, (SIZE[1] / 2, SIZE[0] / 2))
    bodies.global_orient, bodies.body_pose, bodies.camera = orient, pose, camera
    bodies.betas = np.zeros((count, 10), np.float32)
    detections = Detections(np.zeros((count, 4), np.float32), np.ones(count, np.float32))
    return TrackedFrame(0, 0, "0", SIZE, np.arange(1, count + 1), np.zeros(count, np.int64), detections, bodies)


def measure(name: str, work: Callable[[], object], repeats: int) -> None:
    work()
    times, began = [], time.process_time()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - start))
    processor = 1000 * (time.process_time() - began) / repeats
    print(f"{name:<48} median {statistics.median(times):6.1f}  best {min(times):6.1f}  processor {processor:6.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    body_model = BodyModel.open_body()
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    for count in (1, 5):
        frame = people(count, body_model)
        with torch.inference_mode():
            parameters = (frame.bodies.global_orient, frame.bodies.body_pose, frame.bodies.betas)
            vertices = body_model(*map(torch.from_numpy, parameters)).vertices.numpy() + frame.bodies.camera[:, None]
        intrinsics = Intrinsics(frame.bodies.focal_length, frame.bodies.principal_point)
        title = f"{count} {'person' if count == 1 else 'people'}"
        fill = partial(rasterise, vertices, body_model.faces, intrinsics, SIZE)
        measure(f"{title}: buffers, one thread", fill, options.repeats)
        for samples in (1, 2):
            for views in (("overlay",), ("overlay", "side", "top")):
                renderer = Renderer(body_model, views, samples, threads=options.threads)
                label = f"{title}: {'+'.join(views)}, {samples}x{samples} samples"
                measure(label, partial(renderer.draw, image, frame), options.repeats)


if __name__ == "__main__":
    main()
