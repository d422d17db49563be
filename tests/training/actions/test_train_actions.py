import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.checkpoint import load_action_model
from fourd_humans.actions.classes import checked
from fourd_humans.actions.inference import score_tracks
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.errors import FourDHumansError
from fourd_humans.training.actions.data import Example
from fourd_humans.training.actions.training import (
    RECIPES,
    ActionTraining,
    Recipe,
    parameter_groups,
    train_actions,
)

pytest.importorskip("lightning")
DATA = Path(__file__).parents[2] / "data" / "actions"
SMALL = {"width": 24, "depth": 2, "heads": 2, "head_width": 8, "mlp_width": 32, "frames": 40, "people": 2,
         "dropout": 0.1, "drop_path": 0.1, "kinetics": 0}  # fmt: skip
CLASSES = checked(["stand", "walk", "wave"])
QUICK = Recipe(learning_rate=3e-3, epochs=2, warm_up=1, batch_size=2, average=0.9, least_label=2)
ON_CPU = {"accelerator": "cpu", "devices": 1, "progress": False, "people": 2, "frames": 40}


@pytest.fixture(scope="module")
def examples():
    """Six tracklets of random motion, each of which changes its action half way."""
    rng = np.random.default_rng(0)
    tracks = []
    for i in range(6):
        poses = np.cumsum(rng.normal(0, 0.2, (40, 229)), 0).astype(np.float32)
        labels = np.zeros((40, 3), np.float32)
        labels[:20, i % 3] = labels[20:, (i + 1) % 3] = 1
        detected = rng.random(40) > 0.1
        tracks.append(ActionTrack(i, 0, poses, np.zeros((40, 135), np.float32), detected, None, labels, np.full(40, 2)))
    return [Example(track, tuple(other for other in tracks if other is not track)) for track in tracks]


def trained(examples, output, recipe=QUICK, **options):
    return train_actions(examples, examples[:2], SMALL, CLASSES, recipe, output, **ON_CPU, **options)


@pytest.mark.slow
def test_six_tracklets_are_learnt_by_heart(examples, tmp_path):
    recipe = replace(QUICK, epochs=120, warm_up=5, batch_size=6, mask_ratio=0.2, learning_rate=5e-3, average=0.95)
    model = load_action_model(trained(examples, tmp_path, recipe))
    right = total = 0
    for scored in score_tracks(model.network, [e.track for e in examples], step=40, margin=0, people=2):
        shown = scored.track.detected
        right += (scored.logits.argmax(1) == scored.track.labels.argmax(1))[shown].sum()
        total += shown.sum()
    assert right / total > 0.97


def test_what_is_written_can_be_used(examples, tmp_path):
    path = trained(examples, tmp_path)
    model, checkpoint = load_action_model(path), load_action_model(tmp_path / "last.ckpt")
    assert model.classes == checkpoint.classes == CLASSES
    assert model.people == 2
    for name, tensor in checkpoint.network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)  # half precision
    poses = np.concatenate([e.track.poses[e.track.detected] for e in examples])
    np.testing.assert_allclose(checkpoint.network.mean, poses.mean(0), atol=0.5)


def test_resuming_gives_the_very_same_weights(examples, tmp_path):
    whole = torch.load(trained(examples, tmp_path / "whole").with_name("last.ckpt"), weights_only=True)
    trained(examples, tmp_path / "part", replace(QUICK, epochs=1))
    # the first half as the whole run had it, whose schedule is longer
    first = tmp_path / "whole" / "epoch=0.ckpt"
    assert first.is_file()
    trained(examples, tmp_path / "rest", resume=first)
    rest = torch.load(tmp_path / "rest" / "last.ckpt", weights_only=True)
    assert rest["epoch"] == whole["epoch"]
    for name, tensor in whole["state_dict"].items():
        torch.testing.assert_close(rest["state_dict"][name], tensor, rtol=0, atol=0, msg=name)


def test_another_list_of_classes_gets_a_new_last_layer(examples, tmp_path):
    path = trained(examples, tmp_path / "first")
    model = load_action_model(path)
    recipe = replace(QUICK, head_only=True)
    training = ActionTraining({**SMALL, "actions": 2}, checked(["run", "hide"]), torch.zeros(229), torch.ones(229),
                              recipe, people=2)  # fmt: skip
    training.start_from(model, path)
    weights = training.network.state_dict()
    torch.testing.assert_close(weights["mask_token"], model.network.state_dict()["mask_token"])
    assert [name for name, p in training.network.named_parameters() if p.requires_grad] == [
        "action_head_ava.0.0.weight", "action_head_ava.0.0.bias",
    ]  # fmt: skip
    other = ActionTraining({**SMALL, "width": 32}, CLASSES, torch.zeros(229), torch.ones(229), recipe)
    with pytest.raises(FourDHumansError, match=r"actions\.safetensors does not fit"):
        other.start_from(model, path)


def test_layer_decay_of_the_released_code():
    with torch.device("meta"):
        network = ActionTransformer(joints=(256, 256, 128), appearance=(2048, 512, 512, 256))
    names = {id(parameter): f"encoder.{name}" for name, parameter in network.named_parameters()}
    recipe = replace(RECIPES["finetune"], released_groups=True)
    ours = {
        names[id(p)]: (recipe.learning_rate * group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(network, recipe)
        for p in group["params"]
    }
    expected = {}
    for group in json.loads((DATA / "finetune_groups.json").read_text()):
        for name in group["params"]:
            expected[name] = (group["lr"], group["weight_decay"])
    trained_names = [name for name in expected if name in ours]
    assert len(trained_names) > 150
    for name in trained_names:
        assert ours[name] == pytest.approx(expected[name], rel=1e-6), name
    assert not set(ours) - set(expected)


def test_layer_decay_falls_from_the_head_down():
    network = ActionTransformer(**{**SMALL, "actions": 3})
    recipe = replace(RECIPES["finetune"], layer_decay=0.5)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in parameter_groups(network, recipe) for p in group["params"]}
    assert scales["action_head_ava.0.0.weight"] == 1
    assert scales["transformer.layers.1.0.fn.to_qkv.weight"] == 0.5
    assert scales["transformer.layers.0.0.fn.to_qkv.weight"] == 0.25
    assert scales["pos_embedding"] == scales["mask_token"] == 0.125


def test_the_schedule_is_the_released_one():
    training = ActionTraining({**SMALL, "actions": 3}, CLASSES, torch.zeros(229), torch.ones(229), RECIPES["pretrain"])
    optimizer = training.configure_optimizers()
    rates = []
    for epoch in range(30):
        training.schedule.step(epoch + 1)
        rates.append(optimizer.param_groups[0]["lr"] / 1e-4)
    expected = [(e + 1) / 5 if e < 5 else (1 + np.cos(np.pi * (e + 1 - 5) / 25)) / 2 for e in range(30)]
    np.testing.assert_allclose(rates, expected, atol=1e-9)
