import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourd_humans.evaluation.pose import acceleration_error, mpjpe, pa_mpjpe, procrustes, pve


@pytest.fixture
def joints():
    return np.random.default_rng(0).normal(size=(5, 14, 3))


def test_mpjpe_is_in_millimetres_and_relative_to_the_root(joints):
    moved = joints.copy()
    moved[:, 3] += [0.014, 0, 0]  # one joint of fourteen, by 14 mm
    np.testing.assert_allclose(mpjpe(moved, joints), 1.0)
    np.testing.assert_allclose(mpjpe(moved + 5.0, joints, root=0), 1.0)
    np.testing.assert_allclose(mpjpe(joints + 0.002, joints, root=None), 2 * np.sqrt(3))
    np.testing.assert_allclose(mpjpe(joints + 1.0, joints, root=(2, 3)), 0, atol=1e-9)


def test_procrustes_undoes_any_similarity(joints):
    turned = 1.7 * Rotation.from_rotvec([0.3, -2.0, 0.5]).apply(joints.reshape(-1, 3)).reshape(joints.shape) + [1, 2, 3]
    np.testing.assert_allclose(pa_mpjpe(turned, joints), 0, atol=1e-9)
    np.testing.assert_allclose(procrustes(turned, joints), joints, atol=1e-12)


def test_procrustes_does_not_mirror(joints):
    assert (pa_mpjpe(joints * [-1, 1, 1], joints) > 100).all()


def test_procrustes_leaves_the_least_error(joints):
    noisy = joints + np.random.default_rng(1).normal(scale=0.1, size=joints.shape)
    best = np.square(procrustes(noisy, joints) - joints).sum()
    for change in (1.01, 0.99):
        aligned = procrustes(noisy, joints)
        center = aligned.mean(1, keepdims=True)
        assert np.square((aligned - center) * change + center - joints).sum() > best


def test_coinciding_points_are_finite():
    assert np.isfinite(pa_mpjpe(np.zeros((1, 14, 3)), np.ones((1, 14, 3)))).all()


def test_vertices_are_moved_by_their_roots():
    truth = np.random.default_rng(2).normal(size=(2, 100, 3))
    roots = np.array([[1.0, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(pve(truth + roots[:, None], truth, roots, np.zeros((2, 3))), 0, atol=1e-9)


def test_acceleration_ignores_constant_motion_and_frames_that_do_not_count():
    truth = np.zeros((10, 14, 3))
    steady = truth + np.arange(10)[:, None, None] * 0.1
    np.testing.assert_allclose(acceleration_error(steady, truth), 0, atol=1e-9)
    jump = truth.copy()
    jump[5, :, 0] = 0.001
    np.testing.assert_allclose(acceleration_error(jump, truth), [0, 0, 0, 1, 2, 1, 0, 0])
    visible = np.arange(10) != 5
    np.testing.assert_allclose(acceleration_error(jump, truth, visible), 0)
