"""One video on several workers: ranges of frames anywhere, the tracker in one place and in order.

Detection, recovery and appearance know nothing of time, so the people of any range of frames can be found anywhere. The
results are those of one process: ranges are whole batches, and a range's first frame is compared with the one before it
to find cuts.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourd_humans import stages
from fourd_humans.batch.scheduling import MAX_DEATHS
from fourd_humans.batch.work import MakePipeline, loaded
from fourd_humans.batch.workers import Worker
from fourd_humans.config import Config, merge
from fourd_humans.errors import FourDHumansError
from fourd_humans.people import TEXTURE_SIZE, Frame
from fourd_humans.pipeline import (
    ObservedFrame,
    Pipeline,
    Position,
    frames_after,
    one_thread_in_libraries,
    one_thread_in_torch,
)
from fourd_humans.video.frames import BadFrame, Source
from fourd_humans.video.frames import Position as Place
from fourd_humans.video.source import open_source

BATCHES = 8  # of a range
AHEAD = 2  # ranges that each worker has in hand, so that it need not wait for the next
MOST_SKIPPED = 512  # frames that a worker decodes without using them, rather than look for a key frame again


@dataclass(frozen=True)
class Part:
    """A source as a worker can open it."""

    path: Path
    start: Place | None
    end: Place | None


@dataclass(frozen=True)
class Observed:
    """The people found in a range of frames. ended: the source ends in it. seconds: working time of each stage."""

    frames: list[PackedFrame]
    ended: bool
    seconds: dict[str, float]


@dataclass(frozen=True)
class PackedFrame:
    """A frame on its way from one process to another: its textures without the texels that nobody has seen.

    seen: bits of (N, 256·256). colours: (K, 3) of the seen ones, one person after the other.
    """

    observed: ObservedFrame
    seen: NDArray[np.uint8] | None = None
    colours: NDArray[np.float32] | None = None


class SplitObserver:
    """Takes the place of `Pipeline.observe` where workers do its work, see `run.track`.

    workers: each has a range in hand and another waiting. They are closed with the run.
    part: the source, which every worker must be able to open.
    """

    def __init__(
        self, workers: Sequence[Worker], part: Part, config: Config, make_pipeline: MakePipeline = Pipeline
    ) -> None:
        self._workers, self._part, self._config, self._make_pipeline = workers, part, config, make_pipeline
        self._in_hand: Counter[str] = Counter()

    def __call__(
        self, pipeline: Pipeline, source: Source, stop: Callable[[], bool] = lambda: False, *, after: Position | None
    ) -> Generator[ObservedFrame]:
        """The frames after a position, in order. Raises: FourDHumansError where workers keep dying at one range."""
        length = BATCHES * pipeline.batch_size(source.size)
        first = after.index + 1 if after else next((frame.index for frame in source), 0)
        time = after.time if after else -math.inf
        ranges = deque[_Range]()
        try:
            while True:
                while len(ranges) < AHEAD * len(self._workers) and not stop():
                    begin = ranges[-1].until if ranges else first
                    ranges.append(_Range(begin, begin + length))
                    self._submit(ranges[-1])
                if not ranges:
                    return
                found = self._result(ranges)
                for name, seconds in found.seconds.items():
                    pipeline.seconds[name] += seconds
                for packed in found.frames:
                    frame = packed.observed.frame
                    if frame.time <= time:
                        raise FourDHumansError(
                            f"{source.path} cannot be split: the number of a frame in it is not known without decoding "
                            "all before; use one process"
                        )
                    time = frame.time
                    yield unpack(packed)
                if found.ended:
                    return
                first = ranges.popleft().until
        finally:
            for worker in self._workers:
                worker.close()

    def _submit(self, part: _Range) -> None:
        """Give a range to the worker that has the fewest in hand."""
        usable = [worker for worker in self._workers if worker.available()] or self._workers
        part.worker = min(usable, key=lambda worker: self._in_hand[worker.name])
        self._in_hand[part.worker.name] += 1
        config = self._config if part.worker.device is None else merge(self._config, {"device": part.worker.device})
        part.future = part.worker.submit(observe_range, self._part, part.first, part.until, config, self._make_pipeline)

    def _result(self, ranges: deque[_Range]) -> Observed:
        """That of the first range; whatever worker dies meanwhile, its ranges are given out again."""
        while True:
            head = ranges[0]
            assert head.future is not None
            for part in ranges:
                assert part.future is not None
                assert part.worker is not None
                if not part.future.done():
                    continue
                error = part.future.exception()
                how = part.worker.died(error) if error else None
                if how is None:
                    continue
                part.deaths += 1
                if part.deaths >= MAX_DEATHS:
                    raise FourDHumansError(f"frames {part.first} to {part.until - 1}: {how}, {part.deaths} times")
                self._replace(part.worker, ranges)
                break
            else:
                if head.future.done():
                    self._in_hand[head.worker.name if head.worker else ""] -= 1
                    return head.future.result()
                wait([part.future for part in ranges if part.future and not part.future.done()], 1.0, FIRST_COMPLETED)

    def _replace(self, worker: Worker, ranges: deque[_Range]) -> None:
        lost = [
            part
            for part in ranges
            if part.worker is worker and part.future and (not part.future.done() or part.future.exception())
        ]
        worker.restart()
        self._in_hand[worker.name] -= len(lost)
        for part in lost:
            self._submit(part)


@dataclass
class _Range:
    """Frames `first` to `until` (not included), and who has them in hand."""

    first: int
    until: int
    worker: Worker | None = None
    future: Future[Observed] | None = None
    deaths: int = 0


def observe_range(
    part: Part, first: int, until: int, config: Config, make_pipeline: MakePipeline = Pipeline
) -> Observed:
    """In a worker: find the people in a range of frames. Models and the open source are kept for the next range."""
    pipeline = loaded(make_pipeline, config)
    reader = _reader(part, config)
    before = dict(pipeline.seconds)
    lite = config.model == "lite"
    with one_thread_in_libraries() if lite else nullcontext(), one_thread_in_torch() if lite else nullcontext():
        frames = pipeline.observe_frames(reader.frames(first, until), reader.source.size, reader.is_cut)
        packed = [pack(frame) for frame in frames]
    seconds = {name: value - before.get(name, 0.0) for name, value in dict(pipeline.seconds).items()}
    ended = not packed or packed[-1].observed.frame.index + 1 < until
    return Observed(packed, ended, seconds)


class _Reader:
    """Reads one range of a source after the other, each from where the last one ended if that is not far."""

    def __init__(self, part: Part, config: Config) -> None:
        self.source = open_source(part.path, part.start, part.end, hwaccel=config.video.hwaccel)
        self._config = config
        self._next: int | None = None
        self._frames: Iterator[Frame | BadFrame] = iter(())
        self._is_cut: Callable[[NDArray[np.uint8]], bool] = lambda image: False

    def is_cut(self, image: NDArray[np.uint8]) -> bool:
        return self._is_cut(image)

    def frames(self, first: int, until: int) -> Iterator[Frame | BadFrame]:
        if self._next is None or not self._next <= first <= self._next + MOST_SKIPPED:
            self._is_cut = stages.make_cut_detector(self._config, self.source.size)
            self._frames = frames_after(self.source, Position(first - 1, -math.inf, 0), self._is_cut)
        for frame in self._frames:
            self._next = frame.index + 1
            if frame.index >= first:
                yield frame
            elif isinstance(frame, Frame):
                self._is_cut(frame.image)
            if frame.index + 1 >= until:
                return


@lru_cache(maxsize=1)
def _reader(part: Part, config: Config) -> _Reader:
    return _Reader(part, config)


def pack(observed: ObservedFrame) -> PackedFrame:
    """For another process. A stage's exception, which may be tied to this process, goes as its text."""
    if observed.failure is not None:
        observed = replace(observed, failure=RuntimeError(observed.error))
    bodies = observed.bodies
    if bodies is None or bodies.texture is None or not len(bodies):
        return PackedFrame(observed)
    texture = bodies.texture.reshape(len(bodies), 4, -1)
    seen = texture[:, 3] == 1
    if (texture[:, 3][~seen] != -1).any() or texture[:, :3].transpose(0, 2, 1)[~seen].any():
        return PackedFrame(observed)  # of another appearance stage
    colours = texture[:, :3].transpose(0, 2, 1)[seen]
    return PackedFrame(replace(observed, bodies=replace(bodies, texture=None)), np.packbits(seen), colours)


def unpack(packed: PackedFrame) -> ObservedFrame:
    """What was packed, number by number."""
    observed, bodies = packed.observed, packed.observed.bodies
    if packed.seen is None or packed.colours is None or bodies is None:
        return observed
    count = len(bodies)
    seen = np.unpackbits(packed.seen, count=count * TEXTURE_SIZE**2).astype(bool).reshape(count, -1)
    texels = np.zeros((count, TEXTURE_SIZE**2, 4), np.float32)
    texels[..., 3] = np.where(seen, 1, -1)
    texels[..., :3][seen] = packed.colours
    texture = np.ascontiguousarray(texels.transpose(0, 2, 1)).reshape(count, 4, TEXTURE_SIZE, TEXTURE_SIZE)
    return replace(observed, bodies=replace(bodies, texture=texture))
