"""``4dhumans track`` with many sources, and ``4dhumans status``."""

import pytest
from click.testing import CliRunner
from thread_worker import ThreadWorker
from white_squares import SquaresPipeline, make_pipeline, write_squares

from fourd_humans.cli import main


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command in a folder with two videos and a broken one; jobs are done in threads, on white squares."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fourd_humans.batch.workers.local_workers", lambda *a: [ThreadWorker("1")])
    monkeypatch.setattr("fourd_humans.batch.work.loaded", lambda make, config: make_pipeline(config))
    for name in ("a", "deep/b"):
        write_squares(tmp_path / "videos" / f"{name}.mp4", 8)
    (tmp_path / "videos" / "broken.mp4").touch()

    def call(*arguments):
        settings = ["--set", "motion.predictor=hold"] if arguments[0] == "track" else []
        return CliRunner().invoke(main, [*arguments, *settings])

    return call


def test_many_videos(call, tmp_path):
    result = call("track", "videos", "--recursive")
    assert result.exit_code == 1, result.output
    assert "2 done" in result.output
    assert "failed: videos/broken.mp4: videos/broken.mp4 is empty" in result.output
    assert (tmp_path / "outputs" / "deep" / "b.pkl").exists()
    assert (tmp_path / "outputs" / "failed.txt").read_text().splitlines()[-1] == "videos/broken.mp4"

    again = call("track", "videos", "--recursive")
    assert again.exit_code == 1
    assert "2 skipped" in again.output

    write_squares(tmp_path / "videos" / "broken.mp4", 8)
    fixed = call("track", "--list", "outputs/failed.txt")
    assert fixed.exit_code == 0, fixed.output
    assert not (tmp_path / "outputs" / "failed.txt").exists()

    table = call("status", "outputs")
    assert table.exit_code == 0
    assert "3 jobs: 3 done" in table.output
    assert "deep/b" in table.output


def test_a_dry_run_lists_the_jobs_and_does_nothing(call, tmp_path):
    result = call("track", "videos", "--recursive", "--dry-run", "--shard", "2/2")
    assert result.output.splitlines() == ["videos/broken.mp4 -> outputs/broken.pkl", "1 jobs"]
    assert not (tmp_path / "outputs").exists()


def test_a_device_that_no_worker_can_have_is_a_mistake(call, tmp_path):
    result = call("track", "videos", "--devices", "cuda:0,meta")
    assert result.exit_code == 2
    assert "--devices" in result.output
    assert "'meta'" in result.output
    assert not (tmp_path / "outputs").exists()


def test_the_shard_is_that_of_the_slurm_task(call, monkeypatch):
    for key, value in {"ID": "0", "MIN": "0", "COUNT": "3"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{key}", value)
    assert "1 jobs" in call("track", "videos", "--recursive", "--dry-run").output
    assert "3 jobs" in call("track", "videos", "--recursive", "--dry-run", "--shard", "1/1").output
    assert "videos/a.mp4" in call("track", "videos/a.mp4", "--dry-run").output, "one source is never left out"


def test_changed_settings_are_refused_before_anything_starts(call, tmp_path):
    call("track", "videos")
    (tmp_path / "outputs" / "failed.txt").unlink()
    result = call("track", "videos", "--recursive", "--fov", "60")
    assert result.exit_code == 2
    assert "the settings changed" in result.output
    assert not (tmp_path / "outputs" / "deep").exists()


@pytest.mark.parametrize("arguments", [("track",), ("track", "nowhere"), ("status", "nowhere"), ("status", "videos")])
def test_nothing_to_do_is_a_mistake(call, arguments):
    result = call(*arguments)
    assert result.exit_code == 2, result.output


def test_a_finished_run_has_nothing_to_go_on_with(call, tmp_path, monkeypatch):
    monkeypatch.setattr("fourd_humans.pipeline.Pipeline", SquaresPipeline)
    video = str(tmp_path / "videos" / "a.mp4")
    assert call("track", video, "--resume").exit_code == 0, "nor has one that is not begun"
    again = call("track", video, "--resume")
    assert again.exit_code == 0, again.output
    assert "nothing to go on with" in again.output
    assert call("track", video).exit_code == 2, "without the option it is refused"
