"""Workers on a Ray cluster: an actor each, with its models loaded once, wherever Ray has room for it."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fourd_humans.batch.jobs import Job
from fourd_humans.batch.records import Record
from fourd_humans.batch.work import MakePipeline, Outcome, Perform, Request, work
from fourd_humans.errors import UsageError

MAX_FILE = 4 << 30  # bytes of a result that is written back through the driver


def connect(address: str) -> Any:
    """Ray, connected to a cluster: ``auto``, the one this machine belongs to; ``local``, a new one; or its address.

    Raises: UsageError where Ray is not installed or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs Ray: pip install 'fourd-humans[cluster]'") from error
    if Path(address).exists() and address not in ("auto", "local"):
        raise UsageError(f"'{address}' is a file or folder, not the address of a cluster; write --ray=auto")
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=None if address != "local" else False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise UsageError(f"there is no Ray cluster at '{address}': {reason}") from error
    return ray


class WorkerLost(BaseException):
    """The actor at work, or its node, is gone."""


class RayWorker:
    """One actor. Ray chooses its node, and gives it a GPU of its own where `gpus` is 1."""

    def __init__(self, ray: Any, name: str, *, gpus: int = 0, device: str | None = None) -> None:
        self.name, self.device = name, device
        self._ray, self._gpus = ray, gpus
        self._driver = ThreadPoolExecutor(2, thread_name_prefix=f"ray-{name}")
        self._shared: dict[Path, bool] = {}
        self._actor: Any = None
        self._ready: Any = None
        self.restart()

    def available(self) -> bool:
        """Whether Ray has found a place for the actor."""
        return bool(self._ray.wait([self._ready], timeout=0)[0])

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Jobs whose folder the actor cannot see are done in a folder of its own, and written back from here."""
        if function is work:
            return self._driver.submit(self._work, *arguments)
        return self._driver.submit(self._call, function, *arguments)

    def died(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, WorkerLost) else None

    def restart(self) -> None:
        if self._actor is not None:
            self._ray.kill(self._actor)
        remote = self._ray.remote(num_cpus=1, num_gpus=self._gpus, scheduling_strategy="SPREAD")(_Actor)
        self._actor = remote.remote()
        self._ready = self._actor.call.remote(os.getpid)

    def close(self) -> None:
        self._ray.kill(self._actor)
        self._driver.shutdown(wait=True, cancel_futures=True)

    def _work(self, job: Job, request: Request, make_pipeline: MakePipeline, perform: Perform) -> Outcome:
        if self._sees(job.folder):
            outcome: Outcome = self._call(work, job, request, make_pipeline, perform)
            return outcome
        return work(job, request, make_pipeline, partial(self._perform_elsewhere, perform))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        from ray.exceptions import RayActorError, RayTaskError, WorkerCrashedError

        try:
            return self._ray.get(self._actor.call.remote(function, *arguments))
        except (RayActorError, WorkerCrashedError) as error:
            raise WorkerLost("the worker or its node was lost") from error
        except RayTaskError as error:
            raise error.cause from error

    def _sees(self, folder: Path) -> bool:
        """Whether the actor writes to the same folder as this process."""
        folder = folder.resolve()
        if folder not in self._shared:
            folder.mkdir(parents=True, exist_ok=True)
            token = folder / f".{secrets.token_hex(8)}"
            token.touch()
            try:
                self._shared[folder] = self._call(os.path.exists, str(token))
            finally:
                token.unlink()
        return self._shared[folder]

    def _perform_elsewhere(
        self,
        perform: Perform,
        job: Job,
        request: Request,
        make_pipeline: MakePipeline,
        record: Record,
        *,
        resume: bool,
    ) -> None:
        noted, files = self._call(perform_in_temporary_folder, perform, job, request, make_pipeline, record)
        for name, data in files.items():
            unfinished = job.folder / f".{name}.unfinished"
            unfinished.write_bytes(data)
            os.replace(unfinished, job.folder / name)
        for field in ("frames", "total", "skipped", "people", "seconds", "complete"):
            setattr(record, field, getattr(noted, field))


class _Actor:
    """Calls functions, one at a time; what they keep for the next call is the process's."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


def perform_in_temporary_folder(
    perform: Perform, job: Job, request: Request, make_pipeline: MakePipeline, record: Record
) -> tuple[Record, dict[str, bytes]]:
    """On a node: do a job, and give its record and all files it has written."""
    with tempfile.TemporaryDirectory() as folder:
        perform(replace(job, folder=Path(folder)), request, make_pipeline, record, resume=False)
        files = {path.name: path for path in sorted(Path(folder).iterdir()) if path.is_file()}
        if (size := sum(path.stat().st_size for path in files.values())) > MAX_FILE:
            raise UsageError(f"{job.source}: {size >> 20} MB of results are too many to send; use a shared folder")
        return record, {name: path.read_bytes() for name, path in files.items()}


def ray_workers(address: str, count: int | None = None, devices: list[str] | None = None) -> list[RayWorker]:
    """`count` actors; by default one for each GPU of the cluster, or for each processor core where it has none."""
    ray = connect(address)
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    on_gpu = gpus > 0 and not (devices and devices[0] == "cpu")
    number = count or (gpus if on_gpu else int(resources.get("CPU", 1)))
    device = "cuda" if on_gpu else None  # Ray shows every actor only its own
    return [RayWorker(ray, f"ray {i + 1}", gpus=int(on_gpu), device=device) for i in range(number)]
