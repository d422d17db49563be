"""The histogram of poses: equal to the released code's figures, made from motion capture, and safe to read."""

from pathlib import Path

import numpy as np
import pytest

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.training.pose_histogram import (
    THRESHOLDS,
    PoseHistogram,
    count_poses,
    motion_capture_files,
    read_pose_histogram,
    read_poses,
)

DATA = Path(__file__).parents[1] / "data" / "hmr2_training"


@pytest.fixture(scope="module")
def released():
    """Made by running the released code; see the README beside it for the rule that stands for AMASS."""
    with np.load(DATA / "filters.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_density_is_the_released_one(released):
    density = PoseHistogram.of_counts(released["counts"]).density
    np.testing.assert_allclose(density, released["density_smoothed"], rtol=1e-5)


def test_probable_poses_are_the_released_ones(released):
    centres = (np.arange(20) + 0.5) / 20 * 2 * np.pi - np.pi
    square = centres[:, None, None] ** 2 + centres[:, None] ** 2 + centres**2
    density = np.exp(-square / 2 / released["histogram_width"][:, None, None, None] ** 2)
    histogram = PoseHistogram((density / density.sum() / (np.pi / 10) ** 3).astype(np.float32))
    np.testing.assert_allclose(histogram.joint_density(released["poses"]), released["joint_density"], rtol=1e-5)
    np.testing.assert_array_equal(histogram.is_probable(released["poses"]), released["probable"])
    assert 0 < released["probable"].sum() < len(released["probable"])
    np.testing.assert_allclose(THRESHOLDS, released["thresholds"], rtol=1e-6)


def test_counted_poses_are_probable_and_others_are_not(tmp_path):
    rng = np.random.default_rng(0)
    walking = rng.normal(0, 0.15, (4000, 22, 3))
    np.savez(tmp_path / "a.npz", poses=np.pad(walking.reshape(4000, 66), ((0, 0), (0, 90))))  # SMPL-H's 52 joints
    np.savez(tmp_path / "b.npz", body_pose=walking.reshape(4000, 66)[:, 3:])
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    files = motion_capture_files([tmp_path])
    counts = count_poses((read_poses(file) for file in files), bins=50)
    assert [int(joint.sum()) for joint in counts] == [8000] * 21
    np.save(tmp_path / "histogram.npy", counts)
    histogram = read_pose_histogram(tmp_path / "histogram.npy")
    poses = walking[:50, 1:].reshape(50, 63)
    assert histogram.is_probable(poses).mean() > 0.9
    bent = poses.copy()
    bent[:, 9:12] = [-1.5, 0, 0]  # the left knee, the wrong way
    assert not histogram.is_probable(bent).any()
    turned = poses.reshape(50, 21, 3).copy()
    turned *= 1 - 2 * np.pi / np.linalg.norm(turned, axis=2, keepdims=True)  # the same rotations, the long way round
    np.testing.assert_array_equal(histogram.joint_density(turned.reshape(50, 63)), histogram.joint_density(poses))


def test_what_is_no_histogram_is_refused(tmp_path):
    path = tmp_path / "h.npy"
    for wrong in (np.zeros((21, 4, 4, 4)), np.ones((20, 4, 4, 4)), -np.ones((21, 4, 4, 4)), np.ones(3)):
        np.save(path, wrong)
        with pytest.raises(FourDHumansError, match="no histogram"):
            read_pose_histogram(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(FourDHumansError):
        read_pose_histogram(path)
    np.savez(tmp_path / "x.npz", poses=np.zeros((3, 60)))
    with pytest.raises(FourDHumansError, match="no array of poses"):
        read_poses(tmp_path / "x.npz")
    with pytest.raises(UsageError):
        motion_capture_files([])
