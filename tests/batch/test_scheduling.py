"""Many jobs on worker processes of this machine."""

import threading

import pytest
from white_squares import make_pipeline, write_squares

from fourd_humans.batch.jobs import find_jobs
from fourd_humans.batch.records import find_records
from fourd_humans.batch.scheduling import MAX_DEATHS, run_jobs
from fourd_humans.batch.work import Request
from fourd_humans.batch.workers import DIED, LocalWorker, local_workers
from fourd_humans.config import apply_settings, default_config

CONFIG = apply_settings(default_config(), ["motion.predictor=hold"])


@pytest.fixture
def folders(tmp_path):
    return tmp_path / "in", tmp_path / "out"


def run(folders, workers=1, **options):
    jobs = find_jobs([folders[0]], folders[1], recursive=True)
    outcomes = run_jobs(jobs, Request(CONFIG), local_workers(workers), make_pipeline=make_pipeline, **options)
    assert len(outcomes) == len(jobs)
    return {outcome.job.name: outcome for outcome in outcomes}


def test_every_job_is_accounted_for(folders):
    for number in range(4):
        write_squares(folders[0] / "good" / f"{number}.mp4", 8)
    write_squares(folders[0] / "bad" / "text.mp4", 1).write_text("no video")
    (folders[0] / "bad" / "empty.mp4").touch()
    seen = []
    outcomes = run(folders, workers=2, on_tick=lambda progress: seen.append(dict(progress.running)))
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {**{str(n): "done" for n in range(4)}, "text": "failed", "empty": "failed"}
    records = find_records(folders[1])
    assert {path.relative_to(folders[1]).as_posix() for path in records} >= {"good/0.json", "bad/text.json"}
    assert {record.attempts for record in records.values()} == {1}
    assert len({record.pid for record in records.values()}) == 2, "a process each"
    assert {name for tick in seen for name in tick} == {"1", "2"}


def test_a_worker_that_dies_is_replaced_and_its_job_done_all_the_same(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("KILL", str(tmp_path / "kill"))
    (tmp_path / "kill").touch()
    for name in "ab":
        write_squares(folders[0] / f"{name}.mp4", 8)
    outcomes = run(folders)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert sorted(record.attempts for record in find_records(folders[1]).values()) == [1, 2]


def test_a_job_that_kills_its_workers_is_given_up(folders):
    write_squares(folders[0] / "a.mp4", 8)
    jobs = find_jobs([folders[0]], folders[1])
    (outcome,) = run_jobs(jobs, Request(CONFIG), local_workers(1), make_pipeline=deadly)
    assert outcome.state == "failed"
    assert outcome.error == f"{DIED}, {MAX_DEATHS} times"
    (record,) = find_records(folders[1]).values()
    assert (record.state, record.error, record.attempts) == ("failed", outcome.error, MAX_DEATHS)


def test_stopping_ends_what_is_under_way(folders):
    write_squares(folders[0] / "a.mp4", 100, seconds=0.5)
    write_squares(folders[0] / "b.mp4", 8)
    jobs = find_jobs([folders[0]], folders[1])
    begun = threading.Event()

    def stop():
        if any(record.frames for record in find_records(folders[1]).values()):
            begun.set()
        return begun.is_set()

    outcomes = run_jobs(jobs, Request(CONFIG), local_workers(1), make_pipeline=make_pipeline, stop=stop)
    assert [outcome.state for outcome in outcomes] == ["interrupted"]
    (record,) = find_records(folders[1]).values()
    assert record.state == "interrupted"


def test_devices_are_given_out_in_turn_and_threads_divided():
    workers = local_workers(3, ["cuda:0", "cuda:1"])
    assert [worker.device for worker in workers] == ["cuda:0", "cuda:1", "cuda:0"]
    assert local_workers(1)[0].device is None


def test_a_worker_that_died_idle_is_replaced_when_it_is_needed():
    worker = LocalWorker("1", threads=1)
    try:
        first = worker.submit(pid).result()
        worker.submit(kill_self)
        while (second := worker.submit(pid)) and second.exception() is not None:
            assert worker.died(second.exception())
        assert second.result() != first
    finally:
        worker.close()


def pid():
    import os

    return os.getpid()


def kill_self():
    import os

    os._exit(1)


def deadly(config):
    import os
    import time

    time.sleep(0.1)
    os._exit(9)
