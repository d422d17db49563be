"""The association cost against its formula, written out with the released figures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fourd_humans.tracking.cost import association_cost, location_factor, pose_factor


def location(x: float, y: float, depth: float, interval: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> np.ndarray:
    """(99,) location features of a root at (x, y) of the padded square, `depth` metres away."""
    features = np.zeros(99, np.float32)
    features[88:90], features[92], features[93:96] = (x, y), depth, interval
    return features


def pose(difference: float) -> np.ndarray:
    """(229,) pose features whose rotations and betas have the norm `difference`, with a camera that must not count."""
    features = np.zeros(229, np.float32)
    features[[3, 220]], features[226:] = np.array([0.6, 0.8]) * difference, 7.0 * difference
    return features


@pytest.mark.parametrize(
    ("difference", "expected"), [(0, 1), (0.5, 1 + 1.3070 * 0.25), (1, 2.3070), (3, 1 + 1.3070 * 1.5)]
)
def test_pose_factor(difference: float, expected: float) -> None:
    factor = pose_factor(pose(0)[None], pose(difference)[None], limit=1.5)
    np.testing.assert_allclose(factor, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("interval", [(0.0, 0.0, 1.0), (0.03, 0.04, 1.0), (0.0, 0.0, 1.3), (0.03, 0.04, 0.7)])
@pytest.mark.parametrize(("move", "depth"), [((0.0, 0.0), 20.0), ((0.06, -0.08), 20.0), ((0.0, 0.0), 30.0)])
def test_location_factor(interval: tuple[float, float, float], move: tuple[float, float], depth: float) -> None:
    factor = location_factor(
        location(0.5, 0.5, 20, interval)[None], location(0.5 + move[0], 0.5 + move[1], depth)[None]
    )
    place = math.hypot(*move) / (0.1 + math.tanh(math.hypot(*interval[:2]))) / 0.3792
    nearness = abs(math.log(depth / 20)) / (0.1 + math.tanh(abs(math.log(interval[2])))) / 4.1658
    tolerance = 1e-5 if any(move) else 2e-2  # where roots coincide, the float32 rounding of the released code shows
    np.testing.assert_allclose(factor, [[math.exp(place + nearness)]], rtol=tolerance)


def test_the_cost_is_the_product_of_the_three_factors_and_cut_off_above_the_threshold() -> None:
    tracks = np.stack([pose(0)]), np.stack([location(0.5, 0.5, 20)]), ["a"]
    detections = (
        np.stack([pose(0.5)] * 3),
        np.stack([location(0.5, 0.5, 30)] * 2 + [location(0.9, 0.5, 30)]),
        ["b", "c", "d"],
    )

    def texture_distance(first: object, second: object, pairs: np.ndarray) -> np.ndarray:
        assert pairs.tolist() == [[0, 0], [0, 1]]
        return np.array([0.0, 0.25])

    cost = association_cost(tracks, detections, texture_distance, threshold=20, pose_distance_limit=1.5)
    without = (1 + 1.3070 * 0.25) * math.exp(math.log(1.5) / 0.1 / 4.1658)
    np.testing.assert_allclose(cost, [[without, without * (1 + 4.0536 * 0.25), 20.00001]], rtol=1e-6)
    assert cost[0, 2] > 20
