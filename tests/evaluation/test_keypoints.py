import numpy as np
import pytest

from fourd_humans.evaluation.keypoints import pck


def test_shares_are_of_labelled_keypoints_within_the_threshold():
    truth = np.zeros((2, 3, 3))
    truth[..., 2] = [[1, 1, 0], [1, 0, 0]]
    predicted = np.zeros((2, 3, 2))
    predicted[0, 1] = [6, 0]  # 0.06 of a size of 100
    predicted[0, 2] = [500, 0]  # not labelled
    result = pck(predicted, truth, np.array([100.0, 100.0]), 0.05)
    np.testing.assert_array_equal(result.joints, [1.0, 0.0, np.nan])
    assert result.mean == 0.5
    assert result.overall == pytest.approx(2 / 3)
    assert pck(predicted, truth, np.array([100.0, 100.0]), 0.1).overall == 1.0
    assert pck(predicted, truth, np.array([200.0, 100.0]), 0.05).overall == 1.0


def test_what_is_not_finite_is_wrong():
    truth = np.ones((1, 2, 3))
    assert pck(np.full((1, 2, 2), np.nan), truth, np.ones(1), 0.1).overall == 0.0


def test_nothing_labelled_is_not_a_number():
    assert np.isnan(pck(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), np.ones(1), 0.1).mean)


@pytest.mark.parametrize("size", [np.zeros(1), np.ones(2)])
def test_sizes_must_fit_and_be_positive(size):
    with pytest.raises(ValueError, match=r"size|shapes"):
        pck(np.zeros((1, 2, 2)), np.zeros((1, 2, 3)), size, 0.1)
