"""The command ``4dhumans view``."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from fourd_humans.cli import main

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "data" / "exports" / "walk.pkl"
VIDEO = ROOT / "demo_videos" / "walk.mp4"
PART = ("--start", "0", "--end", "9")


@pytest.fixture
def run():
    def invoke(*arguments: object):
        return CliRunner().invoke(main, ["view", *map(str, arguments)])

    return invoke


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8")).group(1))


def test_the_page_lies_beside_the_results(run, tmp_path):
    results = tmp_path / "killed.pkl.partial"
    results.write_bytes(RESULTS.read_bytes())
    done = run(results, *PART, "--people", "1")
    assert done.exit_code == 0, done.output
    page = tmp_path / "killed.html"
    assert done.stdout.startswith(f"{page}: ")
    data = data_of(page)
    assert data["title"] == "killed"
    assert data["frames"] == [0, 3, 6]
    assert [person["id"] for person in data["people"]] == [1]


def test_a_linked_video_is_found_from_the_page(run, tmp_path):
    video = tmp_path / "videos" / "a b#c.mp4"
    video.parent.mkdir()
    shutil.copy(ROOT / "demo_videos" / "two_people.mp4", video)
    done = run(RESULTS, video, "--link-video", *PART, "-o", tmp_path / "pages" / "a.html", "-q")
    assert (done.exit_code, done.output) == (0, "")
    linked = data_of(tmp_path / "pages" / "a.html")["video"]
    assert (linked["source"], linked["embedded"]) == ("./../videos/a%20b%23c.mp4", False)


def test_actions_are_shown(run, tmp_path):
    rows = ["frame,time,person,number,action,score", "0,0.0,1,3,walk,0.92", "3,0.1,1,3,walk,0.94"]
    (tmp_path / "actions.csv").write_text("\n".join(rows))
    done = run(RESULTS, *PART, "--actions", tmp_path / "actions.csv", "-o", tmp_path / "a.html")
    assert done.exit_code == 0, done.output
    assert data_of(tmp_path / "a.html")["people"][0]["labels"] == [[0, 1, "walk"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--people", "9"], "there is no person 9; there are 1, 2"),
        (["--people", "one"], "--people takes whole numbers"),
        (["--link-video"], "--link-video takes a VIDEO"),
        ([VIDEO, "--link-video", "--serve"], "--link-video takes a VIDEO, and a page that is written"),
        (["--serve", "-o", "a.html"], "--serve writes no page"),
        (["--level", "up"], "level"),
        (["missing.mp4"], "there is no file or folder missing.mp4"),
        (["-o", RESULTS, "--overwrite"], "is an input"),
        ([VIDEO, "-o", VIDEO, "--overwrite"], "is an input"),
    ],
)
def test_wrong_requests(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    output = [] if "-o" in arguments or "--serve" in arguments else ["-o", "page.html"]
    done = run(RESULTS, *arguments, *output)
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not list(tmp_path.iterdir())


def test_a_page_that_exists_is_not_replaced(run, tmp_path):
    page = tmp_path / "a.html"
    page.write_text("mine")
    done = run(RESULTS, *PART, "-o", page)
    assert done.exit_code == 2
    assert "use --overwrite" in done.output
    assert page.read_text() == "mine"
    assert run(RESULTS, *PART, "-o", page, "--overwrite").exit_code == 0
    assert page.read_text() != "mine"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends an interrupt")
def test_serving_until_interrupted():
    command = [sys.executable, "-m", "fourd_humans", "view", RESULTS, VIDEO, *PART, "--serve", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}video", timeout=20) as response:
            assert response.read() == VIDEO.read_bytes()
        with urllib.request.urlopen(url, timeout=20) as response:
            assert b'"source":"video"' in response.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
