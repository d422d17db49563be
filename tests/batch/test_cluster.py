"""Jobs on a Ray cluster of two nodes, both on this machine."""

import os
import threading
import time

import joblib
import pytest
from white_squares import make_pipeline, write_squares

from fourd_humans.batch.jobs import find_jobs
from fourd_humans.batch.records import find_records
from fourd_humans.batch.scheduling import run_jobs
from fourd_humans.batch.split import Part, SplitObserver
from fourd_humans.batch.work import Request
from fourd_humans.config import apply_settings, default_config
from fourd_humans.errors import UsageError
from fourd_humans.run import track

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
CONFIG = apply_settings(default_config(), ["motion.predictor=hold"])


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    from ray.cluster_utils import Cluster

    folders = [os.getcwd(), os.path.dirname(__import__("white_squares").__file__)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def workers(count=2):
    from fourd_humans.batch.cluster import RayWorker

    return [RayWorker(ray, f"ray {number}") for number in range(count)]


def jobs(tmp_path, count, frames=8, seconds=0.0):
    for number in range(count):
        write_squares(tmp_path / "in" / f"{number}.mp4", frames, seconds=seconds)
    return find_jobs([tmp_path / "in"], tmp_path / "out")


def test_a_node_that_is_lost_costs_only_what_it_was_at(cluster, tmp_path):
    found = jobs(tmp_path, 8, frames=40, seconds=0.3)
    finished = {}

    def kill():
        while sum(record.state == "done" for record in find_records(tmp_path / "out").values()) < 3:
            time.sleep(0.2)
        finished.update({p: r.attempts for p, r in find_records(tmp_path / "out").items() if r.state == "done"})
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = run_jobs(found, Request(CONFIG), workers(), make_pipeline=make_pipeline)
    killer.join()
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert len(outcomes) == 8
    records = find_records(tmp_path / "out")
    assert {path: records[path].attempts for path in finished} == finished, "what was finished is not done again"
    assert sum(record.attempts for record in records.values()) <= 10
    assert all(len(joblib.load(job.file(".pkl"))) == 40 for job in found)


def test_results_are_written_back_where_no_folder_is_shared(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr("fourd_humans.batch.cluster.RayWorker._sees", lambda self, folder: False)
    found = jobs(tmp_path, 2)
    outcomes = run_jobs(found, Request(CONFIG, render=True), workers(), make_pipeline=make_pipeline)
    assert {outcome.state for outcome in outcomes} == {"done"}
    for job in found:
        assert len(joblib.load(job.file(".pkl"))) == 8
        assert job.file(".mp4").exists()
    assert {record.frames for record in find_records(tmp_path / "out").values()} == {8}


def test_one_video_on_the_cluster(cluster, tmp_path):
    video = write_squares(tmp_path / "squares.mp4", 80)
    pipeline = make_pipeline(CONFIG)
    track(video, tmp_path / "whole", pipeline=pipeline)
    observe = SplitObserver(workers(), Part(video, None, None), CONFIG, make_pipeline)
    track(video, tmp_path / "split", pipeline=pipeline, observe=observe)
    one, two = (joblib.load(tmp_path / name / "squares.pkl") for name in ("whole", "split"))
    assert repr(one) == repr(two)


def test_a_source_taken_for_an_address(tmp_path):
    from fourd_humans.batch.cluster import connect

    with pytest.raises(UsageError, match="--ray=auto"):
        connect(str(tmp_path))
