"""``4dhumans actions`` as a user meets it."""

import csv
import dataclasses
import json

import joblib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.checkpoint import ActionModel, load_action_model, save_action_model
from fourd_humans.actions.classes import ava_classes
from fourd_humans.cli import main
from fourd_humans.results.store import ResultWriter

SMALL = {"width": 8, "depth": 1, "heads": 2, "head_width": 4, "mlp_width": 8, "frames": 125, "people": 5, "kinetics": 0}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    save_action_model(ActionModel(ActionTransformer(**SMALL), ava_classes(), SMALL, 2), path)
    return path


@pytest.fixture
def results(tmp_path, make_frame):
    """Forty frames at 10 a second, in which person 1 is seen."""
    path = tmp_path / "clip.pkl"
    with ResultWriter(path) as writer:
        for index in range(40):
            writer.write(make_frame(index, time=index / 10, is_cut=False))
    return path


def run(*arguments):
    return CliRunner().invoke(main, ["actions", *map(str, arguments)])


def complains(result, code, *words):
    assert result.exit_code == code, result.output
    message = result.output.strip().removeprefix("Error: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_files_say_who_does_what_when(results, checkpoint, tmp_path):
    features, with_actions = tmp_path / "tokens.npz", tmp_path / "clip_with.pkl"
    result = run(results, "--checkpoint", checkpoint, "--threshold", 0, "--top", 2, "--every", 5, "--format",
                 "csv,json,ava", "--features", features, "--results", with_actions)  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "clip_actions.csv").open()))
    assert len(rows) == 2 * 8
    assert {row["person"] for row in rows} == {"1"}
    assert rows[0]["action"] in ava_classes().names
    content = json.loads((tmp_path / "clip_actions.json").read_text())
    assert content["settings"]["checkpoint"] == "small.safetensors"
    assert content["people"][0]["seconds"] == pytest.approx(4.0)
    assert len((tmp_path / "clip_actions_ava.csv").read_text().splitlines()) == 4 * 60
    with np.load(features) as saved:
        assert saved["tokens"].shape == (118, 8)
        assert saved["logits"].shape == (118, 60)
    entries = joblib.load(with_actions)
    last = list(entries.values())[35]
    assert [len(strings) for strings in last["label"].values()] == [3]
    assert last["ava_action"][1].shape == (1, 60)
    before = list(joblib.load(results).values())[35]
    np.testing.assert_array_equal(last["smpl"][0]["body_pose"], before["smpl"][0]["body_pose"])


def test_thresholds_by_action(results, checkpoint, tmp_path):
    limits = tmp_path / "limits.yaml"
    limits.write_text("default: 1.0\nwalk: 0.0\n")
    assert run(results, "--checkpoint", checkpoint, "--threshold", limits).exit_code == 0
    rows = list(csv.DictReader((tmp_path / "clip_actions.csv").open()))
    assert {row["action"] for row in rows} == {"walk"}
    limits.write_text("fly: 0.5\n")
    complains(run(results, "--checkpoint", checkpoint, "--threshold", limits, "--overwrite"), 2, "no action 'fly'")
    complains(run(results, "--threshold", "high"), 2, "--threshold is neither")


def test_wrong_requests_are_one_line(results, checkpoint, tmp_path):
    complains(run(tmp_path / "no.pkl"), 2, "there is no file")
    complains(run(results, "--checkpoint", checkpoint, "--only", 9), 2, "there is no person 9", "there is 1, 2, 3")
    complains(run(results, "--checkpoint", checkpoint, "--people", 6), 2, "at most 125 frames and 5 people")
    complains(run(results, "--format", "xml"), 2, "--format takes some of csv, json, ava")
    complains(run(results, "--checkpoint", results), 1, "clip.pkl")
    assert run(results, "--checkpoint", checkpoint).exit_code == 0
    complains(run(results, "--checkpoint", checkpoint), 2, "exists; use --overwrite")
    complains(run(tmp_path, "--format", "ava"), 2, "has no tracklet files")


def test_results_without_people_and_of_one_frame(checkpoint, tmp_path, make_frame):
    frame = make_frame(0)
    for name, frames in (("empty", [make_frame(0, count=0)]), ("one", [dataclasses.replace(frame, is_cut=False)])):
        path = tmp_path / f"{name}.pkl"
        with ResultWriter(path) as writer:
            for each in frames:
                writer.write(each)
        result = run(path, "--checkpoint", checkpoint, "--threshold", 0, "--format", "csv,json,ava")
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / f"{name}_actions.json").read_text())
        assert len(content["people"]) == (name == "one")


def test_the_built_in_network_needs_nothing(results, tmp_path):
    result = run(results, "--threshold", 0)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "clip_actions.csv").open()))
    assert len(rows) == 3 * 40
    assert {row["action"] for row in rows} <= set(load_action_model().classes.names)
