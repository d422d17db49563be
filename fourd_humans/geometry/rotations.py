"""Rotations as matrices, axis-angle vectors and the 6D form, for any batch dimensions, differentiable."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula: (..., 3) radians along the axis -> (..., 3, 3). Exact and smooth at zero."""
    angle = torch.linalg.vector_norm(axis_angle, dim=-1)[..., None, None]
    cross = cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    # torch.sinc is sin(πx)/πx: the factors are sin(a)/a and (1 − cos a)/a² = sin²(a/2)/(2 (a/2)²)
    return identity + torch.sinc(angle / math.pi) * cross + 0.5 * torch.sinc(angle / math.tau) ** 2 * cross @ cross


def cross_matrix(vectors: Tensor) -> Tensor:
    """(..., 3) vectors v -> (..., 3, 3) matrices that take w to v × w."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """(..., 3, 3) rotations -> (..., 3) axis-angle with an angle in [0, π].

    Goes through the unit quaternion, taken from its largest component, so it is accurate at every angle.
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    xy, yx, xz, zx, yz, zy = (m[..., i, j] for i, j in ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)))
    # 4 q qᵀ, q = (w, x, y, z): each row is the quaternion times four times one of its components
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], -1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], -1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], -1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], -1),
        ],
        -2,
    )
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    quaternion = F.normalize(row, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, v = quaternion[..., :1], quaternion[..., 1:]
    tiny = (v * v).sum(-1, keepdim=True) < 1e-12
    sine = torch.linalg.vector_norm(torch.where(tiny, torch.ones_like(v), v), dim=-1, keepdim=True)
    return v * torch.where(tiny, 2 / w.clamp(min=0.5), 2 * torch.atan2(sine, w) / sine)


def rotation_6d_to_matrix(rotation: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3) by Gram-Schmidt; the six numbers are the first column, then the second.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", section 4, in HMR 2.0's layout.
    """
    a1, a2 = rotation[..., :3], rotation[..., 3:]
    b1 = F.normalize(a1, dim=-1)
    b2 = F.normalize(a2 - (b1 * a2).sum(-1, keepdim=True) * b1, dim=-1)
    return torch.stack([b1, b2, torch.linalg.cross(b1, b2)], -1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 6): the first column, then the second."""
    return matrix[..., :2].transpose(-1, -2).flatten(-2)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """(..., 3, 3) any matrices -> the rotations nearest to them in the Frobenius norm (orthogonal Procrustes)."""
    u, _, vh = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[..., 0])
    sign[..., 2] = torch.linalg.det(u @ vh)
    return u * sign[..., None, :] @ vh
