"""``4dhumans train actions`` and ``evaluate recoveries`` as a user meets them."""

import csv
import json

import joblib
import numpy as np
import pytest
from click.testing import CliRunner

from fourd_humans.actions.checkpoint import load_action_model
from fourd_humans.cli import main
from fourd_humans.results.store import ResultWriter

pytest.importorskip("lightning")
QUICK = ["--network", "lite", "--epochs", "1", "--accelerator", "cpu", "--devices", "1"]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def results(tmp_path, make_frame):
    folder = tmp_path / "results"
    folder.mkdir()
    with ResultWriter(folder / "clip.pkl") as writer:
        for index in range(30):
            writer.write(make_frame(index, time=index / 10, is_cut=False))
    return folder


@pytest.fixture
def tracklets(tmp_path):
    """Two people around AVA's second 902, one of whom walks and one stands."""
    folder = tmp_path / "tracklets"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for person, action in ((0, 14), (1, 12)):
        labels = np.zeros((20, 1, 80), np.int32)
        labels[:, 0, action - 1] = 1
        content = {
            "fid": np.arange(20.0).reshape(20, 1, 1), "pose_shape": rng.normal(size=(20, 1, 229)).astype(np.float32),
            "3d_joints": np.zeros((20, 1, 45, 3), np.float32), "camera": np.zeros((20, 1, 3), np.float32),
            "has_detection": np.ones((20, 1, 1)), "has_gt": np.full((20, 1, 1), 2), "action_label_gt": labels,
            "frame_name": [f"v/v_{j:06d}.jpg" for j in range(50, 70)], "frame_size": [[100, 200]] * 20,
            "frame_bbox": [np.array([20 + 100 * person, 10, 40, 80])] * 20, "frame_conf": [0.9] * 20,
        }  # fmt: skip
        joblib.dump(content, folder / f"ava-train_v_000060_{person}_20.pkl")
    return folder


def test_annotated_results_with_classes_of_ones_own(results, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("video,person,start,end,action\nclip,1,0,1,hop\nclip,1,1,2.5,skip\n")
    out = tmp_path / "run"
    result = run("train", "actions", "--data", results, "--labels", labels, "--recipe", "finetune", "--output", out,
                 "--held-out", 0, *QUICK)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 people to learn from, 0 held out, 2 actions" in result.output
    assert load_action_model(out / "actions.safetensors").classes.names == ("hop", "skip")
    recognised = run("actions", results / "clip.pkl", "--checkpoint", out / "last.ckpt", "--threshold", 0)
    assert recognised.exit_code == 0, recognised.output


def test_wrong_requests_are_one_line(results, tracklets, tmp_path):
    out = ["--output", tmp_path / "run"]
    labels = tmp_path / "labels.csv"
    labels.write_text("video,person,start,end,action\nclip,1,0,1,hop\n")
    classes = tmp_path / "classes.txt"
    classes.write_text("walk\nstand\n")
    for arguments, message in (
        ([], "give what to learn from"),
        (["--data", results], "--data needs --labels"),
        (["--data", results, "--labels", labels, "--classes", classes], "'hop' is not among the classes (walk, stand)"),
        (["--tracklets", results], "has no tracklet files"),
        (["--tracklets", tracklets, "--network", "full"], "hold no appearance features"),
    ):
        result = run("train", "actions", *arguments, *out)
        assert result.exit_code in (1, 2)
        assert message in result.output
        assert len(result.output.strip().splitlines()) == 1


def test_recoveries_are_judged_by_one_command(tracklets, tmp_path):
    ava = tmp_path / "ava"
    ava.mkdir()
    (ava / "ava_val_v2.2.csv").write_text("v,0902,0.1,0.1,0.3,0.9,14,0\nv,0902,0.6,0.1,0.8,0.9,12,1\n")
    items = "".join(f'item {{ name: "{name}" id: {number} }}\n' for name, number in (("stand", 12), ("walk", 14)))
    (ava / "two.pbtxt").write_text(items)
    out = tmp_path / "out"
    arguments = ["evaluate", "recoveries", ava, "--recovery", "one", tracklets, tracklets, "--recovery", "two",
                 tracklets, tracklets, "-o", out, "--classes", ava / "two.pbtxt", *QUICK]  # fmt: skip
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "recoveries.json").read_text())["rows"]
    assert [row["recovery"] for row in rows] == ["one", "two"]
    assert rows[0] | {"recovery": ""} == rows[1] | {"recovery": ""}  # the same poses, the same seed
    assert 0 < rows[0]["all"] <= 1
    assert rows[0]["PM"] == rows[0]["all"]
    predicted = list(csv.reader((out / "one" / "predictions.csv").open()))
    assert len(predicted) == 2 * 2
    written = (out / "one" / "actions.safetensors").stat().st_mtime_ns
    assert run(*arguments).exit_code == 0
    assert (out / "one" / "actions.safetensors").stat().st_mtime_ns == written
    bad = run("evaluate", "recoveries", ava, "--recovery", "one", tmp_path / "no", tracklets, "-o", out)
    assert "there is no folder" in bad.output


def test_results_are_judged_with_annotations(results, make_frame, tmp_path):
    ava = tmp_path / "ava"
    ava.mkdir()
    height, width = 72, 128
    frame = make_frame(10)
    box = frame.detections.boxes[0] / [width, height, width, height]
    row = "clip,0001," + ",".join(f"{value:.4f}" for value in box) + ",14"
    (ava / "ava_val_v2.2.csv").write_text(row + ",0\n")
    (tmp_path / "train.csv").write_text(row + "\n")
    result = run("evaluate", "recoveries", ava, "--recovery", "own", results, results, "-o", tmp_path / "out",
                 "--labels", tmp_path / "train.csv", *QUICK)  # fmt: skip
    assert result.exit_code == 0, result.output
    (entry,) = json.loads((tmp_path / "out" / "recoveries.json").read_text())["rows"]
    assert entry["all"] == 1.0
