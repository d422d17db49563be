"""`track`: one source through the pipeline, into files. What the command ``4dhumans track`` does, for Python."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from fourd_humans import __version__, saved_run, stages
from fourd_humans.actions.checkpoint import load_action_model
from fourd_humans.actions.formats import read_labels, texts_by_frame
from fourd_humans.actions.recognition import Recognition, output_files, recognise, save
from fourd_humans.checkpoints.store import weights_hash
from fourd_humans.config import Config, to_yaml
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.geometry.camera import Intrinsics, frame_intrinsics
from fourd_humans.motion.level import LevelMode, level_scene
from fourd_humans.motion.shots import ShotEstimator
from fourd_humans.people import Shot, TrackedFrame
from fourd_humans.pipeline import ObservedFrame, Pipeline
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.rendering.video import open_writer, render_video, rendered_suffix
from fourd_humans.results.store import Mark, ResultWriter, load_frames, load_tracklets, partial_of
from fourd_humans.tracklets import Tracklets
from fourd_humans.video import writer
from fourd_humans.video.source import Source, open_source
from fourd_humans.weights import weight_files

log = logging.getLogger(__name__)

# (pipeline, source, stop, after=position) -> the frames after the position, see `Pipeline.observe`
Observe = Callable[..., Generator[ObservedFrame]]

ACTION_FORMATS = ("csv", "json")
# Final frames that may wait for the renderer before tracking waits for it. They hold no images.
FRAMES_WAITING = 256
FRAMES_TO_WRITE = 16  # that may wait for the result file: with textures they are large


@dataclass
class TrackResult:
    """What a run made.

    results: the pickle. video: the rendered video (of one image: picture), or None.
    frames: how many were written; skipped: how many of them could not be used.
    exports: files for other programs, where the command was asked for them.
    people: for each identity, in how many frames the person was seen. rejected: why detections were not used, counted.
    shots: where the camera stands and moves, and which way is up, between cuts. focal_length: pixels, in use.
    seconds: working time of each stage. complete: False where the run was stopped early.
    actions: what everybody does, and action_files, or None and nothing where that was not asked for.
    """

    results: Path
    video: Path | None
    frames: int = 0
    skipped: int = 0
    exports: list[Path] = field(default_factory=list)
    people: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    shots: list[Shot] = field(default_factory=list)
    focal_length: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    complete: bool = True
    actions: Recognition | None = None
    action_files: list[Path] = field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        """What is counted frame by frame, for `restore`."""
        return {
            "frames": self.frames, "skipped": self.skipped, "people": dict(self.people), "rejected": dict(self.rejected)
        }  # fmt: skip

    def restore(self, counts: Mapping[str, Any]) -> None:
        """Go on counting where another run was."""
        self.frames, self.skipped = counts["frames"], counts["skipped"]
        self.people, self.rejected = Counter(counts["people"]), Counter(counts["rejected"])


def track(
    source: Path | str | Source,
    output: Path | str = "outputs",
    *,
    config: Config | None = None,
    pipeline: Pipeline | None = None,
    render: bool = False,
    actions: bool = False,
    exports: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[TrackedFrame], None] = lambda frame: None,
    observe: Observe = Pipeline.observe,
) -> TrackResult:
    """Track everybody in a video, a folder of images or one image; write ``NAME.pkl`` and, with `render`, ``NAME.mp4``.

    One image is rendered into ``NAME.jpg``.

    pipeline: one to use again for several sources (`config` is then its own); by default a new one for `config`.
    actions: also recognise what everybody does, into ``NAME_actions.csv`` and ``.json`` and into the rendered video,
    which is then drawn after the tracking instead of beside it.
    exports: formats, see `exports`, in which to write the results, too.
    resume: continue a run that ended early; the result is that of an uninterrupted run. Start anew where there is none,
    or where `overwrite` is set and it had other settings.
    stop: called for every frame; True ends the run early and keeps the frames done so far.
    on_frame: called with every final frame, for progress.
    observe: what finds the people in the frames, if not this process alone, see `batch.split`.
    However the run ends, the frames before are kept: as ``NAME.pkl``, which says whether it is complete, or after an
    error as ``NAME.pkl.partial``; beside it, ``NAME.pkl.state`` holds what `resume` needs.
    Raises: UsageError for a source or output that cannot be used, before any work; FourDHumansError where a run fails.

    >>> result = track("demo_videos/walk.mp4", "outputs", render=True)
    >>> print(result.results, dict(result.people))
    """
    if isinstance(source, str | Path):
        used = pipeline.config if pipeline else config
        source = open_source(source, hwaccel=used.video.hwaccel if used else None)
    begun = resume and saved_run.exists(Path(output) / f"{source.name}.pkl")
    replace_files = overwrite or (resume and saved_run.is_unfinished(Path(output) / f"{source.name}.pkl"))
    results_path, video_path = output_paths(source, Path(output), render=render, overwrite=replace_files)
    action_base = results_path.with_name(f"{source.name}_actions")
    if actions:
        output_files(action_base, ACTION_FORMATS, overwrite=replace_files)
    pipeline = pipeline or Pipeline(config)
    config = pipeline.config
    summary = TrackResult(results_path, video_path)
    made = made_with(pipeline, source)
    summary.focal_length = camera_of(pipeline, source).focal_length
    tracking = pipeline.tracking(source)
    saved = saved_run.load(results_path, made, source, overwrite=overwrite) if begun else None
    if saved is not None:
        tracking.restore(saved.tracking)
        summary.restore(saved.summary)

    with ExitStack() as sinks:
        folder = source.path if source.path.is_dir() else source.path.parent if source.is_image else ""
        results = sinks.enter_context(
            ResultWriter(
                results_path,
                overwrite=replace_files,
                folder=folder,
                textures=config.results.textures,
                made_with=made,
                resume=saved.mark if saved else None,
            )
        )
        writing = sinks.enter_context(_Writing(results))
        drawing = None
        renderer = stages.make_renderer(config, pipeline.body_model) if video_path is not None else None
        # What people do, and which way is up, is known at the end only.
        draw_later = actions or (renderer is not None and renderer.shows_scene and config.render.level != "none")
        if video_path is not None and renderer is not None and not draw_later:
            drawing = sinks.enter_context(
                _Drawing(source, video_path, renderer, config.render.quality, results_path if saved else None)
            )
        scene = ShotEstimator()
        if saved is not None:
            scene.restore(saved.scene)
        saver = saved_run.Saver(results_path, made, source, pipeline.batch_size(source.size))
        if saved is None:
            saver.remove()
            if draw_later and video_path is not None:
                writer.partial_of(video_path).unlink(missing_ok=True)

        def save_run() -> None:
            if saver.is_due(tracking.position):
                saver.save(writing.mark(), tracking, scene, summary.counts())

        observed = observe(pipeline, source, stop, after=tracking.position)
        for frame in pipeline.run(source, stop, tracking=tracking, observed=observed, on_tracked=save_run):
            writing.put(frame)
            scene.update(frame)
            if drawing is not None:
                drawing.put(frame)
            summary.frames += 1
            summary.skipped += frame.error is not None
            summary.people.update(frame.ids[frame.seen].tolist())
            summary.rejected.update(rejected.reason for rejected in frame.detections.rejected)
            on_frame(frame)
        summary.complete = not stop()
        if summary.complete:  # a run that is killed from here on need not be tracked again
            saver.save(writing.mark(), tracking, scene, summary.counts())
        summary.shots = scene.finish()
        reason = None if summary.complete else "stopped"
        writing.wait()
        results.close(complete=summary.complete, reason=reason, shots=summary.shots)
    summary.seconds = dict(pipeline.seconds)
    if drawing is not None:
        summary.seconds["rendering"] = drawing.seconds
    texts = None
    tracklets = load_tracklets(results_path) if draw_later or (exports and summary.people) else None
    if actions and tracklets is not None:
        summary.actions = recognise(tracklets, load_action_model(device=stages.choose_device(config)))
        summary.action_files = save(summary.actions, action_base, ACTION_FORMATS, overwrite=replace_files)
        texts = texts_by_frame(read_labels(summary.action_files[0]), (frame.index for frame in tracklets))
    if draw_later and tracklets is not None and video_path is not None and renderer is not None:
        quality, level = config.render.quality, config.render.level
        draw(
            tracklets, source, video_path, renderer, quality=quality, texts=texts, level=level, resume=saved is not None
        )
    if exports and tracklets is not None:
        summary.exports = tracklets.export(exports, results_path.parent, source.name, overwrite=replace_files)
    elif exports:
        log.warning("%s: nobody was found, so nothing is exported", source.path)
    if summary.complete:
        saver.remove()
    return summary


def draw(
    tracklets: Tracklets,
    source: Source,
    path: Path,
    renderer: Renderer,
    *,
    quality: int,
    texts: Mapping[int, Mapping[int, str]] | None = None,
    level: LevelMode = "auto",
    resume: bool = False,
) -> int:
    """Draw results over their source into a video; returns the number of frames drawn.

    texts: by number of the frame and identity, what to write at each person. level: of the side and top views.
    resume: keep what there is of a video of the same results that was begun.
    """
    texts = texts or {}
    level_frames = {}
    if renderer.shows_scene and level != "none":
        levelled = level_scene(tracklets, renderer.body_model, level)
        for note in levelled.notes:
            log.warning("%s", note)
        level_frames = {frame.index: frame for frame in levelled.tracklets}
    with open_writer(source, path, renderer.output_size(source.size), quality, resume=resume) as video:
        return render_video(
            source,
            tracklets,
            video,
            lambda image, frame: renderer.draw(image, frame, texts.get(frame.index), level_frames.get(frame.index)),
        )


def made_with(pipeline: Pipeline, source: Source) -> dict[str, Any]:
    """What a run makes its results with, as they record it: see docs/results.md."""
    config, body = pipeline.config, pipeline.body_model
    return {
        "version": __version__,
        "settings": yaml.safe_load(to_yaml(config)),
        "weights": {
            name: {"file": path.name, "sha256": weights_hash(path)} for name, path in weight_files(config).items()
        },
        "body": body.shape_space,
        "focal_length": camera_of(pipeline, source).focal_length,
    }


def camera_of(pipeline: Pipeline, source: Source) -> Intrinsics:
    """The camera that a run assumes: the one that was set, else that of the source's tags, else the released one."""
    settings = pipeline.config.camera
    tagged = source.focal_length if settings.use_metadata else None
    return frame_intrinsics(stages.make_intrinsics(settings)(source.size), source.size, tagged)


