import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fourd_humans.body.model import BodyModel
from fourd_humans.cli import main
from fourd_humans.evaluation.motion import AHEAD, GAPS, HISTORY, evaluate_motion, keep_turning, slerp
from fourd_humans.geometry.rotations import axis_angle_to_matrix
from fourd_humans.motion.checkpoint import load_pose_transformer
from fourd_humans.motion.clips import Clip, synthetic_clips


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


def spinning(frames, per_frame):
    """(frames, 229) of a person who turns about the vertical by so many radians every frame, in a T pose."""
    angles = torch.zeros(frames, 24, 3)
    angles[:, 0, 1] = per_frame * torch.arange(frames)
    return np.concatenate([axis_angle_to_matrix(angles).flatten(1).numpy(), np.zeros((frames, 13))], 1).astype(
        np.float32
    )


def test_simple_rules_are_exact_where_they_should_be():
    poses = spinning(60, 0.05)
    ahead = keep_turning(poses[None, :HISTORY], 10)
    np.testing.assert_allclose(ahead.reshape(1, 216), poses[None, HISTORY + 9, :216], atol=1e-5)
    filled = slerp(poses[None], 20, 40)
    np.testing.assert_allclose(filled.reshape(20, 216), poses[20:40, :216], atol=1e-5)


def test_the_error_is_the_distance_that_joints_move(body_model):
    poses = spinning(100, 0.02)
    rows = evaluate_motion([Clip(poses, np.ones(100, bool))], load_pose_transformer(), body_model)
    hold = {row.frames: row.errors["hold the last pose"] for row in rows if row.task == "ahead"}
    rest = body_model.J_template - body_model.J_template[0]
    radius = rest[:, [0, 2]].norm(dim=1).mean().item()
    for ahead in AHEAD:
        assert hold[ahead] == pytest.approx(1000 * 2 * np.sin(0.01 * ahead) * radius, rel=1e-3)
    turning = [row.errors["constant angular velocity"] for row in rows if row.task == "ahead"]
    assert max(turning) < 0.1


def test_only_stretches_that_were_seen_throughout_are_measured(body_model):
    poses = spinning(100, 0.02)
    seen = np.ones(100, bool)
    whole = evaluate_motion([Clip(poses, seen)], load_pose_transformer(), body_model)
    seen = seen.copy()
    seen[50] = False
    spoilt = poses.copy()
    spoilt[50] = np.nan
    rows = evaluate_motion([Clip(spoilt, seen)], load_pose_transformer(), body_model)
    for row, before in zip(rows, whole, strict=True):
        assert row.samples < before.samples
        assert all(np.isfinite(error) for error in row.errors.values())
    assert rows[-1].samples == 0
    assert rows[-1].errors == {}


@pytest.mark.slow
def test_the_built_in_network_beats_simple_rules_on_people_it_has_not_seen(body_model):
    rows = evaluate_motion(synthetic_clips(32, 128, seed=2_000_000), load_pose_transformer(), body_model)
    assert [row.frames for row in rows] == [*AHEAD, *GAPS]
    for row in rows:
        ours = row.errors.pop("transformer")
        assert ours < min(row.errors.values()), row


def test_command_prints_and_writes_the_table(tmp_path):
    table = tmp_path / "table.json"
    result = CliRunner().invoke(main, ["evaluate", "motion", "--synthetic", "2", "--json", str(table)])
    assert result.exit_code == 0, result.output
    rows = json.loads(table.read_text())["synthetic"]
    assert [(row["task"], row["frames"]) for row in rows] == [("ahead", n) for n in AHEAD] + [("gap", n) for n in GAPS]
    assert "transformer" in result.output


def test_command_without_data_says_what_to_give():
    result = CliRunner().invoke(main, ["evaluate", "motion"])
    assert result.exit_code == 2
    assert "--data" in result.output
