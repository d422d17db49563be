"""One job: when it is done, skipped or refused, and what its record says."""

import json
import socket
import time
from dataclasses import replace

import pytest
from white_squares import SlowSquares, make_pipeline, write_squares

from fourd_humans.batch.jobs import find_jobs
from fourd_humans.batch.records import HEARTBEAT, STALE, BusyError, claimed, find_records, read_record, write_record
from fourd_humans.batch.work import Request, check_unchanged, work
from fourd_humans.config import apply_settings, default_config
from fourd_humans.errors import UsageError
from fourd_humans.pipeline import Pipeline
from fourd_humans.results import load_tracklets
from fourd_humans.run import track

CONFIG = apply_settings(default_config(), ["motion.predictor=hold"])


@pytest.fixture
def job(tmp_path):
    write_squares(tmp_path / "in" / "a.mp4", 12)
    return find_jobs([tmp_path / "in"], tmp_path / "out")[0]


def do(job, **options):
    return work(job, Request(CONFIG, **options), make_pipeline)


def test_a_job_leaves_results_and_a_record(job):
    assert do(job).state == "done"
    record = read_record(job.file(".json"))
    assert (record.state, record.frames, record.total, record.people, record.error) == ("done", 12, 12, 1, None)
    assert record.seconds.keys() >= {"reading", "detection", "recovery", "appearance", "tracking"}
    assert record.settings["tracking"]["max_age"] == CONFIG.tracking.max_age
    assert record.fingerprint.input[0] == job.source.stat().st_size
    assert record.elapsed > 0
    assert record.host == socket.gethostname()
    assert len(load_tracklets(job.file(".pkl")).frames) == 12
    assert not job.file(".lock").exists()


def test_what_is_done_is_skipped(job):
    do(job)
    before = job.file(".pkl").stat().st_mtime_ns
    assert do(job).state == "skipped"
    assert job.file(".pkl").stat().st_mtime_ns == before
    job.file(".pkl").unlink()
    assert do(job).state == "done", "unless its results are gone"


def test_overwrite_does_it_again_but_only_once_a_run(job):
    do(job)
    request = Request(CONFIG, overwrite=True)
    assert work(job, request, make_pipeline).state == "done"
    assert work(job, request, make_pipeline).state == "skipped", "another run with the same request has done it"


def test_other_settings_or_another_input_are_refused(job):
    do(job)
    request = Request(apply_settings(CONFIG, ["tracking.max_age=7"]))
    outcome = work(job, request, make_pipeline)
    assert outcome.state == "failed"
    assert "the settings changed" in outcome.error
    with pytest.raises(UsageError, match=r"a\.pkl \(the settings changed"):
        check_unchanged([job], request)
    check_unchanged([job], replace(request, overwrite=True))
    write_squares(job.source, 9)
    with pytest.raises(UsageError, match="the input changed"):
        check_unchanged([job], Request(CONFIG))
    assert read_record(job.file(".json")).frames == 12, "what is there stays"


def test_a_rendered_video_does_not_replace_its_source(tmp_path):
    write_squares(tmp_path / "a.mp4", 4)
    jobs = find_jobs([tmp_path / "a.mp4"], tmp_path)
    with pytest.raises(UsageError, match="would be replaced by its rendered video"):
        check_unchanged(jobs, Request(CONFIG, render=True, overwrite=True))
    check_unchanged(jobs, Request(CONFIG))


def test_the_device_and_what_is_not_drawn_change_nothing(job):
    do(job)
    other = apply_settings(CONFIG, ["device=cpu", "render.alpha=0.5"])
    assert work(job, Request(other), make_pipeline).state == "skipped"
    assert work(job, Request(other, render=True), make_pipeline).state == "failed"


def test_a_failure_is_recorded_and_not_repeated_unless_asked(job):
    good = job.source.read_bytes()
    job.source.write_bytes(b"")
    outcome = do(job)
    assert outcome.state == "failed"
    assert "a.mp4 is empty" in outcome.error
    record = read_record(job.file(".json"))
    assert (record.state, record.attempts, record.error) == ("failed", 1, outcome.error)
    assert do(job).record.attempts == 1
    assert do(job, retry_failed=True).record.attempts == 2
    job.source.write_bytes(good)
    assert do(job).state == "done", "a changed input is a new chance"


def test_results_without_a_record_are_not_replaced(job):
    job.folder.mkdir()
    job.file(".pkl").write_bytes(b"precious")
    assert do(job).state == "failed"
    assert job.file(".pkl").read_bytes() == b"precious"
    assert not job.file(".json").exists()


def test_a_file_that_is_no_record_is_not_replaced(job):
    job.folder.mkdir()
    job.file(".json").write_text('{"mine": 1}')
    assert "not the record of a job" in do(job).error
    assert json.loads(job.file(".json").read_text()) == {"mine": 1}
    assert find_records(job.folder) == {}


def test_a_job_is_done_by_one_at_a_time(job):
    with claimed(job):
        assert do(job).state == "busy"
    assert do(job).state == "done"


def test_another_machine_holds_a_job_as_long_as_it_gives_signs_of_life(job):
    do(job)
    record = read_record(job.file(".json"))
    record.state, record.host, record.heartbeat = "running", "elsewhere", time.time() - STALE / 2
    write_record(job.file(".json"), record)
    with pytest.raises(BusyError, match="elsewhere"), claimed(job):
        pass
    record.heartbeat = time.time() - STALE - 1
    write_record(job.file(".json"), record)
    assert do(job).state == "done"


def test_a_heartbeat_comes_much_more_often_than_it_may():
    assert HEARTBEAT * 10 < STALE


def test_a_job_that_was_killed_is_gone_on_with(job, monkeypatch):
    """What a killed worker leaves: a record that says running, partial results, and the state of the run."""
    monkeypatch.setattr("fourd_humans.saved_run.VIDEO_INTERVAL", 0.2)
    write_squares(job.source, 60)
    left = {}

    def track_and_look(*arguments, on_frame, **options):
        def look(frame):
            on_frame(frame)
            if frame.index == 40:
                left.update({path: path.read_bytes() for path in job.folder.iterdir() if path.suffix != ".lock"})

        return track(*arguments, on_frame=look, **options)

    with monkeypatch.context() as patch:
        patch.setattr("fourd_humans.batch.work.track", track_and_look)
        do(job)
    job.file(".pkl").unlink()
    for path, data in left.items():
        path.write_bytes(data)
    assert read_record(job.file(".json")).state == "running"

    squares = SlowSquares()
    config = CONFIG
    counted = Pipeline(config, detector=squares.detect, recovery=squares.recover, appearance=squares.texture)
    outcome = work(job, Request(config), lambda config: counted)
    assert (outcome.state, outcome.record.attempts, outcome.record.frames) == ("done", 2, 60)
    assert 0 < sum(squares.batches) < 40, "what was done before is not done again"
    assert load_tracklets(job.file(".pkl")).complete


def test_weights_are_part_of_what_a_job_was_done_with(job, monkeypatch):
    do(job)
    monkeypatch.setattr("fourd_humans.batch.work._weights", lambda config: "others")
    assert "the weights changed" in do(job).error