def output_paths(source: Source, folder: Path, *, render: bool, overwrite: bool) -> tuple[Path, Path | None]:
    """Where the results and the rendered video go, after checking that they can.

    Raises: UsageError if the folder cannot be made or written, if a file exists and may not be overwritten, or if a
    file would overwrite the source.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}; choose another folder with --output") from error
    results = folder / f"{source.name}.pkl"
    video = folder / f"{source.name}{rendered_suffix(source)}" if render else None
    for path in filter(None, (results, video)):
        if path.exists() and path.resolve() == Path(source.path).resolve():
            raise UsageError(f"{path} is the source itself; choose another folder with --output")
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder; choose another one with --output")
        if path.exists() and not overwrite:
            raise UsageError(f"{path} exists; use --overwrite to replace it, or another --output folder")
    partial = partial_of(results)
    if partial.exists() and not overwrite:
        raise UsageError(
            f"{partial} holds what an interrupted run did, and can be loaded; use --resume to go on with it, or "
            "--overwrite to replace it"
        )
    return results, video


class _Writing:
    """The result file, written in a thread beside the tracking: encoding masks and compressing take their time."""

    def __init__(self, results: ResultWriter) -> None:
        self._results = results
        self._queue: Queue[TrackedFrame | None] = Queue(FRAMES_TO_WRITE)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="writing", daemon=True)

    def __enter__(self) -> _Writing:
        self._thread.start()
        return self

    def put(self, frame: TrackedFrame) -> None:
        """Write a frame soon. Raises: what went wrong with an earlier one."""
        if self._error is not None:
            raise self._error
        self._queue.put(frame)

    def wait(self) -> None:
        """Until all frames so far are written. Raises: what went wrong with them."""
        self._queue.join()
        if self._error is not None:
            raise self._error

    def mark(self) -> Mark:
        """A place to go on from, behind all frames so far."""
        self.wait()
        return self._results.mark()

    def __exit__(self, *exception: object) -> None:
        """Write what is waiting, however the run ends."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        for frame in iter(self._queue.get, None):
            try:
                if self._error is None:
                    self._results.write(frame)
            except Exception as error:
                self._error = error
            finally:
                self._queue.task_done()


