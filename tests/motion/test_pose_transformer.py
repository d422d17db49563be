import json
from pathlib import Path

import pytest
import torch

from fourd_humans.motion.pose_transformer import Attention, PoseTransformer

DATA = Path(__file__).parents[1] / "data" / "motion"
# About ten times the errors measured on CPUs with SSE4.1 and AVX2: 1e-7 for tokens, 5e-6 for rotations.
TOKENS, ROTATIONS = {"rtol": 0, "atol": 1e-6}, {"rtol": 0, "atol": 5e-5}


def shapes(network):
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def test_names_and_shapes_of_the_released_checkpoint(small_network):
    assert shapes(small_network) == json.loads((DATA / "pose_transformer_small_manifest.json").read_text())
    with torch.device("meta"):
        full = PoseTransformer()
    assert shapes(full) == json.loads((DATA / "pose_transformer_manifest.json").read_text())


@torch.no_grad()
def test_encoding_and_readouts_agree_with_the_released_code(small_network, reference):
    masked = reference.in_has[:, :, 0, 0] == 0
    tokens = small_network.encode(reference.in_pose[:, :, 0], masked)
    torch.testing.assert_close(tokens, reference.encoded[:, 1:], **TOKENS)
    torch.testing.assert_close(small_network.class_token.expand(2, 1, -1), reference.encoded[:, :1], **TOKENS)
    tokens = reference.encoded[:, 1:]
    torch.testing.assert_close(small_network.read_pose(tokens), reference.readout_pose[:, :, 0], **ROTATIONS)
    torch.testing.assert_close(small_network.read_location(tokens), reference.readout_camera[:, :, 0], **TOKENS)
    torch.testing.assert_close(small_network.read_actions(tokens), reference.readout_actions[:, :, 0], **TOKENS)


@torch.no_grad()
def test_masked_tokens_have_a_score_of_minus_1000():
    """As in the released code: not minus infinity, so a token whose own score is -1000 attends to both alike."""
    attention = Attention(2, heads=1, head_width=1, dropout=0.0)
    attention.to_qkv.weight.copy_(torch.tensor([[1.0, 0], [-1000, 0], [0, 1]]))  # q = x, k = -1000 x, v = y
    attention.to_out[0].weight.copy_(torch.tensor([[1.0], [0]]))
    attention.to_out[0].bias.zero_()
    tokens = torch.tensor([[[1.0, 2.0], [1.0, 6.0]]])
    for score, expected in ((-1000, 4.0), (-990, 2.0)):
        tokens[..., 0] = (score / -1000) ** 0.5
        hidden = torch.tensor([[[False, True], [False, True]]])
        torch.testing.assert_close(attention(tokens, hidden)[0, :, 0], torch.full((2,), expected), rtol=0, atol=1e-3)


@torch.no_grad()
def test_numbers_of_masked_frames_are_not_looked_at(small_network, lite_network, reference):
    poses = reference.in_pose[:, :, 0]
    masked = reference.in_has[:, :, 0, 0] == 0
    spoilt = poses.masked_fill(masked[..., None], torch.nan)
    for network in (small_network, lite_network):
        torch.testing.assert_close(network(spoilt, masked), network(poses, masked))


@torch.no_grad()
def test_plain_layout_needs_only_the_frames_seen_and_asked_for(lite_network, reference):
    poses = reference.in_pose[:1, :, 0]
    masked = torch.ones(1, 125, dtype=torch.bool)
    masked[:, [3, 5, 6, 20]] = False
    whole = lite_network(poses, masked)
    kept = torch.tensor([[3, 5, 6, 20, 70]])
    part = lite_network(poses[:, kept[0]], masked[:, kept[0]], kept)
    torch.testing.assert_close(part[:, -1], whole[:, 70], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_missing_frames_change_nothing_for_the_others(lite_network, reference):
    poses = reference.in_pose[:1, :20, 0]
    nothing = torch.zeros(1, 20, dtype=torch.bool)
    missing = nothing.clone()
    missing[:, 15:] = True
    cut = lite_network.encode(poses[:, :15], nothing[:, :15])
    torch.testing.assert_close(lite_network.encode(poses, nothing, missing)[:, :15], cut, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("start", ["mean", "seen"])
def test_with_all_frames_missing_the_answer_is_finite(start, reference):
    network = PoseTransformer(frames=32, width=8, depth=1, heads=1, head_width=8, mlp_width=8, bottleneck=None,
                              readout_width=8, start=start).eval()  # fmt: skip
    network.mean, network.std = reference.mean.flatten(), reference.std.flatten()
    answer = network(torch.full((1, 32, 229), torch.nan), torch.ones(1, 32, dtype=torch.bool))
    rotations = answer[..., :216].unflatten(-1, (24, 3, 3))
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), rtol=0, atol=1e-5)
    assert answer.isfinite().all()
