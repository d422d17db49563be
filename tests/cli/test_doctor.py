"""The command ``doctor`` on this installation, and on ones that lack something."""

import json
from importlib.resources import files
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from fourd_humans import diagnosis
from fourd_humans.body.loading import import_smpl
from fourd_humans.checkpoints.store import folder_of, record
from fourd_humans.cli import main

OPEN_BODY = Path(str(files("fourd_humans.body") / "data")) / "open_body_neutral.npz"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def look(monkeypatch):
    """Run ``doctor`` with only some of its checks; returns the findings by name, and the exit code."""

    def look(*names):
        monkeypatch.setattr(diagnosis, "_CHECKS", {name: diagnosis._CHECKS[name] for name in names})
        answer = CliRunner().invoke(main, ["doctor", "--json"])
        report = json.loads(answer.output)
        assert report["ok"] == (answer.exit_code == 0)
        return {finding["name"]: finding for finding in report["findings"]}, answer.exit_code

    return look


def test_this_installation_works():
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 0, answer.output
    for name in ("Python", "PyTorch", "onnxruntime", "Video", "Open body", "Self test"):
        assert f"ok       {name} " in answer.output
    assert "4dhumans models download hmr2b" in answer.output
    assert "4dhumans models add-smpl" in answer.output


def test_a_broken_codec(look, monkeypatch):
    def no_codec(*_, **__):
        raise av.codec.codec.UnknownCodecError("libx264")

    monkeypatch.setattr(av, "open", no_codec)
    findings, exit_code = look("Video", "Python")
    assert exit_code == 1
    assert findings["Video"]["status"] == "broken"
    assert "libx264" in findings["Video"]["found"]
    assert findings["Python"]["status"] == "ok"


def test_a_changed_built_in_model(look, monkeypatch):
    monkeypatch.setattr(diagnosis, "BUILT_IN", {"config.py": "0" * 64})
    findings, exit_code = look("Built-in model")
    assert exit_code == 1
    assert "config.py has changed" in findings["Built-in model"]["found"]


def test_downloads_are_verified(look):
    folder = folder_of("vitdet-h")
    folder.mkdir(parents=True)
    weights = folder / "model_final_f05665.pkl"
    weights.write_bytes(b"weights")
    record(folder, {})
    assert look("Downloads")[0]["vitdet-h"]["status"] == "ok"
    weights.write_bytes(b"changed")
    findings, exit_code = look("Downloads")
    assert exit_code == 0  # the built-in model does without
    assert findings["vitdet-h"]["status"] == "missing"
    assert findings["vitdet-h"]["advice"] == "4dhumans models download vitdet-h --force"


def test_smpl_is_tried(look):
    assert look("Bodies")[0]["SMPL"]["status"] == "missing"
    path = import_smpl(OPEN_BODY, folder_of("smpl"))
    assert look("Bodies")[0]["SMPL"]["status"] == "ok"
    path.write_bytes(b"damaged")
    findings, exit_code = look("Bodies")
    assert exit_code == 0
    assert "add-smpl" in findings["SMPL"]["advice"]


def test_a_full_disk(look, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2e9}))
    assert "FOURD_HUMANS_HOME" in look("Disk")[0]["Disk"]["advice"]
