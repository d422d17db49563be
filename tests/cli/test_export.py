"""The command ``4dhumans export``."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fourd_humans.cli import main

RESULTS = Path(__file__).parents[1] / "data" / "exports" / "walk.pkl"


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: object):
        return CliRunner().invoke(main, ["export", *map(str, arguments)])

    return invoke


def test_it_writes_and_says_what(run, tmp_path):
    done = run(RESULTS, "--to", "glb, mot", "-o", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / "new" / name) for name in ("walk.glb", "walk_mot.txt")]


def test_files_lie_beside_the_results(run, tmp_path):
    partial = tmp_path / "killed.pkl.partial"
    partial.write_bytes(RESULTS.read_bytes()[:150_000])
    done = run(partial, "--to", "trc", "--people", "1", "-q")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "killed_person_1.trc").is_file()


def test_options_reach_the_formats(run, tmp_path):
    pytest.importorskip("trimesh")
    done = run(RESULTS, "--to", "obj,phalp", "--frames", "60,63", "--openpose", "--seen", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"walk_000060.obj", "walk_000063.obj", "walk_phalp.pkl"}


def test_fps_is_the_rate_of_results_without_times(run, tmp_path):
    """Those of the released code: they are not resampled from a rate that they do not have."""
    assert run(RESULTS, "--to", "phalp", "-o", tmp_path).exit_code == 0
    done = run(tmp_path / "walk_phalp.pkl", "--to", "trc", "--people", "1", "--fps", "25")
    assert done.exit_code == 0, done.output
    header = (tmp_path / "walk_phalp_person_1.trc").read_text().splitlines()[2]
    assert header.split("\t")[:3] == ["25", "25", "226"]  # the video's frames 0 to 225, of which every third is there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "gbl"], "there is no format 'gbl'"),
        (["--to", "glb", "--people", "one"], "--people takes whole numbers"),
        (["--to", "glb", "--people", "9"], "there is no person 9; there are 1, 2"),
        (["--to", "glb", "--fps", "0"], "--fps"),
        (["--to", "glb", "--start", "noon"], "in a video: give a frame number"),
        (["--to", "phalp", "--pictures", "missing.mp4"], "there is no file or folder missing.mp4"),
    ],
)
def test_mistakes_are_told_in_a_line(run, tmp_path, arguments, message):
    done = run(RESULTS, *arguments, "-o", tmp_path)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_missing_results(run, tmp_path):
    done = run(tmp_path / "none.pkl", "--to", "glb")
    assert done.exit_code == 2
    assert "there is no file" in done.output
