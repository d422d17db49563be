"""How far the outline of a posed body lies from the outline of the person's mask, with derivatives.

The mask is turned once into a signed distance field on a small grid. The body is drawn on the same grid; every pixel on
the edge of its silhouette, which belongs to a vertex of the mesh, is a residual: the distance there to the edge of the
mask, in metres at the person's depth. Points on the edge are found anew for every step of the fit, as in iterative
closest points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import NEAR, fill, to_screen
from fourd_humans.people import Mask

Array = NDArray[np.float64]

GRID = 128  # cells along the longer side of the grid
SAMPLES = 4  # of the mask along each side of a cell
LEAST_SIDE = 16  # pixels: a smaller mask says nothing of the shape
PADDING = 0.25  # of the mask's longer side, added around it
FRAME_BORDER = (
    0.02  # of the mask's longer side: where the mask ends nearer to the frame's border, the frame cuts it off
)
NEIGHBOUR_BORDER = 0.04  # the same for the masks of other people, which may hide this one
MOST_POINTS = 100  # of an outline that are compared
SKINNING_JOINTS = 4  # joints that move a vertex

STD = 0.03  # metres that the outline of a mask is good to
OUTLIER = 3.0  # in std: points much farther away hardly count (Geman-McClure)
REACH = 0.15  # metres: points farther away are not compared
# Metres that the body is to reach beyond the mask's edge. Fitted to the edge itself, bodies cover 0.90 to 0.96 of the
# masks: points with large errors count little, and those are mostly where the body is too small.
BEYOND = 0.004
WEIGHT = 0.5  # of one point; neighbouring points tell the same
LEAST_COMPARED = 0.3  # of the outline's points, without which the outline is not used: most of the person is hidden
LEAST_COSINE = 0.5  # between the normals of the two outlines where they are compared


@dataclass(frozen=True)
class MaskDistance:
    """The signed distance to the outline of a mask, on a grid of square cells.

    distance: (H, W) in cells, positive inside. gradient: (2, H, W) its unit gradient, x and y.
    valid: (H, W) bool, where the distance tells of the person: not near the border of the frame or another person.
    left, top: pixels of the frame where the grid begins. cell: side of a cell in pixels.
    """

    distance: NDArray[np.float32]
    gradient: NDArray[np.float32]
    valid: NDArray[np.bool_]
    left: float
    top: float
    cell: float


def mask_distance(mask: Mask, others: Sequence[Mask]) -> MaskDistance | None:
    """The distance field of a person's mask, or None where it is too small.

    others: masks of the other people in the frame.
    """
    height, width = mask.pixels.shape
    longer = max(height, width)
    if min(height, width) < LEAST_SIDE:
        return None
    pad = round(PADDING * longer)
    left, top = mask.left - pad, mask.top - pad
    cell = (longer + 2 * pad) / GRID
    shape = (int(np.ceil((height + 2 * pad) / cell)), int(np.ceil((width + 2 * pad) / cell)))

    inside = (_resampled(mask, left, top, cell, shape) > 0.5).astype(np.uint8)
    if not inside.any():
        return None
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    distance += np.where(inside > 0, np.float32(-0.5), np.float32(0.5))  # the edge lies between two cells
    smooth = cv2.GaussianBlur(distance, (0, 0), 1.0)
    slope = _gradient(smooth) / 8
    length = np.linalg.norm(slope, axis=0)
    gradient = (slope / np.maximum(length, 1e-3)).astype(np.float32)

    # A point is of no use where the point itself or the nearest one on the mask's outline is near a border.
    useless = np.ones(shape, bool)
    border = FRAME_BORDER * longer
    x, y = left + (np.arange(shape[1]) + 0.5) * cell, top + (np.arange(shape[0]) + 0.5) * cell
    inner = [(at > border) & (at < limit - border) for at, limit in ((y, mask.size[0]), (x, mask.size[1]))]
    useless[np.ix_(*inner)] = False
    grown = np.ones((2 * max(1, round(NEIGHBOUR_BORDER * longer / cell)) + 1,) * 2, np.uint8)
    for other in others:
        covered = _resampled(other, left, top, cell, shape) > 0.25
        if covered.any():
            useless |= cv2.dilate(covered.astype(np.uint8), grown) > 0
    column = np.clip(np.rint(np.arange(shape[1]) - distance * gradient[0]), 0, shape[1] - 1).astype(int)
    row = np.clip(np.rint(np.arange(shape[0])[:, None] - distance * gradient[1]), 0, shape[0] - 1).astype(int)
    valid = ~useless & ~useless[row, column] & (length > 0.5)
    return MaskDistance(distance, gradient, valid, left, top, cell)


def _resampled(mask: Mask, left: int, top: int, cell: float, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The share of each cell that the mask covers, from SAMPLES x SAMPLES pixels in it."""
    row, column = (
        np.floor(begin + (np.arange(SAMPLES * count) + 0.5) * (cell / SAMPLES)).astype(int) - own
        for begin, count, own in ((top, shape[0], mask.top), (left, shape[1], mask.left))
    )
    covered = np.zeros((len(row), len(column)), np.uint8)
    rows = slice(*np.searchsorted(row, (0, mask.pixels.shape[0])).tolist())
    columns = slice(*np.searchsorted(column, (0, mask.pixels.shape[1])).tolist())
    covered[rows, columns] = mask.pixels[np.ix_(row[rows], column[columns])]
    covered *= SAMPLES**2
    share: NDArray[np.float32] = cv2.resize(covered, shape[::-1], interpolation=cv2.INTER_AREA) / np.float32(SAMPLES**2)
    return share


