#!/usr/bin/env python3
"""What predicting and completing poses costs on this machine's CPU.

    python benchmarks/motion.py [--people 10] [--threads 2]

Prints the time a frame of the tracker's pose prediction for so many people, held and with the built-in transformer, and
of filling in a gap of 25 frames with 32 seen on either side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from fourd_humans.motion.checkpoint import load_pose_transformer
from fourd_humans.motion.completion import fill_in
from fourd_humans.motion.hold import hold_pose
from fourd_humans.motion.predictor import PosePredictor
from fourd_humans.motion.synthetic import synthesise

HISTORY = 7
REPEATS = 100


def measure(name: str, work: Callable[[], object], repeats: int = REPEATS) -> None:
    """Print the median time of one call, and its processor time, which the load of others changes less."""
    work()
    passed, worked = [], []
    for _ in range(repeats):
        start, start_work = time.perf_counter(), time.process_time()
        work()
        passed.append(time.perf_counter() - start)
        worked.append(time.process_time() - start_work)
    print(f"  {name:30}{1000 * np.median(passed):10.2f}{1000 * np.median(worked):10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    count = arguments.people
    network = load_pose_transformer()
    predict = PosePredictor(network)
    motion = synthesise(count, 96, seed=0).poses
    histories = motion[:, :HISTORY]
    same = np.tile(np.arange(HISTORY), (count, 1)), np.ones(count, int)
    rng = np.random.default_rng(0)
    mixed = np.cumsum(rng.integers(1, 4, (count, HISTORY)), 1), rng.integers(1, 50, count)
    known = np.ones(89, bool)
    known[32:57] = False
    print(f"{count} people, {arguments.threads} threads; milliseconds a frame that passed, and of processor time")
    measure("hold the last pose", lambda: hold_pose(histories, *same))
    measure("transformer, all seen", lambda: predict(histories, *same))
    measure("transformer, seen differently", lambda: predict(histories, *mixed))
    measure("filling one gap of 25 frames", lambda: fill_in(network, motion[:1, :89], known), 20)


if __name__ == "__main__":
    main()
