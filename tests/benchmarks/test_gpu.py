"""The benchmark of the paper model, with small networks on the CPU: every part of it runs, without a video library."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gpu import run_tests, tables, union

ROOT = Path(__file__).parents[2]


def test_spans_are_counted_once():
    assert union([(5, 7), (0, 2), (1, 3), (6, 6.5)]) == 5
    assert union([]) == 0


def test_tables_of_what_was_measured_say_what_was_not():
    stages = {"detection": 40.0, "tracking": 200.0}
    results = {
        "device": "cuda (a card)", "torch": "2", "cores": 16, "small": False, "errors": {"tests": "…\nNo pytest"},
        "ours": {"3": {"frames_per_second": 30.0, "busy": 0.9, "tflops": 200.0, "stages": stages}},
        "straightforward": {}, "variants": {"head_precision=float16": {"frames_per_second": 40.0, "memory_gib": 20.0}},
    }  # fmt: skip
    text = tables(results)
    assert "| 3 | 30.00 | – | – | 90% | 200.0 | – | – |" in text
    assert "| 3 people | 40.0 | 200.0 |" in text
    assert "| default | 30.00 | |\n| head_precision=float16 | 40.00 | 20.0 |" in text
    assert "Failed: tests: No pytest" in text


def test_tests_that_cannot_be_run_are_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="pytest ended with 1"):
        run_tests()


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path):
    output = tmp_path / "small.json"
    arguments = ["--small", "--device", "cpu", "--frames", "6", "--people", "1", "3", "--output", str(output)]
    code = f"import sys; sys.modules['av'] = None; import gpu; gpu.main({arguments})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    assert not results["errors"]
    for chain in (results["ours"], results["straightforward"]):
        assert chain.keys() == {"1", "3"}
        assert all(found["frames_per_second"] > 0 for found in chain.values())
        assert {"detection", "recovery", "appearance", "tracking", "rendering"} <= chain["3"]["stages"].keys()
    assert results["variants"]["head_precision=float16"]["frames_per_second"] > 0
    assert results["differences"]["float32"]["joint max"] < 0.01
    assert results["differences"]["float32"]["box max"] < 0.01 < results["differences"]["bfloat16"]["box max"] < 10
    assert 0 < results["differences"]["bfloat16"]["joint max"] < 20
    assert "| 3 people |" in done.stdout
