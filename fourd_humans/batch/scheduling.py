"""Hands jobs to workers, replaces workers that die, and says what became of every job."""

from __future__ import annotations

import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from fourd_humans.batch.jobs import Job
from fourd_humans.batch.records import BusyError, claimed, read_record, write_record
from fourd_humans.batch.work import MakePipeline, Outcome, Perform, Request, describe, perform, work
from fourd_humans.batch.workers import Worker
from fourd_humans.config import merge
from fourd_humans.errors import FourDHumansError
from fourd_humans.pipeline import Pipeline

MAX_DEATHS = 3  # workers that die at the same job before it counts as failed
TICK = 0.5  # seconds between two calls of `on_tick`
ASK_AGAIN = 3.0  # seconds until a job that somebody else works on is looked at again


@dataclass
class Progress:
    """Where a run stands: which job each worker is at, what is waiting, and what became of the others."""

    running: dict[str, Job] = field(default_factory=dict)
    waiting: int = 0
    outcomes: list[Outcome] = field(default_factory=list)


def run_jobs(
    jobs: Sequence[Job],
    request: Request,
    workers: Sequence[Worker] = (),
    *,
    make_pipeline: MakePipeline = Pipeline,
    perform: Perform = perform,
    stop: Callable[[], bool] = lambda: False,
    on_tick: Callable[[Progress], None] = lambda progress: None,
) -> list[Outcome]:
    """Do all jobs; returns the outcome of each, in the order in which they ended.

    workers: who does them; without any, they are done here, one after the other.
    A worker that dies is replaced, and its job begun again, up to `MAX_DEATHS` times. A job that another run works on
    is waited for. Once `stop` says True, all workers are ended at once and what they had under way is interrupted.
    make_pipeline, perform: functions of a module (they are called in the workers), see `work.work`.
    """
    progress = Progress(waiting=len(jobs))
    if not workers:
        for next_job in jobs:
            if stop():
                break
            progress.outcomes.append(work(next_job, request, make_pipeline, perform))
            progress.waiting -= 1
            on_tick(progress)
        return progress.outcomes
    waiting: deque[tuple[float, Job]] = deque((0.0, job) for job in jobs)
    idle = list(workers)
    running: dict[Future[Outcome], tuple[Worker, Job]] = {}
    deaths: Counter[Job] = Counter()
    try:
        while (waiting or running) and not stop():
            while (worker := next((each for each in idle if each.available()), None)) and (job := _next(waiting)):
                idle.remove(worker)
                running[worker.submit(work, job, _for(worker, request), make_pipeline, perform)] = worker, job
            if running:
                done = wait(running, TICK, FIRST_COMPLETED).done
            else:
                done = set()
                time.sleep(TICK)
            for future in done:
                worker, job = running.pop(future)
                outcome = _outcome(future, worker, job, deaths)
                if outcome is None or outcome.state == "busy":
                    waiting.append((time.monotonic() + (ASK_AGAIN if outcome else 0), job))
                else:
                    progress.outcomes.append(outcome)
                idle.append(worker)
            progress.running = {worker.name: job for worker, job in running.values()}
            progress.waiting = len(waiting)
            on_tick(progress)
    finally:
        for worker in workers:
            worker.close()
    for _, job in running.values():
        progress.outcomes.append(_give_up(job, "interrupted", "interrupted"))
    return progress.outcomes


def _next(waiting: deque[tuple[float, Job]]) -> Job | None:
    """The first job whose time has come."""
    for _ in range(len(waiting)):
        since, job = waiting.popleft()
        if since <= time.monotonic():
            return job
        waiting.append((since, job))
    return None


def _for(worker: Worker, request: Request) -> Request:
    if worker.device is None:
        return request
    return replace(request, config=merge(request.config, {"device": worker.device}))


def _outcome(future: Future[Outcome], worker: Worker, job: Job, deaths: Counter[Job]) -> Outcome | None:
    """Of a job whose call has ended; None where its worker has died and it is to be begun again."""
    error = future.exception()
    if error is None:
        return future.result()
    how = worker.died(error)
    if how is None:
        return Outcome(job, "failed", error=describe(error))
    worker.restart()
    deaths[job] += 1
    if deaths[job] < MAX_DEATHS:
        return None
    return _give_up(job, "failed", f"{how}, {deaths[job]} times")


def _give_up(job: Job, state: Any, error: str) -> Outcome:
    """Mark the job of a worker that is gone, unless somebody else has it by now."""
    record = None
    with suppress(BusyError, FourDHumansError), claimed(job):
        record = read_record(job.file(".json"))
        if record and record.state == "running" and record.host == socket.gethostname():
            record.state, record.error, record.ended = state, error, time.time()
            write_record(job.file(".json"), record)
    return Outcome(job, state, record, error)
