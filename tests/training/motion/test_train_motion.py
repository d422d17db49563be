"""The training command as a whole, on a few synthetic people."""

import sys

import pytest
import torch
from click.testing import CliRunner

from fourd_humans.cli import main
from fourd_humans.cli.train import LAYOUTS
from fourd_humans.motion.checkpoint import load_pose_transformer

TINY = {"width": 16, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16, "readout_width": 16, "dropout": 0.0}


@pytest.fixture(autouse=True)
def tiny_layouts(monkeypatch):
    for name, layout in LAYOUTS.items():
        monkeypatch.setitem(LAYOUTS, name, layout | TINY)


@pytest.fixture
def train(tmp_path, monkeypatch):
    training = pytest.importorskip("fourd_humans.training.motion.training", exc_type=ImportError)
    monkeypatch.setattr(training, "KERNEL_STEPS", 2)

    def run(*arguments, output=tmp_path / "run"):
        command = ["train", "motion", "--synthetic", "24", "--output", str(output), "--batch-size", "4", *arguments]
        return CliRunner().invoke(main, [*command, "--accelerator", "cpu", "--held-out", "0.2"]), output

    return run


@pytest.mark.parametrize(("layout", "logger"), [("lite", "csv"), ("released", "tensorboard")])
def test_training_writes_a_network_that_loads(layout, logger, train):
    result, output = train("--layout", layout, "--steps", "2", "--epoch-steps", "1", "--logger", logger)
    assert result.exit_code == 0, result.output
    exported = load_pose_transformer(output / "pose_transformer.safetensors")
    checkpoint = load_pose_transformer(output / "last.ckpt")
    torch.testing.assert_close(exported.mean, checkpoint.mean, rtol=1e-2, atol=1e-2)
    assert (exported.std > 0).all()
    assert exported.std.std() > 0
    assert exported.has_bottleneck == (layout == "released")
    assert list((output / "logs").rglob("metrics.csv" if logger == "csv" else "events.out.tfevents.*"))


def test_a_resumed_run_ends_where_an_unbroken_one_does(train, tmp_path):
    _, whole = train("--layout", "lite", "--steps", "4", "--epoch-steps", "2", output=tmp_path / "whole")
    options = ("--layout", "lite", "--steps", "4", "--epoch-steps", "2")
    resumed, part = train(*options, "--resume", str(next(whole.glob("step=2*.ckpt"))), output=tmp_path / "part")
    assert resumed.exit_code == 0, resumed.output
    one, other = (load_pose_transformer(run / "last.ckpt").state_dict() for run in (whole, part))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4)


def test_a_checkpoint_of_another_size_is_refused(train, tmp_path):
    _, run = train("--layout", "lite", "--steps", "1", "--epoch-steps", "1")
    result, _ = train("--layout", "plain", "--steps", "2", "--resume", str(run / "last.ckpt"), output=tmp_path / "b")
    assert result.exit_code == 1
    assert "last.ckpt does not fit" in result.output


def test_without_data_the_command_says_what_to_give(tmp_path):
    pytest.importorskip("lightning")
    result = CliRunner().invoke(main, ["train", "motion", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "--data" in result.output


def test_without_lightning_the_command_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lightning", None)
    result = CliRunner().invoke(main, ["train", "motion", "--synthetic", "1", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "fourd-humans[train]" in result.output
