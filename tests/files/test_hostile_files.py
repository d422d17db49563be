"""Files from strangers do no more than fail with one line: no reader crashes, runs code, or takes more than it may."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_files import MARKER, cases

PROGRAM = Path(__file__).with_name("read_hostile_files.py")


def read_all(folder: Path, large: bool) -> list[dict[str, object]]:
    """What became of every file. A reader that crashes or takes too long ends the process; the next one goes on."""
    found: list[dict[str, object]] = []
    name = ""
    first = 0
    while True:
        command = [sys.executable, str(PROGRAM), str(folder), str(first), str(int(large))]
        environment = os.environ | {"PYTHONPATH": str(PROGRAM.parents[2]), "OMP_NUM_THREADS": "1"}
        process = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
        for line in map(json.loads, process.stdout.splitlines()):
            if "name" in line:
                name, first = line["name"], line["number"] + 1
            else:
                found.append(line | {"name": name})
        if process.returncode == 0:
            return found
        assert process.returncode < 0, process.stderr[-2000:]
        found.append(
            {"name": name, "outcome": f"ended by signal {-process.returncode}", "message": "", "refused": True}
        )


def check(folder: Path, large: bool) -> None:
    found = read_all(folder, large)
    wrong = {
        line["name"]: (line["outcome"], line["message"])
        for line in found
        if line["outcome"] not in ("read", "refused")
        or (line["outcome"] == "read" and line["refused"])
        or not str(line["message"]).isprintable()
        or len(str(line["message"])) > 600
    }
    assert not wrong
    assert not list(folder.rglob(MARKER))
    assert sum(line["outcome"] == "refused" for line in found) > 500


@pytest.mark.skipif(sys.platform != "linux", reason="limits are set, and memory is read, as Linux has it")
def test_every_reader_survives_every_file(tmp_path):
    check(tmp_path, large=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits are set, and memory is read, as Linux has it")
def test_every_reader_survives_bombs(tmp_path):
    check(tmp_path, large=True)


def test_the_files_are_distinct():
    files = [(case.reader, case.suffix, case.data) for case in cases(large=False)]
    assert len(set(files)) > 700