def _gradient(values: NDArray[Any]) -> NDArray[np.float32]:
    """(2, H, W): eight times the derivatives of `values` (H, W) by x and y."""
    return np.stack([cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)])


class BodyOutline:
    """The outline of a body model in a camera, compared with mask distances.

    Pose blend shapes, a few millimetres, are left out.
    """

    def __init__(self, body: BodyModel) -> None:
        weights = _array(body.weights)
        joints = np.ascontiguousarray(np.argsort(-weights, axis=1)[:, :SKINNING_JOINTS])
        weights = np.take_along_axis(weights, joints, axis=1)
        weights = np.ascontiguousarray(weights / weights.sum(1, keepdims=True))
        self._faces = np.ascontiguousarray(body.faces, dtype=np.int64)
        self._rest = _array(body.J_template)
        self._model: tuple[Any, ...] = (
            _array(body.v_template), _array(body.shapedirs), joints, weights, np.array(body.parents),
            _array(body.J_shapedirs),
        )  # fmt: skip

    def normal_equations(
        self, rotations: Array, betas: Array, translation: Array, intrinsics: Intrinsics, mask: MaskDistance
    ) -> tuple[Array, Array] | None:
        """The Gauss-Newton matrix (85, 85) and gradient (85,) of one body's outline against its mask.

        rotations: (24, 3, 3). betas: (10,). translation: (3,). The parameters are 24 small rotation vectors as in
        `body.points`, the translation and the betas. None where too little of the outline can be compared.
        """
        vertices, *pose = _pose_vertices(rotations, betas, translation, self._rest, *self._model)
        camera = np.array(
            [
                intrinsics.focal_length / mask.cell,
                (intrinsics.principal_point[0] - mask.left) / mask.cell,
                (intrinsics.principal_point[1] - mask.top) / mask.cell,
            ]
        )
        inverse_depth, face = np.zeros(mask.distance.shape, np.float32), np.full(mask.distance.shape, -1, np.int32)
        screen = to_screen(vertices[None], camera, NEAR)
        fill(vertices[None], screen, self._faces, camera, NEAR, 0, 0, inverse_depth, face, True)
        silhouette = cv2.GaussianBlur((face >= 0).astype(np.float32), (0, 0), 1.5)
        slope = _gradient(silhouette)
        inwards = slope / np.maximum(np.linalg.norm(slope, axis=0), np.float32(1e-6))
        metre = mask.cell / intrinsics.focal_length  # of a cell, at a depth of one metre
        compared = (face, inwards, mask.distance, mask.gradient, mask.valid, metre, self._faces, vertices, betas)
        limits = (STD, OUTLIER, REACH, BEYOND, WEIGHT, LEAST_COSINE, MOST_POINTS)
        rows, residuals, total = _residuals(*compared, limits, *pose, *self._model)
        if len(rows) < LEAST_COMPARED * min(total, MOST_POINTS):
            return None
        return rows.T @ rows, rows.T @ residuals


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().double().numpy())


