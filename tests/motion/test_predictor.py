import numpy as np
import pytest
import torch

from fourd_humans.motion.predictor import PosePredictor


def test_next_poses_agree_with_the_released_code(small_network, reference):
    """All in one batch, each track at its own offset, which the released batched prediction gets wrong."""
    ahead = reference.next_ahead.numpy() + 1  # the figures count from the frame after the last
    predicted = PosePredictor(small_network)(reference.next_pose.numpy(), reference.next_time.numpy(), ahead)
    np.testing.assert_allclose(predicted, reference.next_out.numpy(), rtol=0, atol=7e-5)  # measured: 7e-6


@pytest.mark.parametrize("which", ["small_network", "lite_network"])
def test_each_track_is_predicted_as_if_it_were_alone(which, request, random_poses):
    predict = PosePredictor(request.getfixturevalue(which))
    poses = random_poses(3, 7)
    times = np.array([[0, 1, 2, 3, 4, 5, 6], [10, 11, 13, 14, 18, 19, 20], [5, 5, 5, 5, 5, 5, 5]])
    ahead = np.array([1, 12, 200])
    together = predict(poses, times, ahead)
    for i in range(3):
        alone = predict(poses[i : i + 1], times[i : i + 1], ahead[i : i + 1])[0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-4, atol=1e-5)
    assert together.dtype == np.float32


def test_of_equal_times_the_last_pose_counts(lite_network, random_poses):
    predict = PosePredictor(lite_network)
    poses = random_poses(1, 7)
    times = np.array([[3, 3, 3, 3, 3, 4, 4]])
    other = poses.copy()
    other[:, [0, 1, 2, 3, 5]] = random_poses(1, 5, seed=1)
    np.testing.assert_array_equal(predict(poses, times, np.array([2])), predict(other, times, np.array([2])))


@pytest.mark.parametrize("which", ["small_network", "lite_network"])
def test_tracks_longer_than_the_sequence_are_predicted(which, request, random_poses):
    predicted = PosePredictor(request.getfixturevalue(which))(
        random_poses(1, 7), np.array([[0, 40, 80, 120, 160, 200, 201]]), np.array([50])
    )
    rotations = torch.from_numpy(predicted[:, :216]).unflatten(-1, (24, 3, 3))
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), rtol=0, atol=1e-4)


def test_the_trackers_camera_is_not_shown_to_a_network_that_starts_from_what_was_seen(lite_network, random_poses):
    poses, times, ahead = random_poses(2, 7), np.tile(np.arange(7), (2, 1)), np.ones(2, int)
    moved = poses.copy()
    moved[..., 226:] += 5
    predict = PosePredictor(lite_network)
    np.testing.assert_array_equal(predict(poses, times, ahead), predict(moved, times, ahead))


def test_nobody_to_predict(lite_network):
    assert PosePredictor(lite_network)(np.zeros((0, 7, 229)), np.zeros((0, 7), int), np.zeros(0, int)).shape == (0, 229)
