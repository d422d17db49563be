"""Suppression in rounds against the greedy algorithm itself."""

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from fourd_humans.detection.vitdet.suppression import overlaps, suppress


@pytest.fixture
def boxes():
    """Two pictures with 300 boxes each, which overlap a lot; a tenth of them without area."""
    corners = np.random.default_rng(0).uniform(0, 100, (2, 300, 2))
    sides = np.random.default_rng(1).uniform(10, 60, (2, 300, 2)) * (np.arange(300) % 10 > 0)[:, None]
    return torch.from_numpy(np.concatenate([corners, corners + sides], -1).astype(np.float32))


@pytest.mark.parametrize("rounds", [None, 40])
def test_it_is_the_greedy_algorithm(boxes, rounds):
    groups = torch.arange(300).expand(2, -1) % 3
    scores = torch.arange(300, 0, -1).float()
    kept, certain = suppress(boxes, 0.5, groups, rounds)
    assert certain.all()
    for picture in range(2):
        expected = batched_nms(boxes[picture], scores, groups[picture], 0.5)
        assert 50 < len(expected) < 250
        assert torch.nonzero(kept[picture])[:, 0].tolist() == expected.sort().values.tolist()


def test_too_few_rounds_are_said():
    """A chain in which each box overlaps only the next: every other one stays."""
    left = torch.arange(12.0) * 4
    chain = torch.stack([left, left * 0, left + 10, left * 0 + 10], -1)
    expected = [True, False] * 6
    kept, certain = suppress(chain, 0.4)
    assert kept.tolist() == expected
    kept, certain = suppress(chain, 0.4, rounds=12)
    assert (kept.tolist(), certain.item()) == (expected, True)
    kept, certain = suppress(chain, 0.4, rounds=6)
    assert kept.tolist() != expected
    assert not certain


def test_overlaps_of_a_pair():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [30, 0, 40, 10]])
    torch.testing.assert_close(overlaps(boxes), torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]))
