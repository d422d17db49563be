"""Rotations against SciPy's, at the angles where formulas break, and their gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fourd_humans.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_rotation_6d,
    nearest_rotation,
    rotation_6d_to_matrix,
)

ANGLES = (0.0, 1e-8, 1e-4, 0.3, 2.0, math.pi - 1e-4, math.pi)


@pytest.fixture
def axes():
    axes = torch.tensor(np.random.default_rng(0).standard_normal((5, 2, 3)), dtype=torch.float64)
    axes[0] = torch.tensor([[1, 0, 0], [0, -1, 0]])
    return axes / axes.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("angle", ANGLES)
def test_axis_angle_there_and_back(axes, angle):
    matrix = axis_angle_to_matrix(axes * angle)
    expected = Rotation.from_rotvec((axes * angle).reshape(-1, 3).numpy()).as_matrix().reshape(5, 2, 3, 3)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    back = matrix_to_axis_angle(matrix)
    np.testing.assert_allclose(back.norm(dim=-1), angle, atol=1e-7)
    np.testing.assert_allclose(axis_angle_to_matrix(back), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-8, 0.3, 3.1])
def test_gradients_are_finite_and_right(axes, angle):
    vector = (axes.reshape(-1, 3) * angle).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vector)
    if angle < 3:  # numerical differences of the inverse would leave the manifold's chart at π
        assert torch.autograd.gradcheck(lambda v: matrix_to_axis_angle(axis_angle_to_matrix(v)), vector, atol=1e-4)


def test_6d_layout_and_inverse(axes):
    matrix = axis_angle_to_matrix(axes)
    six = matrix_to_rotation_6d(matrix)
    torch.testing.assert_close(six[..., :3], matrix[..., 0])  # the first column, then the second
    torch.testing.assert_close(six[..., 3:], matrix[..., 1])
    bent = torch.cat([2 * six[..., :3], six[..., 3:] + 0.7 * six[..., :3]], -1)
    torch.testing.assert_close(rotation_6d_to_matrix(bent), matrix)


def test_nearest_rotation(axes):
    matrix = axis_angle_to_matrix(axes)
    torch.testing.assert_close(nearest_rotation(3 * matrix), matrix)
    mirrored = nearest_rotation(-matrix)
    torch.testing.assert_close(torch.linalg.det(mirrored), torch.ones(5, 2, dtype=torch.float64))
    noisy = matrix + 0.05 * torch.randn(matrix.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    best = nearest_rotation(noisy)
    nudged = axis_angle_to_matrix(0.01 * axes) @ best
    assert ((noisy - best).square().sum((-1, -2)) < (noisy - nudged).square().sum((-1, -2))).all()


def test_no_rotations_at_all():
    none = axis_angle_to_matrix(torch.zeros(0, 24, 3))
    assert none.shape == (0, 24, 3, 3)
    assert matrix_to_axis_angle(none).shape == (0, 24, 3)
    assert nearest_rotation(none).shape == (0, 24, 3, 3)
