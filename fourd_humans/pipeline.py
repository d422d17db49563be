"""The chain: video → detection → recovery → appearance → tracking.

This module alone knows the order of the stages. It reads ahead, forms batches, runs detection, recovery and appearance
each in a thread of its own (they release Python's lock), tracks frame by frame, and yields each frame as soon as it is
final. Memory is bounded by the batches in flight, whatever the length of the video.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from fourd_humans import stages
from fourd_humans.config import Config, default_config
from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Bodies, Detections, Frame, Rejected, TrackedFrame
from fourd_humans.tracking.buffer import FixedLagBuffer, empty_frame
from fourd_humans.tracking.observation import usable_bodies
from fourd_humans.tracking.tracker import Tracker
from fourd_humans.video import BadFrame, Source, open_source, read_ahead

log = logging.getLogger(__name__)

# What the frames of one batch may take together, so that 8K video needs no more memory than small video.
BATCH_BYTES = 64 * 2**20
# So many frames in a row that the stages fail on are no damage to the video but a fault of ours or of the settings.
MOST_FAILURES = 10


@dataclass(frozen=True)
class _Item:
    """A frame on its way: what the stages have found so far, or the error that ended its way."""

    frame: Frame
    is_cut: bool = False
    detections: Detections | None = None
    bodies: Bodies | None = None
    error: str | None = None
    failure: Exception | None = None  # where it was a stage that failed, not the reading


class Pipeline:
    """The stages of a configuration, loaded once; `run` sends one source after another through them.

    >>> pipeline = Pipeline()
    >>> for frame in pipeline.run("video.mp4"):
    ...     print(frame.index, frame.ids, frame.bodies.joints_3d.shape)

    detector, recovery, appearance: stages of your own, instead of those that the configuration asks for.
    seconds: working time of each stage in the current or the last run. Stages work at the same time, so the sum can
        exceed the time that has passed.
    Raises: FourDHumansError where model files are missing or wrong, saying which and how to get them.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        detector: stages.Detector | None = None,
        recovery: stages.Recovery | None = None,
        appearance: stages.Appearance | None = None,
    ) -> None:
        self.config = config or default_config()
        stages.require_models(self.config)
        device = stages.choose_device(self.config)
        self.body_model = stages.make_body_model(self.config, device)
        self.detect = detector or stages.make_detector(self.config, device)
        self.recover = recovery or stages.make_recovery(self.config, self.body_model, device)
        self.appearance = appearance or stages.make_appearance(self.config, self.body_model)
        self.texture_distance = stages.make_texture_distance(self.config, self.body_model, device)
        self.motion = stages.make_motion_network(self.config, device)
        self.complete = stages.make_completion(self.config, self.body_model, self.motion)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, source: Source | Path | str, stop: Callable[[], bool] = lambda: False) -> Iterator[TrackedFrame]:
        """Every frame of the source, in order, each as soon as it is final (see `tracking.buffer`).

        stop: called before each frame is read; once it returns True, frames in progress are finished and the run ends.
        A frame that cannot be read or processed has its `error` set and no people. Where the run itself fails, the
        frames done so far come first, and then the exception.
        The calling thread's number of PyTorch threads is its own between frames. `lite` keeps NumPy's and OpenCV's
        libraries, whose setting is one for all threads, to one thread until the run ends.
        """
        source = open_source(source) if isinstance(source, str | Path) else source
        self.seconds = defaultdict(float)
        lite = self.config.model == "lite"
        with closing(self._run(source, stop)) as frames, one_thread_in_libraries() if lite else nullcontext():
            while True:
                with one_thread_in_torch() if lite else nullcontext():
                    frame = next(frames, None)
                if frame is None:
                    return
                yield frame

    def _run(self, source: Source, stop: Callable[[], bool]) -> Generator[TrackedFrame]:
        batches = read_ahead(_batches(self._read(source, stop), self._batch_size(source.size)), 2)
        detected = read_ahead(map(self._detect, batches), 2)
        recovered = read_ahead(map(self._recover, detected), 1)
        textured = read_ahead(map(self._texture, recovered), 1)
        tracker = stages.make_tracker(
            self.config, self.body_model, self.texture_distance, self.motion, source.frame_count
        )
        buffer = FixedLagBuffer(tracker.min_hits, self.complete)
        try:
            for item in _without_systematic_failure(item for batch in textured for item in batch):
                yield from self._track(item, tracker, buffer)
        except Exception:
            yield from buffer.finish()
            raise
        finally:
            for stage in (textured, recovered, detected, batches):  # each runs inside the thread of the one before it
                stage.close()
        yield from buffer.finish()

    def _batch_size(self, size: tuple[int, int]) -> int:
        return max(1, min(self.config.detection.batch_size, BATCH_BYTES // max(1, 3 * size[0] * size[1])))

    def _read(self, source: Source, stop: Callable[[], bool]) -> Iterator[_Item]:
        is_cut = stages.make_cut_detector(self.config)
        frames = iter(source)
        while not stop():
            with self._timed("reading"):
                frame = next(frames, None)
            if frame is None:
                return
            if isinstance(frame, BadFrame):
                log.warning("frame %d cannot be read and is skipped: %s", frame.index, frame.reason)
                nothing = np.zeros((*source.size, 0), np.uint8)
                yield _Item(Frame(frame.index, frame.time, frame.name, nothing), error=frame.reason)
            else:
                with self._timed("reading"):
                    new_shot = is_cut(frame.image)
                yield _Item(frame, new_shot)

    def _detect(self, items: list[_Item]) -> list[_Item]:
        def work(items: Sequence[_Item]) -> list[_Item]:
            found = self.detect([item.frame for item in items])
            return [replace(item, detections=detections) for item, detections in zip(items, found, strict=True)]

        with self._timed("detection"):
            return _work_on_good(work, items)

    def _recover(self, items: list[_Item]) -> list[_Item]:
        def work(items: Sequence[_Item]) -> list[_Item]:
            frames = [item.frame for item in items]
            recovered = self.recover(frames, [item.detections or Detections.empty() for item in items])
            pairs = zip(items, recovered, strict=True)
            return [replace(item, **_usable(kept, bodies, item.frame.size)) for item, (kept, bodies) in pairs]

        with self._timed("recovery"):
            return _work_on_good(work, items)

    def _texture(self, items: list[_Item]) -> list[_Item]:
        def work(items: Sequence[_Item]) -> list[_Item]:
            found = [(item.frame, item.detections, item.bodies) for item in items if item.detections and item.bodies]
            textured = iter(self.appearance(*map(list, zip(*found, strict=True)))) if found else iter(())
            return [replace(i, bodies=next(textured)) if i.detections and i.bodies else i for i in items]

        with self._timed("appearance"):
            return _work_on_good(work, items)

    def _track(self, item: _Item, tracker: Tracker, buffer: FixedLagBuffer) -> list[TrackedFrame]:
        frame = empty_frame(item.frame, self.body_model.shape_space, is_cut=item.is_cut, error=item.error)
        with self._timed("tracking"):
            if item.detections is None or item.bodies is None:
                return buffer.add(frame, [])
            frame = replace(
                frame,
                detected=len(item.detections),
                detections=replace(frame.detections, rejected=item.detections.rejected),
            )
            records = tracker.update(frame.index, frame.size, item.detections, item.bodies, item.is_cut)
            if not self.config.results.textures:  # a megabyte each, which nothing later needs
                records = [replace(record, body=replace(record.body, texture=None)) for record in records]
        with self._timed("completion"):
            return buffer.add(frame, records)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


# Why `lite` takes one thread for every matrix product: its stages have a thread each and work on small arrays. More
# threads inside them only wait for one another, which takes three times the processor time on two cores.
@contextmanager
def one_thread_in_libraries() -> Iterator[None]:
    """One thread in OpenCV and in the linear algebra of NumPy and SciPy, for the whole process."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


@contextmanager
def one_thread_in_torch() -> Iterator[None]:
    """One thread for PyTorch in the calling thread and, for good, in threads that first use it meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable(detections: Detections, bodies: Bodies, size: tuple[int, int]) -> dict[str, Any]:
    """The fields of an item: people whose bodies the tracker can use; the others are rejected.

    `Detections.between` is left out: it refers to other frames of the batch.
    """
    usable = usable_bodies(detections, bodies, size)
    if usable.all():
        return {"detections": replace(detections, between=None), "bodies": bodies}
    reason = "body not finite or behind the camera"
    rejected = [
        Rejected(tuple(detections.boxes[i].tolist()), float(detections.scores[i]), reason)
        for i in np.flatnonzero(~usable)
    ]
    kept = replace(detections[usable], rejected=[*detections.rejected, *rejected], between=None)
    return {"detections": kept, "bodies": bodies[usable]}


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _work_on_good(work: Callable[[Sequence[_Item]], list[_Item]], items: list[_Item]) -> list[_Item]:
    """`work` on the items without an error, the others passed on; where it fails, frame by frame, so that one bad frame
    costs only itself. The error stays on record in the frame. Errors that concern the whole run are raised.
    """
    good = [item for item in items if item.error is None]
    try:
        done = iter(work(good) if good else [])
        return [next(done) if item.error is None else item for item in items]
    except (FourDHumansError, MemoryError):
        raise
    except Exception as failure:
        if len(good) > 1:
            return [result for item in items for result in _work_on_good(work, [item])]
        log.warning("frame %d is skipped: %s: %s", good[0].frame.index, type(failure).__name__, failure)
        error = f"{type(failure).__name__}: {failure}"
        return [replace(i, detections=None, error=error, failure=failure) if i is good[0] else i for i in items]


def _without_systematic_failure(items: Iterable[_Item]) -> Iterator[_Item]:
    """The items as they come. Raises the stages' own exception once it is clear that it is not the frames' fault."""
    in_a_row, any_good, item = 0, False, None
    for item in items:
        in_a_row = in_a_row + 1 if item.failure else 0
        any_good = any_good or item.error is None
        if item.failure and in_a_row >= MOST_FAILURES:
            raise item.failure
        yield item
    if item is not None and item.failure and not any_good:
        raise item.failure
