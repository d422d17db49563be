import json
from pathlib import Path

import pytest
import torch

from fourd_humans.actions.action_transformer import ActionTransformer, SceneBatch

DATA = Path(__file__).parents[1] / "data" / "actions"
EXACT = {"rtol": 1e-4, "atol": 1e-5}
JOINTS = (256, 256, 128)
RELEASED = {
    "lart_pose": {},
    "lart_pose_joints": {"joints": JOINTS},
    "lart_hiera": {"joints": JOINTS, "appearance": (2048, 512, 512, 256)},
    "lart_mvit": {"joints": JOINTS, "appearance": (1152, 512, 512, 256)},
}


def shapes(network, prefix=""):
    return {prefix + name: list(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", RELEASED)
def test_names_and_shapes_of_the_released_checkpoints(name):
    with torch.device("meta"):
        network = ActionTransformer(**RELEASED[name])
    assert shapes(network, "encoder.") == json.loads((DATA / f"{name}_manifest.json").read_text())


def test_the_papers_width():
    with torch.device("meta"):
        network = ActionTransformer(width=512)
    assert network.action_head_ava[0][0].weight.shape == (60, 512)


def inputs(reference):
    arrays = {name: torch.from_numpy(reference[f"in_{name}"]) for name in ("pose", "has", "joints", "appearance")}
    return SceneBatch(arrays["pose"], arrays["has"] > 0, arrays["joints"], arrays["appearance"])


@torch.no_grad()
def test_tokens_and_logits_agree_with_the_released_code(unnormalised, reference):
    for network, prefix in zip(unnormalised, ("", "full_"), strict=True):
        scene = inputs(reference)
        tokens = network.encode(scene)
        expected = torch.from_numpy(reference[f"{prefix}encoded"][:, 3:]).unflatten(1, (20, 3))
        torch.testing.assert_close(tokens, expected, **EXACT)
        torch.testing.assert_close(network(scene), torch.from_numpy(reference[f"{prefix}actions"]), **EXACT)
        poses = torch.cat([network.smpl_head[0](tokens, None)[..., :226], network.loca_head[0](tokens)], -1)
        readout = torch.from_numpy(reference[f"{prefix}readout_pose"])
        torch.testing.assert_close(poses, readout, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_kinetics_head_sees_the_class_token(unnormalised, reference):
    network = unnormalised[0]
    answers = network.action_head_kinetics(network.class_token.expand(2, 3, -1))
    torch.testing.assert_close(answers, torch.from_numpy(reference["kinetics"]), **EXACT)


@torch.no_grad()
def test_masking_of_training_agrees_with_the_released_code(unnormalised, reference):
    masked = torch.from_numpy(reference["train_mask"]) > 0
    scene = inputs(reference)
    logits = unnormalised[0](scene, masked)
    expected = torch.from_numpy(reference["train_actions"])
    torch.testing.assert_close(logits[scene.detected], expected[scene.detected], **EXACT)


@torch.no_grad()
def test_undetected_people_are_not_read_and_may_be_left_out(pose_only, full, reference):
    scene = inputs(reference)
    hidden = ~scene.detected[..., None]
    spoilt = SceneBatch(
        scene.poses.masked_fill(hidden, torch.nan), scene.detected, scene.joints.masked_fill(hidden, torch.nan),
        scene.appearance.masked_fill(hidden, torch.inf),
    )  # fmt: skip
    for network in (pose_only, full):
        torch.testing.assert_close(network(spoilt), network(scene))
    assert not scene.detected[0, :, 2].any()
    two = SceneBatch(*(values[:1, :, :2] for values in scene))
    torch.testing.assert_close(full(two), full(SceneBatch(*(v[:1] for v in scene)))[:, :, :2], **EXACT)


@torch.no_grad()
def test_frames_may_be_left_out(pose_only, reference):
    scene = inputs(reference)
    kept = torch.tensor([0, 3, 4, 9, 17])
    emptied = torch.zeros_like(scene.detected)
    emptied[:, kept] = scene.detected[:, kept]
    whole = pose_only(SceneBatch(scene.poses, emptied))
    part = pose_only(SceneBatch(scene.poses[:, kept], scene.detected[:, kept]), times=kept)
    torch.testing.assert_close(part, whole[:, kept], **EXACT)


@torch.no_grad()
def test_relative_location_ignores_where_the_first_person_is(reference):
    torch.manual_seed(0)
    network = ActionTransformer(actions=4, width=8, depth=1, heads=1, head_width=8, mlp_width=8,
                                relative_location=True, kinetics=0).eval()  # fmt: skip
    scene = inputs(reference)
    moved = scene.poses.clone()
    moved[..., 226:] += torch.tensor([0.5, -2.0, 0.25])
    torch.testing.assert_close(network(scene._replace(poses=moved)), network(scene), rtol=1e-4, atol=1e-4)
    apart = scene.poses.clone()
    apart[:, :, 1, 226:] += 1
    assert not torch.allclose(network(scene._replace(poses=apart)), network(scene), atol=1e-4)
