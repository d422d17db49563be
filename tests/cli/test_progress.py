"""What a run prints about itself."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core import event

from fourd_humans.cli import progress as progress_module
from fourd_humans.cli.progress import COMPILING, CompileTimer, Progress, print_summary
from fourd_humans.people import Shot
from fourd_humans.run import TrackResult

SOURCE = SimpleNamespace(frame_count=20, name="walk")
FRAME = SimpleNamespace(seen=np.array([True, True, False]))


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_compiling_is_announced_and_does_not_count(clock, capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "LINE_INTERVAL", 0.5)
    with Progress(SOURCE) as progress:
        event.start_event("numba:compile")
        clock.seconds += 1
        event.start_event("numba:compile")  # a function that the first one calls
        clock.seconds += 28
        event.end_event("numba:compile")
        clock.seconds += 1
        event.end_event("numba:compile")
        for _ in range(10):
            clock.seconds += 0.25
            progress(FRAME)
            clock.seconds += 0.25
        event.start_event("numba:compile")
        clock.seconds += 10
        progress(FRAME)
        event.end_event("numba:compile")
        assert progress.compiling == 40
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == COMPILING
    assert lines[1] == "walk: frame 1 of 20, 2 people, 4.0 frames/s"
    assert lines[-1] == "walk: frame 11 of 20, 2 people, 2.2 frames/s, 4 s left"
    assert lines.count(COMPILING) == 1


def test_without_compiling_nothing_is_said_of_it(clock, capsys):
    with Progress(SOURCE) as progress:
        clock.seconds += 1
        progress(FRAME)
    with Progress(SOURCE, quiet=True):
        event.start_event("numba:compile")
        event.end_event("numba:compile")
    event.start_event("numba:compile")  # after the run
    event.end_event("numba:compile")
    assert capsys.readouterr().err == ""


def test_numba_tells_when_it_compiles():
    first = []
    with CompileTimer(lambda: first.append(True)) as timer:
        function = numba.njit(lambda x: x + 1)
        assert timer.seconds == 0
        function(1)
        seconds = timer.seconds
        assert seconds > 0.001
        function(2)
        assert timer.seconds == seconds
        assert first == [True]


def test_the_summary(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = TrackResult(
        Path("out/walk.pkl"), None, frames=20, skipped=1, people=Counter({1: 18, 2: 3}),
        rejected=Counter({"score below 0.15": 95, "smaller than 20x20 pixels": 2}), seconds={"tracking": 0.25},
        focal_length=1000.0, shots=[Shot(0, 19, None, "static")],
    )  # fmt: skip
    print_summary(result, elapsed=50.0, compiling=40.0)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "Frames 20 in 10.0 s, 2.0 frames/s, and 40.0 s compiling kernels",
        "Frames skipped 1; the results give the reason for each",
        "Camera focal length 1000 pixels; static, tilt unknown",
        "People 2",
        "Tracklets #1: 18 frames, #2: 3 frames",
        "Detections rejected 95 (score below 0.15), 2 (smaller than 20x20 pixels)",
        "Seconds tracking 0.2",
        "out/walk.pkl",
    ]
