"""Many jobs: on threads where only the order of things matters, on processes where those are what is tested."""

import os
import threading
from concurrent.futures import BrokenExecutor

import pytest
from thread_worker import ThreadWorker
from white_squares import make_pipeline, write_squares

from fourd_humans.batch.jobs import find_jobs
from fourd_humans.batch.records import claimed, find_records
from fourd_humans.batch.scheduling import MAX_DEATHS, run_jobs
from fourd_humans.batch.work import Request
from fourd_humans.batch.workers import LocalWorker, local_workers
from fourd_humans.config import apply_settings, default_config

CONFIG = apply_settings(default_config(), ["motion.predictor=hold"])


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "in", tmp_path / "out"


def run(folders, workers, **options):
    jobs = find_jobs([folders[0]], folders[1], recursive=True)
    outcomes = run_jobs(jobs, Request(CONFIG), workers, **{"make_pipeline": make_pipeline} | options)
    return {outcome.job.name: outcome for outcome in outcomes}


def threads(count):
    return [ThreadWorker(str(number)) for number in range(count)]


def test_every_job_is_accounted_for(folders):
    for number in range(4):
        write_squares(folders[0] / "good" / f"{number}.mp4", 8)
    write_squares(folders[0] / "bad" / "text.mp4", 1).write_text("no video")
    (folders[0] / "bad" / "empty.mp4").touch()
    ticks = []
    outcomes = run(folders, threads(2), on_tick=lambda progress: ticks.append(len(progress.outcomes)))
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {**{str(n): "done" for n in range(4)}, "text": "failed", "empty": "failed"}
    records = find_records(folders[1])
    assert {path.relative_to(folders[1]).as_posix() for path in records} >= {"good/0.json", "bad/text.json"}
    assert {record.attempts for record in records.values()} == {1}
    assert ticks[-1] == 6


def test_a_job_whose_worker_died_is_begun_again(folders):
    write_squares(folders[0] / "a.mp4", 8)
    deaths = iter([True, False])

    def dying_once(config):
        if next(deaths):
            raise SystemExit
        return make_pipeline(config)

    workers = threads(1)
    assert run(folders, workers, make_pipeline=dying_once)["a"].state == "done"
    assert workers[0].deaths == 1


def test_a_job_that_kills_its_workers_is_given_up(folders):
    write_squares(folders[0] / "a.mp4", 8)
    write_squares(folders[0] / "b.mp4", 8, seconds=0.01)
    outcomes = run(folders, threads(1), make_pipeline=deadly)
    assert outcomes["a"].state == outcomes["b"].state == "failed"
    assert outcomes["a"].error == f"it died, {MAX_DEATHS} times"


def test_a_job_of_another_run_is_waited_for(folders, monkeypatch):
    monkeypatch.setattr("fourd_humans.batch.scheduling.ASK_AGAIN", 0.1)
    write_squares(folders[0] / "a.mp4", 8)
    (job,) = find_jobs([folders[0]], folders[1])
    held, release = threading.Event(), threading.Event()

    def hold():
        with claimed(job):
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    ticks = []

    def tick(progress):
        ticks.append(progress.waiting)
        if len(ticks) == 3:
            release.set()

    assert run(folders, threads(1), on_tick=tick)["a"].state == "done"
    holder.join()
    assert len(ticks) > 3


def test_without_workers_jobs_are_done_here_in_order(folders):
    for number in range(3):
        write_squares(folders[0] / f"{number}.mp4", 8)
    ended = []
    outcomes = run(folders, [], on_tick=lambda progress: ended.append((progress.waiting, len(progress.outcomes))),
                   stop=lambda: len(ended) == 2)  # fmt: skip
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"0": "done", "1": "done"}
    assert ended == [(2, 1), (1, 2)]
    assert {record.pid for record in find_records(folders[1]).values()} == {os.getpid()}


def test_devices_are_given_out_in_turn():
    workers = local_workers(3, ["cuda:0", "cuda:1"])
    assert [worker.device for worker in workers] == ["cuda:0", "cuda:1", "cuda:0"]
    assert local_workers(1)[0].device is None


@pytest.mark.slow
def test_processes_that_are_killed_are_replaced(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("KILL", str(tmp_path / "kill"))
    (tmp_path / "kill").touch()
    for number in range(4):
        write_squares(folders[0] / f"{number}.mp4", 8)
    outcomes = run(folders, local_workers(2))
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    records = find_records(folders[1]).values()
    assert sorted(record.attempts for record in records) == [1, 1, 1, 2]
    assert len({record.pid for record in records}) >= 2


@pytest.mark.slow
def test_stopping_ends_what_is_under_way(folders):
    write_squares(folders[0] / "a.mp4", 100, seconds=0.5)
    write_squares(folders[0] / "b.mp4", 8)

    def stop():
        return any(record.state == "running" for record in find_records(folders[1]).values())

    outcomes = run(folders, local_workers(1), stop=stop)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {"a": "interrupted"}
    (record,) = find_records(folders[1]).values()
    assert record.state == "interrupted"


@pytest.mark.slow
def test_a_process_that_died_idle_is_replaced_when_it_is_needed():
    worker = LocalWorker("1", threads=1)
    try:
        first = worker.submit(os.getpid).result()
        with pytest.raises(BrokenExecutor):
            worker.submit(os._exit, 1).result()
        assert worker.submit(os.getpid).result() != first
    finally:
        worker.close()


def deadly(config):
    raise SystemExit
