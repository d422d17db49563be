"""What the stages of `lite` cost, part by part.

    python benchmarks/lite.py [--frames N] [--batch N] VIDEO

Runs detection and recovery on the video's first frames, on one thread, and prints CPU milliseconds per frame of each
stage and of its larger parts. CPU time, so that other work on the machine does not show.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch

from fourd_humans.config import Config
from fourd_humans.detection import movenet
from fourd_humans.people import Frame
from fourd_humans.recovery.landmarks import fitting, measurements, network, regions
from fourd_humans.recovery.landmarks.recovery import LandmarkRecovery
from fourd_humans.stages import make_body_model, make_detector, make_recovery
from fourd_humans.video import open_source

PARTS: dict[str, Callable] = {
    "detection": movenet.MoveNetDetector.__call__,
    "  scaling frames": movenet.prepare,
    "  decoding": movenet.decode,
    "  choosing": movenet.MoveNetDetector._choose,
    "recovery": LandmarkRecovery.__call__,
    "  crops": regions.crop,
    "  hiding other people": regions.hide_others,
    "  landmark network": network.LandmarkNetwork.__call__,
    "  choosing readings": measurements.nearest,
    "  measurements": measurements.measure,
    "  initial pose": fitting.initial_rotations,
    "  fit": fitting.fit,
    "  masks": regions.mask_in_frame,
    "  bodies": LandmarkRecovery._bodies,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--batch", type=int, default=Config().detection.batch_size)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, device = Config(), torch.device("cpu")
    body_model = make_body_model(config, device)
    detect, recover = make_detector(config, device), make_recovery(config, body_model, device)
    frames = list(islice((f for f in open_source(arguments.video) if isinstance(f, Frame)), arguments.frames))
    recover(frames[:1], detect(frames[:1]))  # compiles what is compiled
    profile = cProfile.Profile(time.process_time)
    people = 0
    for first in range(0, len(frames), arguments.batch):
        batch = frames[first : first + arguments.batch]
        found = profile.runcall(detect, batch)
        people += sum(len(bodies) for _, bodies in profile.runcall(recover, batch, found))
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    print(f"{len(frames)} frames, {people / len(frames):.2f} people a frame; CPU ms a frame on one thread:")
    for name, function in PARTS.items():
        code = function.__code__
        seconds = stats.get((code.co_filename, code.co_firstlineno, code.co_name), (0, 0, 0, 0.0))[3]
        print(f"{name:20} {seconds / len(frames) * 1000:7.1f}")


if __name__ == "__main__":
    main()