@njit(nogil=True, cache=True)
def _pose_vertices(  # type: ignore[no-untyped-def]
    rotations, betas, translation, rest, template, directions, joints, weights, parents, rest_shape
):
    """The vertices (V, 3) in the camera frame; then of the joints: the shaped rest positions, positions (24, 3), their
    derivatives by the betas (24, 3, 10) and global rotations (24, 3, 3)."""
    count = len(parents)
    shaped = rest.copy()
    for j in range(count):
        shaped[j] += rest_shape[j] @ betas
    position = np.zeros((count, 3))
    position_shape = np.zeros((count, 3, len(betas)))
    rotation = np.zeros((count, 3, 3))
    position[0], position_shape[0], rotation[0] = shaped[0], rest_shape[0], rotations[0]
    for j in range(1, count):
        parent = parents[j]
        position[j] = position[parent] + rotation[parent] @ (shaped[j] - shaped[parent])
        position_shape[j] = position_shape[parent] + rotation[parent] @ (rest_shape[j] - rest_shape[parent])
        rotation[j] = rotation[parent] @ rotations[j]
    vertices = np.zeros((len(template), 3))
    for v in range(len(template)):
        x, y, z = template[v]
        for b in range(len(betas)):
            x += directions[v, 0, b] * betas[b]
            y += directions[v, 1, b] * betas[b]
            z += directions[v, 2, b] * betas[b]
        for i in range(joints.shape[1]):
            j, w = joints[v, i], weights[v, i]
            if w == 0:
                continue
            dx, dy, dz = x - shaped[j, 0], y - shaped[j, 1], z - shaped[j, 2]
            for c in range(3):
                along = rotation[j, c, 0] * dx + rotation[j, c, 1] * dy + rotation[j, c, 2] * dz
                vertices[v, c] += w * (along + position[j, c])
        vertices[v] += translation
    return vertices, shaped, position, position_shape, rotation


@njit(nogil=True, cache=True)
def _residuals(  # type: ignore[no-untyped-def]
    face, inwards, distance, gradient, valid, metre, faces, vertices, betas, limits,
    shaped, position, position_shape, rotation, template, directions, joints, weights, parents, rest_shape,
):  # fmt: skip
    """Derivatives (R, 85) and residuals (R,), times the square root of their weight; how many points the whole outline
    has."""
    std, outlier, reach, beyond, point_weight, least_cosine, most_points = limits
    height, width = face.shape
    ys, xs = np.empty(height * width, np.int64), np.empty(height * width, np.int64)
    count, total = 0, 0
    for i in range(1, height - 1):
        for j in range(1, width - 1):
            if face[i, j] < 0 or min(face[i - 1, j], face[i + 1, j], face[i, j - 1], face[i, j + 1]) >= 0:
                continue
            total += 1
            cosine = gradient[0, i, j] * inwards[0, i, j] + gradient[1, i, j] * inwards[1, i, j]
            if valid[i, j] and cosine >= least_cosine:
                ys[count], xs[count] = i, j
                count += 1
    stride = max(1, count // most_points)
    rows, residuals = np.zeros((count // stride + 1, 85)), np.zeros(count // stride + 1)
    used = 0
    for point in range(0, count, stride):
        i, j = ys[point], xs[point]
        v = faces[face[i, j], 0]
        x, y, z = vertices[v]
        error = (distance[i, j] - 0.5) * metre * z + beyond  # the edge of the silhouette is half a cell farther out
        if abs(error) > reach:
            continue
        weight = np.sqrt(point_weight * stride) / (1 + (error / (std * outlier)) ** 2) / std
        # By the point: aside along the gradient; farther away, it moves towards the principal point.
        by_point = weight * np.array([gradient[0, i, j], gradient[1, i, j], 0.0])
        by_point[2] = -(by_point[0] * x + by_point[1] * y) / z
        _chain(
            v, by_point, betas, shaped, position, position_shape, rotation, template, directions, joints, weights,
            parents, rest_shape, rows[used],
        )  # fmt: skip
        rows[used, 72:75] = by_point
        residuals[used] = weight * error
        used += 1
    return rows[:used], residuals[:used], total


@njit(nogil=True, cache=True)
def _chain(  # type: ignore[no-untyped-def]
    v, by_point, betas, shaped, position, position_shape, rotation, template, directions, joints, weights, parents,
    rest_shape, row,
):  # fmt: skip
    """Add to `row` (85,), at the rotations and betas, the derivative of `by_point` (3,) times vertex `v`."""
    rest = template[v].copy()
    for c in range(3):
        for b in range(len(betas)):
            rest[c] += directions[v, c, b] * betas[b]
    for i in range(joints.shape[1]):
        j, w = joints[v, i], weights[v, i]
        if w == 0:
            continue
        carried = w * (rotation[j] @ (rest - shaped[j]) + position[j])
        turned = w * (rotation[j].T @ by_point)
        for b in range(len(betas)):
            for c in range(3):
                row[75 + b] += turned[c] * (directions[v, c, b] - rest_shape[j, c, b])
                row[75 + b] += w * by_point[c] * position_shape[j, c, b]
        above = j
        while above >= 0:  # each joint above rotates the point about that joint, around its parent's axes
            arm = carried - w * position[above]
            moment = np.cross(arm, by_point)
            if above > 0:
                row[3 * above : 3 * above + 3] += rotation[parents[above]].T @ moment
            else:
                row[:3] += moment
            above = parents[above]
