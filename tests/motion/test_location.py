from __future__ import annotations

import numpy as np
import pytest

from fourd_humans.motion.hold import hold_pose
from fourd_humans.motion.location import predict_locations
from fourd_humans.pose_features import DEPTH, INTERVAL, ROOT, TRANSLATION, UNUSED


def location(x: float, y: float, z: float) -> np.ndarray:
    vector = np.arange(99, dtype=np.float32)
    vector[ROOT], vector[DEPTH] = (x, y), z
    return vector


def track(times: list[int], x: list[float], z: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    return np.array([times]), np.stack([location(value, 0.5, z) for value in x])[None]


def test_a_line_is_continued_though_flattened_by_the_regularisation() -> None:
    times, locations = track([0, 1, 2, 3, 4, 5, 6], [0.1 + 0.01 * t for t in range(7)])
    (predicted,) = predict_locations(times, locations, np.array([2]))
    slope = 0.01 * 28 / (28 + 1.2)  # spread of the times over itself and the penalty
    np.testing.assert_allclose(predicted[ROOT], (0.13 + slope * (8 - 3), 0.5), rtol=1e-5)
    assert predicted[DEPTH] == pytest.approx(20, rel=1e-5)
    np.testing.assert_allclose(predicted[TRANSLATION][0], (predicted[88] - 0.5) * 20 * 256 / 5000, rtol=1e-4)
    np.testing.assert_array_equal(predicted[: ROOT.start], locations[0, -1, : ROOT.start])
    np.testing.assert_array_equal(predicted[UNUSED], (1, 1, 0))


def test_intervals_are_those_of_a_regression() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, 7)
    times, locations = track([0, 1, 2, 3, 4, 5, 6], [0.5 + float(n) for n in noise])
    (predicted,) = predict_locations(times, locations, np.array([1]))
    x, t = locations[0, :, ROOT.start].astype(float), np.arange(7)
    slope = ((t - 3) * (x - x.mean())).sum() / (28 + 1.2)
    error = np.sqrt(((x - x.mean() - slope * (t - 3)) ** 2).sum() / 5)
    assert predicted[INTERVAL.start] == pytest.approx(2.5706 * error * np.sqrt(1 + 1 / 7 + 16 / 28), rel=1e-3)
    assert predicted[INTERVAL.start + 2] == pytest.approx(1.0)  # e to the 0 of a depth known exactly


def test_young_tracks_are_sure_of_less() -> None:
    noisy = [0.5, 0.5, 0.5, 0.5, 0.5, 0.51, 0.5]
    old = predict_locations(*track([0, 1, 2, 3, 4, 5, 6], noisy), np.array([1]))
    young = predict_locations(*track([4, 4, 4, 4, 4, 5, 6], noisy), np.array([1]))
    assert old[0, 95] == pytest.approx(1)
    assert young[0, 95] == pytest.approx(1 / 5)  # five of seven are copies


def test_nobody_walks_on_for_ever() -> None:
    times, locations = track([0, 1, 2, 3, 4, 5, 6], [0.1 + 0.01 * t for t in range(7)])
    near, far, farther = (predict_locations(times, locations, np.array([n]))[0] for n in (48, 49, 500))
    assert near[ROOT.start] < far[ROOT.start]
    np.testing.assert_array_equal(far, farther)


def test_a_single_sighting_stays_where_it_is() -> None:
    (predicted,) = predict_locations(*track([3] * 7, [0.4] * 7), np.array([2]))
    np.testing.assert_allclose(predicted[ROOT], (0.4, 0.5), rtol=1e-6)
    assert np.isfinite(predicted).all()


def test_all_tracks_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    times = np.sort(rng.integers(0, 30, (5, 7)), axis=1)
    locations = np.abs(rng.normal(1, 0.2, (5, 7, 99))).astype(np.float32)
    ahead = np.array([1, 2, 3, 60, 1])
    together = predict_locations(times, locations, ahead)
    for i in range(5):
        alone = predict_locations(times[i : i + 1], locations[i : i + 1], ahead[i : i + 1])
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-6)


def test_hold_pose_is_the_last() -> None:
    poses = np.random.default_rng(0).normal(size=(2, 7, 229))
    np.testing.assert_array_equal(hold_pose(poses, np.tile(np.arange(7), (2, 1)), np.ones(2)), poses[:, 6])
