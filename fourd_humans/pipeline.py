"""The chain: video → detection → recovery → appearance → tracking.

This module alone knows the order of the stages. It reads ahead, forms batches, runs detection, recovery and appearance
each in a thread of its own (they release Python's lock), tracks frame by frame, and yields each frame as soon as it is
final. Memory is bounded by the batches in flight, whatever the length of the video.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fourd_humans import stages
from fourd_humans.config import Config, default_config
from fourd_humans.devices import is_out_of_memory, upload_images
from fourd_humans.errors import FourDHumansError
from fourd_humans.motion.refinement_buffer import REFINEMENT_CLASSES, RefinementBuffer
from fourd_humans.people import Bodies, Detections, Frame, Rejected, TrackedFrame
from fourd_humans.tracking.buffer import BUFFER_CLASSES, FixedLagBuffer, empty_frame
from fourd_humans.tracking.observation import usable_bodies
from fourd_humans.tracking.tracker import TRACK_CLASSES, Tracker
from fourd_humans.video import BadFrame, Source, open_source, read_ahead
from fourd_humans.video.camera_motion import KEYFRAME_INTERVAL, Background, CameraMotion, background
from fourd_humans.weights import require_models

log = logging.getLogger(__name__)

# Limit for the frames of one batch together, so that 8K video needs no more memory than small video.
BATCH_BYTES = 64 * 2**20
# Batches whose people are recovered together at most.
MOST_POOLED = 8
CPU = torch.device("cpu")
# If the stages fail on this many consecutive frames, the cause is not a damaged video but the settings or the code.
MOST_FAILURES = 10
# Frames before a place to go on from that are read again, to know whether a new shot begins there.
FRAMES_BEFORE = 8


@dataclass(frozen=True)
class ObservedFrame:
    """A frame in progress: the results of the stages so far, or the error that ended it.

    frame: without its image, (H, W, 0), once the stages are done with it. failure: the exception of the stage that
    failed, None where reading failed.
    """

    frame: Frame
    is_cut: bool = False
    detections: Detections | None = None
    bodies: Bodies | None = None
    background: Background | None = None  # of keyframes
    error: str | None = None
    failure: Exception | None = None

    def without_picture(self) -> ObservedFrame:
        """All that tracking needs."""
        return replace(self, frame=replace(self.frame, image=np.zeros((*self.frame.size, 0), np.uint8), pixels=None))


Work = Callable[[Sequence[ObservedFrame]], list[ObservedFrame]]


@dataclass(frozen=True)
class Position:
    """How far a source has been tracked: number and time of the last frame, and how many frames in all."""

    index: int
    time: float
    count: int


class Tracking:
    """The part of the chain that goes frame by frame: the tracker, the fixed-lag buffer behind it, camera motion and,
    last, the buffer in which tracks are refined.

    position: of the last frame taken, or None before the first.
    """

    def __init__(
        self,
        tracker: Tracker,
        buffer: FixedLagBuffer,
        shape_space: str,
        *,
        refinement: RefinementBuffer | None = None,
        textures: bool = False,
    ) -> None:
        self.tracker, self.buffer, self.refinement = tracker, buffer, refinement
        self.camera = CameraMotion()
        self.position: Position | None = None
        self._shape_space, self._textures = shape_space, textures

    def update(self, observed: ObservedFrame) -> list[TrackedFrame]:
        """Take the next frame; return those that are final now."""
        given, found, bodies = observed.frame, observed.detections, observed.bodies
        self.position = Position(given.index, given.time, self.position.count + 1 if self.position else 1)
        frame = empty_frame(given, self._shape_space, is_cut=observed.is_cut, error=observed.error)
        frame.camera_homography = self.camera.update(observed.background, observed.is_cut)
        if found is None or bodies is None:
            return self._refined(self.buffer.add(frame, []))
        found, bodies = self.tracker.resolve_duplicates(frame.index, frame.size, found, bodies, observed.is_cut)
        detections = replace(frame.detections, rejected=found.rejected)
        records = self.tracker.update(frame.index, frame.size, found, bodies, observed.is_cut)
        if not self._textures:  # a megabyte each, which nothing later needs
            records = [replace(record, body=replace(record.body, texture=None)) for record in records]
        return self._refined(self.buffer.add(replace(frame, detected=len(found), detections=detections), records))

    def finish(self) -> list[TrackedFrame]:
        """The end of the video: all frames that are left."""
        refined = self._refined(self.buffer.finish())
        return refined if self.refinement is None else [*refined, *self.refinement.finish()]

    def _refined(self, frames: list[TrackedFrame]) -> list[TrackedFrame]:
        if self.refinement is None:
            return frames
        return [refined for frame in frames for refined in self.refinement.add(frame)]

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here in another process; of the classes in `STATE_CLASSES`."""
        return {
            "position": self.position,
            "tracker": self.tracker.state(),
            "buffer": self.buffer.state(),
            "refinement": None if self.refinement is None else self.refinement.state(),
            "camera": self.camera.last,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another `Tracking` with the same settings was."""
        self.position = state["position"]
        self.tracker.restore(state["tracker"])
        self.buffer.restore(state["buffer"])
        if self.refinement is not None:
            self.refinement.restore(state["refinement"])
        self.camera.last = state["camera"]


STATE_CLASSES = (Position, Background, *TRACK_CLASSES, *BUFFER_CLASSES, *REFINEMENT_CLASSES)
"""What the state of `Tracking` consists of, for `files.state`."""


class Pipeline:
    """The stages of a configuration, loaded once; `run` sends one source after another through them.

    >>> pipeline = Pipeline()
    >>> for frame in pipeline.run("video.mp4"):
    ...     print(frame.index, frame.ids, frame.bodies.joints_3d.shape)

    detector, recovery, appearance: stages of your own, instead of those that the configuration asks for.
    observing: False for a pipeline that only tracks the people that others find; those stages are then not loaded.
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
        observing: bool = True,
    ) -> None:
        self.config = config or default_config()
        require_models(self.config)
        device = stages.choose_device(self.config)
        # Tracking works on a few small arrays at a time, for which a GPU takes longer than the CPU.
        self.body_model = stages.make_body_model(self.config, CPU)
        if observing:
            self.detect = detector or stages.make_detector(self.config, device)
            self.recover = recovery or stages.make_recovery(self.config, self.body_model, device)
            self.appearance = appearance or stages.make_appearance(self.config, self.body_model, device)
            self.share_on = device if stages.shares_frames(self.config, device) else None
        self.texture_distance = stages.make_texture_distance(self.config, self.body_model, device)
        self.motion = stages.make_motion_network(self.config, CPU)
        self.complete = stages.make_completion(self.config, self.body_model, self.motion)
        self.refine = stages.make_refinement(self.config, self.body_model)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def run(
        self,
        source: Source | Path | str,
        stop: Callable[[], bool] = lambda: False,
        *,
        tracking: Tracking | None = None,
        observed: Generator[ObservedFrame] | None = None,
        on_tracked: Callable[[], None] = lambda: None,
    ) -> Iterator[TrackedFrame]:
        """Every frame of the source, in order, each as soon as it is final (see `tracking.buffer`).

        stop: called before each frame is read; once it returns True, frames in progress are finished and the run ends.
        tracking: that of an earlier run to go on with, from `tracking`; by default a new one.
        observed: the frames with the people found in them, from where `tracking` is, if they come from elsewhere.
        on_tracked: called after each frame that `tracking` takes, when all that became final by it has been yielded.

        A frame that cannot be read or processed has its `error` set and no people. Where the run itself fails, the
        frames done so far come first, and then the exception.
        The calling thread's number of PyTorch threads is its own between frames. `lite` keeps NumPy's and OpenCV's
        libraries, whose setting is one for all threads, to one thread until the run ends.
        """
        if isinstance(source, str | Path):
            source = open_source(source, hwaccel=self.config.video.hwaccel)
        self.seconds = defaultdict(float)
        tracking = tracking or self.tracking(source)
        observed = observed or self.observe(source, stop, after=tracking.position)
        lite = self.config.model == "lite"
        frames = self._track(observed, tracking, on_tracked)
        with closing(frames), one_thread_in_libraries() if lite else nullcontext():
            while True:
                with one_thread_in_torch() if lite else nullcontext():
                    frame = next(frames, None)
                if frame is None:
                    return
                yield frame

    def tracking(self, source: Source) -> Tracking:
        """A tracker for a source, with the buffer behind it."""
        tracker = stages.make_tracker(
            self.config, self.body_model, self.texture_distance, self.motion, source.frame_count
        )
        refine = self.refine
        return Tracking(
            tracker,
            FixedLagBuffer(tracker.min_hits, self.complete),
            self.body_model.shape_space,
            refinement=None if refine is None else RefinementBuffer(refine, source.frame_rate, max_age=tracker.max_age),
            textures=self.config.results.textures,
        )

    def observe(
        self, source: Source, stop: Callable[[], bool] = lambda: False, *, after: Position | None = None
    ) -> Generator[ObservedFrame]:
        """The frames of a source after `after`, with the people found in them: all stages but tracking."""
        is_cut = stages.make_cut_detector(self.config, source.size)
        return self.observe_frames(frames_after(source, after, is_cut), source.size, is_cut, stop)

    def observe_frames(
        self,
        frames: Iterator[Frame | BadFrame],
        size: tuple[int, int],
        is_cut: Callable[[NDArray[np.uint8]], bool],
        stop: Callable[[], bool] = lambda: False,
    ) -> Generator[ObservedFrame]:
        """Frames with the people found in them. size: (height, width) of the source. is_cut: of the frames before."""
        in_thread = in_one_torch_thread if self.config.model == "lite" else lambda work: work
        read = _batches(self._read(frames, size, is_cut, stop), self.batch_size(size))
        batches = read_ahead(map(self._share, read), 2)
        detected = read_ahead(map(in_thread(self._detect), batches), 2)
        pools = _pooled(detected, getattr(self.recover, "people_at_once", 1))
        recovered = read_ahead(map(in_thread(self._recover), pools), 1)
        textured = read_ahead(map(in_thread(self._texture), recovered), 1)
        try:
            for batch in textured:
                for item in batch:
                    yield item.without_picture()
        finally:
            for stage in (textured, recovered, detected, batches):  # each runs inside the thread of the one before it
                stage.close()

    def batch_size(self, size: tuple[int, int]) -> int:
        """How many frames of this size (height, width) go through the stages together."""
        return max(1, min(self.config.detection.batch_size, BATCH_BYTES // max(1, 3 * size[0] * size[1])))

    def _track(
        self, observed: Generator[ObservedFrame], tracking: Tracking, on_tracked: Callable[[], None]
    ) -> Generator[TrackedFrame]:
        with closing(observed):
            try:
                for item in _without_systematic_failure(observed):
                    with self._timed("tracking"):
                        final = tracking.update(item)
                    yield from final
                    on_tracked()
            except Exception:
                yield from tracking.finish()
                raise
        with self._timed("tracking"):
            final = tracking.finish()
        yield from final

    def _read(
        self,
        frames: Iterator[Frame | BadFrame],
        size: tuple[int, int],
        is_cut: Callable[[NDArray[np.uint8]], bool],
        stop: Callable[[], bool],
    ) -> Iterator[ObservedFrame]:
        while not stop():
            with self._timed("reading"):
                frame = next(frames, None)
            if frame is None:
                return
            if isinstance(frame, BadFrame):
                log.warning("frame %d cannot be read and is skipped: %s", frame.index, frame.reason)
                nothing = np.zeros((*size, 0), np.uint8)
                yield ObservedFrame(Frame(frame.index, frame.time, frame.name, nothing), error=frame.reason)
            else:
                with self._timed("reading"):
                    new_shot = is_cut(frame.image)
                if not self.config.camera.use_metadata:
                    frame = replace(frame, focal_length=None)
                yield ObservedFrame(frame, new_shot)

    def _share(self, items: list[ObservedFrame]) -> list[ObservedFrame]:
        """Copy the frames to the GPU, once for all stages."""
        good = [item.frame for item in items if item.error is None]
        if self.share_on is None or not good:
            return items
        try:
            with self._timed("reading"):
                pixels = iter(upload_images([frame.image for frame in good], self.share_on, wait=True))
        except RuntimeError as error:
            if is_out_of_memory(error):  # the stages can do with fewer at a time
                return items
            raise
        return [replace(i, frame=replace(i.frame, pixels=next(pixels))) if i.error is None else i for i in items]

    def _detect(self, items: list[ObservedFrame]) -> list[ObservedFrame]:
        def work(items: Sequence[ObservedFrame]) -> list[ObservedFrame]:
            found = self.detect([item.frame for item in items])
            return [replace(item, detections=detections) for item, detections in zip(items, found, strict=True)]

        with self._timed("detection"):
            return _work_on_good(work, items)

    def _recover(self, items: list[ObservedFrame]) -> list[ObservedFrame]:
        def work(items: Sequence[ObservedFrame]) -> list[ObservedFrame]:
            frames = [item.frame for item in items]
            recovered = self.recover(frames, [item.detections or Detections.empty() for item in items])
            pairs = zip(items, recovered, strict=True)
            return [
                replace(
                    item,
                    **_usable(kept, bodies, item.frame.size),
                    frame=replace(item.frame, pixels=None),
                    background=self._background(item),
                )
                for item, (kept, bodies) in pairs
            ]

        with self._timed("recovery"):
            return _work_on_good(work, items)

    def _texture(self, items: list[ObservedFrame]) -> list[ObservedFrame]:
        def work(items: Sequence[ObservedFrame]) -> list[ObservedFrame]:
            found = [(item.frame, item.detections, item.bodies) for item in items if item.detections and item.bodies]
            textured = iter(self.appearance(*map(list, zip(*found, strict=True)))) if found else iter(())
            return [replace(i, bodies=next(textured)) if i.detections and i.bodies else i for i in items]

        with self._timed("appearance"):
            return _work_on_good(work, items)

    def _background(self, item: ObservedFrame) -> Background | None:
        """The features of a keyframe's background, outside of everybody detected."""
        if not self.config.camera.motion or item.frame.index % KEYFRAME_INTERVAL:
            return None
        boxes = (item.detections or Detections.empty()).boxes
        return background(item.frame.image, boxes)

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


def in_one_torch_thread(work: Callable[[list[ObservedFrame]], list[ObservedFrame]]) -> Callable[..., Any]:
    """`work`, for a thread that does nothing else, with one thread for PyTorch.

    A thread that does not say so takes as many as the caller of the run has at the moment, who changes between one and
    its own; and as sums of more threads differ in their last bits, results would depend on when a stage first works.
    """

    def limited(items: list[ObservedFrame]) -> list[ObservedFrame]:
        torch.get_num_threads()  # the first use of PyTorch in a thread takes over the caller's number
        torch.set_num_threads(1)
        return work(items)

    return limited


@contextmanager
def one_thread_in_torch() -> Iterator[None]:
    """One thread for PyTorch in the calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _usable(detections: Detections, bodies: Bodies, size: tuple[int, int]) -> dict[str, Any]:
    """The fields of an item: people whose bodies the tracker can use; the others are rejected."""
    usable = usable_bodies(detections, bodies, size)
    if usable.all():
        return {"detections": detections, "bodies": bodies}
    reason = "body not finite or behind the camera"
    rejected = [
        Rejected(tuple(detections.boxes[i].tolist()), float(detections.scores[i]), reason)
        for i in np.flatnonzero(~usable)
    ]
    kept = replace(detections[usable], rejected=[*detections.rejected, *rejected])
    return {"detections": kept, "bodies": bodies[usable]}


def frames_after(
    source: Source, after: Position | None, is_cut: Callable[[NDArray[np.uint8]], bool]
) -> Iterator[Frame | BadFrame]:
    """The frames of a source that come after another one; `is_cut` is shown those just before, as if it had seen all.

    Reading begins near the frame. Where that does not lead to the right one (some formats hold frames that are not
    shown, and numbers found without decoding are then wrong), or where all frames just before are damaged, it begins
    anew at the first frame of the source.
    """
    if after is None:
        yield from source
        return
    for first in (max(after.index + 1 - FRAMES_BEFORE, 0), 0):
        compared, began = first == 0, False
        frames = iter(source.read(first))
        for frame in frames:
            if frame.index <= after.index:
                if isinstance(frame, Frame):
                    is_cut(frame.image)
                    compared = True
                continue
            if first and (not compared or (not began and frame.time <= after.time)):
                break
            began = True
            yield frame
        else:
            if began or compared:
                return


def _batches(items: Iterable[ObservedFrame], size: int) -> Iterator[list[ObservedFrame]]:
    batch: list[ObservedFrame] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _pooled(batches: Iterable[list[ObservedFrame]], people: int) -> Iterator[list[ObservedFrame]]:
    """Batches joined until they hold so many people, or so many batches."""
    pool: list[ObservedFrame] = []
    joined = 0
    for batch in batches:
        pool, joined = pool + batch, joined + 1
        if joined == MOST_POOLED or sum(len(item.detections or ()) for item in pool) >= people:
            yield pool
            pool, joined = [], 0
    if pool:
        yield pool


def _work_on_good(
    work: Callable[[Sequence[ObservedFrame]], list[ObservedFrame]], items: list[ObservedFrame]
) -> list[ObservedFrame]:
    """`work` on the items without an error; the others are passed on. Where it fails it is repeated frame by frame, so
    that one bad frame does not affect others; the error is kept in the frame. Errors of the whole run are raised.
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


def _without_systematic_failure(items: Iterable[ObservedFrame]) -> Iterator[ObservedFrame]:
    """The items unchanged. Raises the stages' own exception once it is clear that the frames are not the cause."""
    in_a_row, any_good, item = 0, False, None
    for item in items:
        in_a_row = in_a_row + 1 if item.failure else 0
        any_good = any_good or item.error is None
        if item.failure and in_a_row >= MOST_FAILURES:
            raise item.failure
        yield item
    if item is not None and item.failure and not any_good:
        raise item.failure