class _Drawing:
    """The rendered video, drawn in a thread beside the tracking.

    The thread decodes the source a second time, a little behind the tracking: frames can become final seconds after
    they were read, and keeping their images until then would need memory for all of them.

    results: of a run that is gone on with. What its video has already is kept, and the rest drawn from them.
    """

    def __init__(
        self, source: Source, path: Path, renderer: Renderer, quality: int, results: Path | None = None
    ) -> None:
        self.seconds = 0.0
        self._source, self._renderer = source, renderer
        self._queue: Queue[TrackedFrame | None] = Queue(FRAMES_WAITING)
        self._error: Exception | None = None
        size, resume = renderer.output_size(source.size), results is not None
        self._writer = open_writer(source, path, size, quality, resume=resume)
        self._earlier: list[TrackedFrame] = []
        if results is not None:
            self._earlier = load_frames(partial_of(results), after=self._writer.last_time)
        self._thread = threading.Thread(target=self._run, name="drawing", daemon=True)

    def __enter__(self) -> _Drawing:
        self._thread.start()
        return self

    def put(self, frame: TrackedFrame) -> None:
        self._queue.put(frame)

    def __exit__(self, *exception: object) -> None:
        """Draw what is waiting and close the file. Raises what went wrong in the thread."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise FourDHumansError(f"the video could not be rendered: {self._error}") from self._error

    def _run(self) -> None:
        frames = chain(self._earlier, iter(self._queue.get, None))
        try:
            with self._writer:
                render_video(self._source, frames, self._writer, self._draw)
        except Exception as error:
            log.warning("rendering has stopped, tracking goes on: %s", error)
            self._error = error
            for _ in frames:  # keep the queue moving
                pass

    def _draw(self, image: NDArray[np.uint8], frame: TrackedFrame) -> NDArray[np.uint8]:
        start = time.perf_counter()
        drawn = self._renderer.draw(image, frame)
        self.seconds += time.perf_counter() - start
        return drawn
