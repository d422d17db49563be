"""One job from beginning to end: claimed, done where that is needed, and recorded."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from fourd_humans.batch.jobs import Job
from fourd_humans.batch.records import (
    BusyError,
    Fingerprint,
    Heartbeat,
    Record,
    claimed,
    fingerprint,
    read_record,
    relevant_settings,
)
from fourd_humans.checkpoints.store import weights_hash
from fourd_humans.config import Config
from fourd_humans.detection.settings import PrecomputedSettings
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import TrackedFrame
from fourd_humans.pipeline import Pipeline
from fourd_humans.recovery.settings import PrecomputedBodySettings
from fourd_humans.run import Observe, TrackResult, track
from fourd_humans.video.frames import Position, Source
from fourd_humans.video.source import open_source
from fourd_humans.weights import weight_files

log = logging.getLogger(__name__)

# What a process loads once for the same configuration: mostly a `Pipeline`.
MakePipeline = Callable[[Config], Any]
# (job, request, make_pipeline, record, resume=...): does a job, noting in the record how far it is
Perform = Callable[..., Any]


@dataclass(frozen=True)
class Request:
    """What a run asks for every job.

    actions: also recognise what everybody does. overwrite: do again what is done. retry_failed: do again what has
    failed. Both mean records from before `began` (seconds since 1970), so that two runs with the same request do
    nothing twice. resume: of one source, go on with a run that ended early; of many sources, that is always done.
    exports: formats in which to write the results, too; of jobs that are done by this run.
    """

    config: Config
    render: bool = False
    start: Position | None = None
    end: Position | None = None
    overwrite: bool = False
    retry_failed: bool = False
    actions: bool = False
    exports: tuple[str, ...] = ()
    resume: bool = False
    began: float = field(default_factory=time.time)

    @property
    def settings(self) -> dict[str, object]:
        """Those that change results."""
        return relevant_settings(self.config, render=self.render, actions=self.actions, start=self.start, end=self.end)


@dataclass(frozen=True)
class Outcome:
    """What became of a job in this run.

    state: done now; skipped, for it was done before; failed, now or before; interrupted; or busy: somebody else is at
    it. record: as it is in the job's file, where there is one. error: why it failed, one line.
    """

    job: Job
    state: Literal["done", "skipped", "failed", "interrupted", "busy"]
    record: Record | None = None
    error: str | None = None


def perform(job: Job, request: Request, make_pipeline: MakePipeline, record: Record, *, resume: bool) -> TrackResult:
    """Do a job in this process, noting in `record` how far it is."""
    opened = open_source(job.source, request.start, request.end, hwaccel=request.config.video.hwaccel)
    source = replace(opened, name=job.name)
    return _track(job, request, source, loaded(make_pipeline, request.config), record, overwrite=True, resume=resume)


def work(
    job: Job,
    request: Request,
    make_pipeline: MakePipeline = Pipeline,
    perform: Perform = perform,
) -> Outcome:
    """Do a job if it needs doing. What goes wrong is the job's outcome and in its record; nothing is raised.

    make_pipeline: called once in a process for the same configuration. perform: does the work itself. Exceptions that
    are none of ours may mean that its worker has died: they are raised by `perform` of another place.
    """
    try:
        with claimed(job) as earlier:
            mark = _fingerprint(job, request)
            if earlier is not None and (outcome := _no_need(job, earlier, mark, request)):
                return outcome
            if earlier is None and not request.overwrite and job.file(".pkl").exists():
                return Outcome(
                    job, "failed", error=f"{job.file('.pkl')} exists without a record; --overwrite replaces it"
                )
            with _recorded(job, request, mark, earlier) as record:
                again = request.overwrite and earlier is not None and _is_old(earlier, request)
                perform(job, request, make_pipeline, record, resume=not again)
            return Outcome(job, "done", record)
    except BusyError as error:
        return Outcome(job, "busy", error=str(error))
    except Exception as error:
        return Outcome(job, "failed", _record_of(job), describe(error))


def track_one(
    job: Job,
    request: Request,
    source: Source,
    pipeline: Pipeline,
    *,
    stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[TrackedFrame], None] = lambda frame: None,
    observe: Observe = Pipeline.observe,
) -> TrackResult:
    """Do one job whatever its record says, in this process. Raises: what `run.track` raises, after recording it."""
    with claimed(job) as earlier, _recorded(job, request, _fingerprint(job, request), earlier) as record:
        result = _track(
            job, request, source, pipeline, record,
            overwrite=request.overwrite, resume=request.resume, stop=stop, on_frame=on_frame, observe=observe,
        )  # fmt: skip
        if stop():
            record.state = "interrupted"
    return result


def is_done(job: Job, request: Request) -> bool:
    """Whether the job was done to its end, with the same settings, weights and input."""
    record = read_record(job.file(".json"))
    return bool(
        record
        and record.state == "done"
        and record.complete
        and job.file(".pkl").exists()
        and not record.fingerprint.differences(_fingerprint(job, request))
    )


def check_unchanged(jobs: Sequence[Job], request: Request) -> None:
    """Raises: UsageError where a rendered video would replace its source, or where a job was done with other settings,
    weights or input, and may not be done again."""
    for job in jobs if request.render else ():
        if job.file(job.source.suffix).resolve() == job.source.resolve() and job.source.suffix in (".mp4", ".jpg"):
            raise UsageError(f"{job.source} would be replaced by its rendered video; choose another --output folder")
    if request.overwrite:
        return
    changed: list[str] = []
    for job in jobs:
        record = read_record(job.file(".json"))
        if record and record.state == "done" and job.file(".pkl").exists():
            differences = record.fingerprint.differences(_fingerprint(job, request))
            if differences:
                changed.append(f"{job.file('.pkl')} ({' and '.join(differences)} changed since)")
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UsageError(
            f"results from another run are in the way: {changed[0]}{more}; use --overwrite to replace them, or another "
            "--output folder"
        )


def describe(error: BaseException) -> str:
    """One line for the user."""
    if isinstance(error, FourDHumansError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@lru_cache(maxsize=1)
def loaded(make_pipeline: MakePipeline, config: Config) -> Any:
    """What this process has loaded, when it is first asked for."""
    return make_pipeline(config)


def _no_need(job: Job, record: Record, mark: Fingerprint, request: Request) -> Outcome | None:
    """The outcome of a job that need not be done, by its record; None where it has to be."""
    old = _is_old(record, request)
    same = not record.fingerprint.differences(mark)
    if record.state == "done" and job.file(".pkl").exists() and not (request.overwrite and old):
        if same:
            return Outcome(job, "skipped", record)
        differences = " and ".join(record.fingerprint.differences(mark))
        return Outcome(job, "failed", record, f"{differences} changed since it was done; --overwrite does it again")
    if record.state == "failed" and same and not ((request.overwrite or request.retry_failed) and old):
        return Outcome(job, "failed", record, record.error)
    return None


@contextmanager
def _recorded(job: Job, request: Request, mark: Fingerprint, earlier: Record | None) -> Iterator[Record]:
    """A record that says running while the block is at work, and what came of it afterwards."""
    begun_before = earlier is not None and not earlier.fingerprint.differences(mark) and earlier.state != "done"
    record = Record(
        state="running",
        source=str(job.source),
        fingerprint=mark,
        settings=request.settings,
        attempts=earlier.attempts + 1 if earlier and begun_before else 1,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=request.config.device,
        began=time.time(),
    )
    with Heartbeat(job.file(".json"), record):
        try:
            yield record
            if record.state == "running":
                record.state = "done"
        except BaseException as error:
            record.state = "failed" if isinstance(error, Exception) else "interrupted"
            record.error = describe(error)
            log.debug("%s failed", job.source, exc_info=True)
            raise
        finally:
            record.elapsed = time.time() - record.began


def _is_old(record: Record, request: Request) -> bool:
    """Whether the record is from before the run."""
    return (record.ended or record.heartbeat) < request.began


def _track(
    job: Job,
    request: Request,
    source: Source,
    pipeline: Pipeline,
    record: Record,
    *,
    overwrite: bool,
    resume: bool,
    stop: Callable[[], bool] = lambda: False,
    on_frame: Callable[[TrackedFrame], None] = lambda frame: None,
    observe: Observe = Pipeline.observe,
) -> TrackResult:
    people: set[int] = set()
    record.total = source.frame_count

    def note(frame: TrackedFrame) -> None:
        people.update(frame.ids.tolist())
        record.frames, record.people = record.frames + 1, len(people)
        record.skipped += frame.error is not None
        on_frame(frame)

    result = track(
        source,
        job.folder,
        pipeline=pipeline,
        render=request.render,
        actions=request.actions,
        exports=request.exports,
        overwrite=overwrite,
        resume=resume,
        stop=stop,
        on_frame=note,
        observe=observe,
    )
    record.frames, record.skipped, record.people = result.frames, result.skipped, len(result.people)
    record.seconds = {name: round(value, 3) for name, value in result.seconds.items()}
    record.complete = result.complete
    return result


def _fingerprint(job: Job, request: Request) -> Fingerprint:
    return fingerprint(job.source, request.settings, _weights(request.config))


@lru_cache(maxsize=4)
def _weights(config: Config) -> str:
    """One hash of all files of weights, and of the files of boxes and bodies, if there are any."""
    files = weight_files(config)
    if isinstance(config.detection, PrecomputedSettings) and config.detection.boxes:
        files["boxes"] = Path(config.detection.boxes)
    if isinstance(config.recovery, PrecomputedBodySettings) and config.recovery.bodies:
        files["bodies"] = Path(config.recovery.bodies)
    hashes = {name: weights_hash(path) for name, path in sorted(files.items())}
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def _record_of(job: Job) -> Record | None:
    try:
        return read_record(job.file(".json"))
    except FourDHumansError:
        return None
