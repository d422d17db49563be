"""Worker processes on this machine: one process each, so that one that dies takes nothing but its own job with it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

DIED = "the worker process died (killed, out of memory, or a crash in a library)"


class Worker(Protocol):
    """Something that calls functions one at a time, elsewhere.

    name: for the user. device: of torch that its jobs are done on, or None for that of the settings.
    """

    name: str
    device: str | None

    def available(self) -> bool:
        """Whether it can begin at once."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]: ...

    def died(self, error: BaseException) -> str | None:
        """What happened to the worker if a future's exception means that it is gone; None for any other exception."""

    def restart(self) -> None:
        """A new one in its place."""

    def close(self) -> None:
        """End it at once, whatever it is doing."""


class LocalWorker:
    """A process of its own, started when it is first needed.

    threads: how many the numerical libraries may use in it.
    """

    def __init__(self, name: str, *, threads: int, device: str | None = None, log_level: int = logging.ERROR) -> None:
        self.name, self.device = name, device
        self._arguments = (threads, log_level)
        self._pid: Future[int] | None = None
        self._executor: ProcessPoolExecutor | None = None

    def available(self) -> bool:
        return True

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._running().submit(function, *arguments)
        except BrokenExecutor:  # it has died with nothing to do
            self.restart()
            return self._running().submit(function, *arguments)

    def _running(self) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold, and CUDA
            self._executor = ProcessPoolExecutor(1, context, initializer=_begin, initargs=self._arguments)
            self._pid = self._executor.submit(os.getpid)
        return self._executor

    def died(self, error: BaseException) -> str | None:
        return DIED if isinstance(error, BrokenExecutor) else None

    def restart(self) -> None:
        self.close()

    def close(self) -> None:
        if self._executor is None:
            return
        if self._pid is not None and self._pid.done() and not self._pid.exception():
            with suppress(ProcessLookupError):
                os.kill(self._pid.result(), signal.SIGTERM)
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._executor = self._pid = None


def local_workers(count: int, devices: list[str] | None = None, log_level: int = logging.ERROR) -> list[LocalWorker]:
    """`count` workers that share the processor's cores and, in turn, the devices."""
    threads = max(1, _cores() // count)
    given = devices or [None]  # type: ignore[list-item]
    return [
        LocalWorker(str(i + 1), threads=threads, device=given[i % len(given)], log_level=log_level)
        for i in range(count)
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(threads: int, log_level: int) -> None:
    """In the new process, before anything else: Ctrl-C is the parent's to handle, and without it there is no work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(format="%(message)s", level=log_level)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), name="parent", daemon=True).start()
    for library in ("OMP", "MKL", "OPENBLAS"):  # before they are loaded; torch asks the first two
        os.environ[f"{library}_NUM_THREADS"] = str(threads)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
