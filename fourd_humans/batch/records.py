"""The state of a job in a small file beside its results, and the right to work on it.

``NAME.json`` says what became of a job, with what settings and from what input; readers of a folder (the table of a
run, ``4dhumans status``, other machines that share the work) need nothing else. ``NAME.lock`` is there while somebody
works on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from fourd_humans import __version__
from fourd_humans.batch.jobs import Job
from fourd_humans.config import Config, to_yaml
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.video.images import IMAGE_SUFFIXES

HEARTBEAT = 2.0  # seconds between two signs of life in a record
STALE = 60.0  # seconds without one after which the worker is taken for dead, where its lock cannot tell
MAX_BYTES = 1 << 20  # of a record: larger files are none

State = Literal["running", "done", "failed", "interrupted"]


class Fingerprint(BaseModel):
    """What a result depends on; a job whose record has the same one need not be done again.

    input: size in bytes, time of change in nanoseconds and number of the source's files.
    settings, weights: hashes. version: of this package.
    """

    input: tuple[int, int, int]
    settings: str
    weights: str
    version: str = __version__

    def differences(self, other: Fingerprint) -> list[str]:
        """What is not the same, in words."""
        words = {"input": "the input", "settings": "the settings", "weights": "the weights", "version": "the version"}
        return [word for name, word in words.items() if getattr(self, name) != getattr(other, name)]


class Record(BaseModel):
    """What became of a job.

    state: running, done, failed, or interrupted (by Ctrl-C, or a worker that died). error: why it failed.
    frames: done so far; total: of how many, an estimate, or None. skipped: how many could not be used.
    people: identities. seconds: working time of each stage; elapsed: from the beginning to the end.
    attempts: how often it was begun with these settings. complete: whether the results reach the source's end.
    host, pid, device: who works or has worked on it. began, heartbeat, ended: seconds since 1970.
    """

    format: Literal["4dhumans job"] = "4dhumans job"
    state: State
    source: str
    fingerprint: Fingerprint
    settings: dict[str, object]
    error: str | None = None
    frames: int = 0
    total: int | None = None
    skipped: int = 0
    people: int = 0
    seconds: dict[str, float] = {}
    elapsed: float = 0.0
    attempts: int = 1
    complete: bool = True
    host: str = ""
    pid: int = 0
    device: str = ""
    began: float = 0.0
    heartbeat: float = 0.0
    ended: float | None = None

    @property
    def stale(self) -> bool:
        """Whether it says running but nobody has given a sign of life for a while."""
        return self.state == "running" and time.time() - self.heartbeat > STALE


class BusyError(FourDHumansError):
    """Somebody else works on the job."""


def fingerprint(source: Path, settings: dict[str, object], weights: str) -> Fingerprint:
    """Of a source with `settings` (see `relevant_settings`). Raises: OSError where the source is gone."""
    text = json.dumps(settings, sort_keys=True)
    return Fingerprint(input=_input(source), settings=hashlib.sha256(text.encode()).hexdigest(), weights=weights)


def relevant_settings(
    config: Config, *, render: bool, start: object, end: object, actions: bool = False
) -> dict[str, object]:
    """The settings that change results: not the device, and those of rendering only with `render`."""
    settings: dict[str, object] = yaml.safe_load(to_yaml(config))
    del settings["device"]
    if not render:
        del settings["render"]
    return settings | {"start": start, "end": end} | ({"actions": True} if actions else {})


def read_record(path: Path) -> Record | None:
    """The record in a file, or None where there is no file.

    Raises: UsageError for a file that is something else, which must not be replaced.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror}") from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError
        return Record.model_validate_json(data)
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{path} is not the record of a job; move it, or choose another --output folder") from error


def write_record(path: Path, record: Record) -> None:
    """Atomic: whoever reads the file finds the old record or the new one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(record.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise FourDHumansError(f"cannot write {path}: {error.strerror}") from error


def find_records(folder: Path) -> dict[Path, Record]:
    """All records below a folder, in the order of their paths; other json files are passed over."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        with suppress(FourDHumansError):
            if not path.name.startswith(".") and (record := read_record(path)):
                found[path] = record
    return found


@contextmanager
def claimed(job: Job) -> Iterator[Record | None]:
    """The right to work on a job, for the length of the block; gives the record as it is then.

    The lock is the kernel's (flock), which lets go when the process ends, however it ends. Some network disks do not
    pass locks between machines: a record that says running on another machine, with a sign of life less than a minute
    old, counts as a lock, too.

    Raises: BusyError where somebody else has it.
    """
    lock = FileLock(job.file(".lock"), timeout=0)
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{job.source} is being worked on by another process") from error
    except OSError as error:
        raise UsageError(f"cannot write to {job.folder}: {error.strerror}; choose another folder with --output") from (
            error
        )
    try:
        record = read_record(job.file(".json"))
        if record and record.state == "running" and record.host != socket.gethostname() and not record.stale:
            raise BusyError(f"{job.source} is being worked on by process {record.pid} on {record.host}")
        yield record
    finally:
        with suppress(OSError):  # removed while it is still locked: a later process makes a new one
            job.file(".lock").unlink()
        lock.release()


class Heartbeat:
    """Keeps a job's record up to date while the work goes on, from a thread of its own.

    record: changed in place by whoever does the work; the last version is written by `finish`.
    """

    def __init__(self, path: Path, record: Record) -> None:
        self._path, self.record = path, record
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self.record.ended = time.time()
        self._beat()

    def _beat(self) -> None:
        self.record.heartbeat = time.time()
        write_record(self._path, self.record)

    def _run(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with suppress(FourDHumansError):  # a disk that is full now may not be when the job ends
                self._beat()


def _input(source: Path) -> tuple[int, int, int]:
    files = [source]
    if source.is_dir():
        files = [path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES]
    stats = [path.stat() for path in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0), len(stats)
