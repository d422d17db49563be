"""The command ``models``, from its users' side."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fourd_humans.checkpoints.catalogue import ENTRIES, PAPER
from fourd_humans.cli import main
from fourd_humans.cli import models as models_module

OPEN_BODY = Path(str(files("fourd_humans.body") / "data")) / "open_body_neutral.npz"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def run(home):
    return lambda *arguments: CliRunner().invoke(main, ["models", *map(str, arguments)])


@pytest.fixture
def cache(tmp_path):
    """Files of the pose predictor, as the released code keeps them."""
    for name in ("weights/pose_predictor_40006.ckpt", "weights/config_40006.yaml", "3D/mean_std.npy"):
        path = tmp_path / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "cache"


def test_lists_everything_with_its_status(run, cache):
    listed = run("list")
    assert listed.exit_code == 0
    for entry in ENTRIES.values():
        assert entry.name in listed.output
        assert entry.licence in listed.output
        assert entry.source in listed.output
    assert "not installed" in listed.output
    assert " installed  " not in listed.output.replace("not installed", "")

    assert run("download", "pose-predictor", "--from", cache).exit_code == 0
    described = {entry["name"]: entry for entry in json.loads(run("list", "--json").output)}
    assert described["pose-predictor"]["status"] == "installed"
    assert described["hmr2b"]["status"] == "not installed"
    assert described["smpl"]["status"] == "not installed"


def test_installs_verifies_and_gives_the_path(run, cache):
    installed = run("download", "pose-predictor", "--from", cache)
    assert installed.exit_code == 0
    assert "licence: " in installed.output
    assert run("verify").exit_code == 0
    path = Path(run("path", "pose-predictor").output.strip())
    assert path.read_bytes() == b"weights/pose_predictor_40006.ckpt"

    path.write_bytes(b"changed")
    verified = run("verify", "pose-predictor")
    assert verified.exit_code == 1
    assert "4dhumans models download pose-predictor --force" in verified.output
    assert "is installed; --force" in run("download", "pose-predictor", "--from", cache).output
    assert run("download", "pose-predictor", "--from", cache, "--force").exit_code == 0
    assert run("verify", "pose-predictor").exit_code == 0


def test_without_names_everything_of_the_published_system_is_installed(run, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    for name in PAPER:
        for file in (file for download in ENTRIES[name].downloads for file in download.stored):
            (folder / file).write_bytes(file.encode())
    result = run("download", "--from", folder)
    assert result.exit_code == 0, result.output
    status = {entry["name"]: entry["status"] for entry in json.loads(run("list", "--json").output)}
    assert {name for name, is_installed in status.items() if is_installed == "installed"} == set(PAPER)
    assert set(PAPER) == {"hmr2b", "vitdet-h", "pose-predictor", "texture-encoder", "smpl-texture"}


def test_paths(run, home):
    assert run("path").output.strip() == str(home)
    missing = run("path", "hmr2b")
    assert missing.exit_code == 1
    assert "4dhumans models download hmr2b" in missing.output
    assert "add-smpl" in run("path", "smpl").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["download", "hmr3"], "there is no model 'hmr3'; there are hmr2b"),
        (["download", "smpl"], "add-smpl"),
        (["path", "hmr3"], "there is no model 'hmr3'"),
        (["download", "hmr2b", "--from", "nowhere"], "nowhere is not a folder"),
        (["download", "hmr2b", "--from", ".", "--mirror", "http://127.0.0.1"], "not both"),
        (["download", "hmr2b", "--mirror", "ftp://127.0.0.1"], "not a http"),
    ],
)
def test_wrong_requests(run, arguments, said):
    answer = run(*arguments)
    assert answer.exit_code == 2
    assert said in answer.output


def test_a_server_that_cannot_be_reached(run, monkeypatch):
    monkeypatch.setattr("fourd_humans.checkpoints.download.ATTEMPTS", 1)
    answer = run("download", "hmr2b", "--mirror", "http://127.0.0.1:9/models")
    assert answer.exit_code == 1
    assert "http://127.0.0.1:9/models/hmr2_data.tar.gz" in answer.output
    assert "--from FOLDER" in answer.output


def test_adds_smpl_and_the_regressor_that_belongs_to_it(run, home, tmp_path):
    added = run("add-smpl", OPEN_BODY)  # SMPL-shaped, which is all that is asked for
    assert added.exit_code == 0, added.output
    assert run("path", "smpl").output.strip() == str(home / "models" / "smpl" / "SMPL_NEUTRAL.npz")

    regressor = np.zeros((19, 6890), np.float32)
    regressor[:, 0] = 1
    downloaded = home / "models" / "hmr2b" / "SMPL_to_J19.pkl"
    downloaded.parent.mkdir(parents=True)
    downloaded.write_bytes(regressor.dumps())
    assert "SMPL_to_J19.npz" in run("add-smpl", OPEN_BODY).output
    assert (home / "models" / "smpl" / "SMPL_to_J19.npz").is_file()


def test_refuses_what_is_not_smpl(run, tmp_path, home):
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    refused = run("add-smpl", tmp_path / "evil.pkl")
    assert refused.exit_code == 1
    assert "os.system" in refused.output
    assert not (home / "models" / "smpl" / "SMPL_NEUTRAL.npz").exists()


def test_lists_without_loading_torch():
    code = (
        "import sys; from fourd_humans.cli import main\n"
        "try: main(['models', 'list'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_every_command_has_help(run):
    for name in models_module.models.commands:
        assert run(name, "--help").exit_code == 0
