"""What reading, writing, looking for cuts and storing results cost, per frame, on a video of your own or the demo.

    python benchmarks/video.py [VIDEO] [--frames N] [--people P]

Times are wall clock, each step alone, in milliseconds a frame; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fourd_humans.people import Bodies, Detections, Frame, Mask, TrackedFrame
from fourd_humans.results import ResultWriter, load_tracklets
from fourd_humans.video import VideoWriter, open_source
from fourd_humans.video.cuts import CutDetector


def people_in(frame: Frame, count: int) -> TrackedFrame:
    """A tracked frame with random bodies, each with a mask of a person's size."""
    rng = np.random.default_rng(frame.index)
    height, width = frame.size

    def numbers(*shape: int) -> np.ndarray:
        return rng.normal(size=(count, *shape)).astype(np.float32)

    left, top, w, h = width // 3, height // 4, width // 6, height // 2
    rows, columns = np.ogrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    mask = Mask(rows**2 + columns**2 < 1, left, top, frame.size)
    boxes = np.tile(np.array([left, top, left + w, top + h], np.float32), (count, 1))
    bodies = Bodies(
        numbers(1, 3, 3), numbers(23, 3, 3), numbers(10), numbers(3) + np.array([0, 0, 30], np.float32), numbers(45, 3),
        numbers(45, 2) * 50 + 500, 5000.0, (width / 2, height / 2), "open_body",
    )  # fmt: skip
    detections = Detections(boxes, np.ones(count, np.float32), [mask] * count, numbers(17, 3))
    ids = np.arange(1, count + 1)
    return TrackedFrame(frame.index, frame.time, frame.name, frame.size, ids, ids * 0, detections, bodies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", default=Path(__file__).parents[1] / "demo_videos" / "two_people.mp4")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--people", type=int, default=3)
    arguments = parser.parse_args()
    source = open_source(arguments.video, end=arguments.frames)
    frames = [frame for frame in source if isinstance(frame, Frame)]
    tracked = [people_in(frame, arguments.people) for frame in frames]

    def measure(what: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        print(f"{what:24}{(time.perf_counter() - start) * 1000 / len(frames):8.2f} ms")

    print(
        f"{source.path}: {len(frames)} frames of {source.size[1]}x{source.size[0]}, {arguments.people} people in each"
    )
    with tempfile.TemporaryDirectory() as folder:
        results, video = Path(folder) / "results.pkl", Path(folder) / "video.mp4"

        def write_video() -> None:
            with VideoWriter(video, source.frame_rate, source.size) as writer:
                for frame in frames:
                    writer.write(frame.image, frame.time)

        def write_results() -> None:
            with ResultWriter(results) as writer:
                for frame in tracked:
                    writer.write(frame)

        detector = CutDetector()
        measure("reading", lambda: sum(1 for _ in source))
        measure("looking for cuts", lambda: [detector.update(frame.image) for frame in frames])
        measure("writing a video", write_video)
        measure("writing results", write_results)
        measure("loading results", lambda: load_tracklets(results))
        print(f"{'results':24}{results.stat().st_size / len(frames) / 1000:8.2f} kB a frame")
    print(f"{'peak memory':24}{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:8.0f} MB")


if __name__ == "__main__":
    main()
