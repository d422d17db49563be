import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fourd_humans.training.actions.losses import ANNOTATED, PSEUDO_LABELLED, action_loss, random_mask, with_labels

DATA = Path(__file__).parents[2] / "data" / "actions"


@pytest.fixture(scope="module")
def reference():
    with np.load(DATA / "actions_small.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def test_losses_agree_with_the_released_code(reference):
    expected = json.loads((DATA / "actions_small.json").read_text())["losses"]
    logits, labels = reference["train_actions"], reference["loss_label"]
    detected, source = reference["in_has"] > 0, reference["loss_has_gt"]
    masked = reference["train_mask"] > 0
    for name, chosen in (
        ("gt", with_labels(detected, source, ANNOTATED)),
        ("pseduo_gt", detected & (source == PSEUDO_LABELLED)),
        ("all", with_labels(detected, source, PSEUDO_LABELLED)),
    ):
        assert action_loss(logits, labels, chosen).item() == pytest.approx(expected[name], rel=1e-4)
        only = action_loss(logits, labels, chosen & masked).item()
        assert only == pytest.approx(expected[f"{name},masked_only"], rel=1e-4)


def test_nothing_labelled_costs_nothing():
    logits = torch.zeros(1, 4, 2, 3, requires_grad=True)
    loss = action_loss(logits, torch.zeros(1, 4, 2, 3), torch.zeros(1, 4, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_the_share_masked_is_of_each_scenes_detected_tokens():
    detected = torch.zeros(3, 10, 2, dtype=torch.bool)
    detected[0, :, :] = True
    detected[1, :5, 0] = True
    masked = random_mask(detected, 0.4, torch.Generator().manual_seed(0))
    assert masked.sum((1, 2)).tolist() == [8, 2, 0]
    assert not (masked & ~detected).any()
    again = random_mask(detected, 0.4, torch.Generator().manual_seed(0))
    assert torch.equal(masked, again)
    assert not random_mask(detected, 0.0, torch.Generator()).any()
