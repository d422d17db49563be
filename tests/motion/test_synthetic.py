import numpy as np
import torch

from fourd_humans.body.model import BodyModel
from fourd_humans.motion.synthetic import add_noise, mirror, synthesise


def angles(a, b):
    """Degrees between rotations (..., 216)."""
    a, b = (x.reshape(*x.shape[:-1], 24, 3, 3) for x in (a, b))
    cosine = (np.einsum("...ij,...ij", a, b) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_the_seed_alone_decides():
    first, again, other = synthesise(3, 20, 5), synthesise(3, 20, 5), synthesise(3, 20, 6)
    np.testing.assert_array_equal(first.poses, again.poses)
    assert np.abs(first.poses - other.poses).max() > 0.1


def test_motion_is_of_rotations_and_smooth_and_within_limits():
    motion = synthesise(32, 100, 0)
    rotations = motion.poses[..., :216].reshape(32, 100, 24, 3, 3)
    np.testing.assert_allclose(
        rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-5
    )
    speed = angles(motion.poses[:, 1:, :216], motion.poses[:, :-1, :216]) * motion.frame_rates[:, None, None]
    assert 5 < np.median(speed[..., [1, 2, 4, 5, 16, 17, 18, 19]]) < 100  # degrees a second
    assert np.percentile(speed, 99.9) < 1500
    knees = angles(motion.poses[..., :216], np.broadcast_to(np.eye(3).ravel(), (32, 100, 24, 9)).reshape(32, 100, 216))
    assert knees[..., [4, 5]].max() < 145
    assert (motion.poses[..., 228] > 0).all()
    assert ((motion.frame_rates >= 12) & (motion.frame_rates <= 60)).all()


def test_errors_are_of_degrees_and_larger_where_pictures_show_less():
    motion = synthesise(32, 50, 0).poses
    error = angles(add_noise(motion, np.random.default_rng(0))[..., :216], motion[..., :216]).mean((0, 1))
    assert 1 < error[1:10].mean() < 15
    assert error[16] > 2 * error[3]


def test_a_mirrored_body_is_the_mirror_image():
    body = BodyModel.open_body()
    poses = synthesise(1, 3, 0).poses[0]

    def skeleton(features):
        rotations = torch.from_numpy(features[:, :216].reshape(-1, 24, 3, 3))
        joints = body.skeleton(rotations[:, :1], rotations[:, 1:], torch.zeros(len(features), 10)).numpy()
        return joints - joints[:, :1]

    order = [0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22]
    np.testing.assert_allclose(skeleton(mirror(poses)), skeleton(poses)[:, order] * [-1, 1, 1], atol=0.01)
    np.testing.assert_allclose(mirror(mirror(poses)), poses)
