"""Which surface of which person each pixel sees: a depth and a face-number buffer filled with all people at once.

The same buffers serve the pictures and the question whether a point of the skin is visible.

Conventions: points are in the camera frame (x right, y down, z away), metres; a point projects to
``focal_length · (x, y) / z + principal_point``; pixel (row i, column j) is the square from (j, i) to (j + 1, i + 1)
and sees what lies under its centre (j + 0.5, i + 0.5).

The kernels release the GIL and never use numba's own threads: call them from as many Python threads as wanted.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from fourd_humans.geometry.camera import Intrinsics

NEAR = 0.05  # metres: what is nearer to the camera than this is cut off
_SNAP = 256.0  # steps per pixel: on such a grid edge functions are exact, so that neighbours leave no holes


def rasterise(
    vertices: ArrayLike,
    faces: NDArray[np.integer],
    intrinsics: Intrinsics,
    size: tuple[int, int],
    near: float = NEAR,
    *,
    front_only: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The depth and the face that each pixel of a picture sees.

    vertices: (P, V, 3) of P people with the same mesh, in the camera frame, metres; P may be 0.
    faces: (F, 3) vertex numbers; both sides of a face are drawn, or with `front_only` the front, see `fill`.
    size: (height, width) of the picture; the principal point need not lie in it.
    near: surfaces nearer than this, in metres, are cut off; so are faces with a coordinate that is not finite.

    Returns: depth (H, W) float32 in metres along z, infinite where nothing is seen, and face (H, W) int32, -1 where
    nothing is seen, else ``person * F + face``.
    """
    points = np.ascontiguousarray(vertices, dtype=np.float64)
    triangles = np.ascontiguousarray(faces, dtype=np.int64)
    depth = np.zeros(size, np.float32)
    face = np.full(size, -1, np.int32)
    camera = camera_row(intrinsics)
    fill(points, to_screen(points, camera, near), triangles, camera, near, 0, 0, depth, face, front_only)
    with np.errstate(divide="ignore"):
        np.divide(1.0, depth, out=depth)
    return depth, face


def camera_row(intrinsics: Intrinsics, scale: float = 1.0) -> NDArray[np.float64]:
    """(focal length, principal point x, y) for a picture enlarged `scale` times, as the kernels take them."""
    return np.array([intrinsics.focal_length, *intrinsics.principal_point], np.float64) * scale


@njit(nogil=True, cache=True)
def to_screen(vertices, camera, near):  # type: ignore[no-untyped-def]
    """(P, V, 3) camera-frame points -> (P, V, 3): x and y in pixels and 1 / z, which is 0 for what `near` cuts off."""
    screen = np.empty(vertices.shape)
    for p in range(vertices.shape[0]):
        for v in range(vertices.shape[1]):
            z = vertices[p, v, 2]
            if z >= near:  # false for NaN too
                inverse = 1.0 / z
                screen[p, v, 0] = _snap(camera[0] * vertices[p, v, 0] * inverse + camera[1])
                screen[p, v, 1] = _snap(camera[0] * vertices[p, v, 1] * inverse + camera[2])
                screen[p, v, 2] = inverse
            else:
                screen[p, v] = 0.0
    return screen


@njit(nogil=True, cache=True)
def fill(vertices, screen, faces, camera, near, top, left, inverse_depth, numbers, front_only=False):  # type: ignore[no-untyped-def]
    """Draw all faces of all people into a window of the picture whose first pixel is (row `top`, column `left`).

    vertices, screen: (P, V, 3), see `to_screen`. inverse_depth, numbers: (h, w) buffers of the window, changed in place
    where a face is nearer; start them with 0 and -1. Of faces equally near the first stays.
    front_only: leave out faces whose corners do not run counter-clockwise as seen, which in a closed mesh are hidden
    anyway: it is quicker.
    """
    corners = np.empty((4, 3))
    bottom, right = top + numbers.shape[0], left + numbers.shape[1]
    count = faces.shape[0]
    for p in range(screen.shape[0]):
        points = screen[p]
        for f in range(count):
            a, b, c = faces[f]
            ay, by, cy = points[a, 1], points[b, 1], points[c, 1]
            whole = points[a, 2] > 0.0 and points[b, 2] > 0.0 and points[c, 2] > 0.0
            if whole:
                if max(ay, by, cy) <= top or min(ay, by, cy) >= bottom:
                    continue
                ax, bx, cx = points[a, 0], points[b, 0], points[c, 0]
                if max(ax, bx, cx) <= left or min(ax, bx, cx) >= right:
                    continue
                _fill_triangle(
                    ax, ay, points[a, 2], bx, by, points[b, 2], cx, cy, points[c, 2],
                    p * count + f, top, left, inverse_depth, numbers, front_only,
                )  # fmt: skip
            elif points[a, 2] > 0.0 or points[b, 2] > 0.0 or points[c, 2] > 0.0:
                kept = _cut_at_near(vertices[p], a, b, c, camera, near, corners)
                for k in range(2, kept):
                    _fill_triangle(
                        corners[0, 0], corners[0, 1], corners[0, 2],
                        corners[k - 1, 0], corners[k - 1, 1], corners[k - 1, 2],
                        corners[k, 0], corners[k, 1], corners[k, 2],
                        p * count + f, top, left, inverse_depth, numbers, front_only,
                    )  # fmt: skip


@njit(nogil=True, cache=True)
def touched(screen, samples, height, width):  # type: ignore[no-untyped-def]
    """(top, bottom, left, right), without bottom and right themselves, of the part of a (height, width) picture that
    points (P, V, 3) of `to_screen`, for the picture enlarged `samples` times, can touch."""
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for p in range(screen.shape[0]):
        for v in range(screen.shape[1]):
            if screen[p, v, 2] == 0.0:  # a face that the near plane cuts may reach anywhere
                return 0, height, 0, width
            low_x, high_x = min(low_x, screen[p, v, 0]), max(high_x, screen[p, v, 0])
            low_y, high_y = min(low_y, screen[p, v, 1]), max(high_y, screen[p, v, 1])
    left, right = max(low_x / samples, 0.0), min(high_x / samples + 1.0, width)
    top, bottom = max(low_y / samples, 0.0), min(high_y / samples + 1.0, height)
    if not (left < right and top < bottom):
        return 0, 0, 0, 0
    return int(top), int(bottom), int(left), int(right)


@njit(nogil=True, cache=True)
def barycentric(corner_a, corner_b, corner_c, x, y):  # type: ignore[no-untyped-def]
    """Weights of a face's corners (3,) where the ray (x, y, 1) from the camera meets its plane; they sum to 1.

    Perspective-correct, and right for faces that reach behind the camera: each weight is the volume spanned by the ray
    and the other two corners.
    """
    a = _volume(corner_b, corner_c, x, y)
    b = _volume(corner_c, corner_a, x, y)
    c = _volume(corner_a, corner_b, x, y)
    total = a + b + c
    if total == 0.0:  # seen exactly from its edge
        return 1.0, 0.0, 0.0
    return a / total, b / total, c / total


@njit(nogil=True, cache=True)
def _volume(u, v, x, y):  # type: ignore[no-untyped-def]
    return x * (u[1] * v[2] - u[2] * v[1]) + y * (u[2] * v[0] - u[0] * v[2]) + (u[0] * v[1] - u[1] * v[0])


@njit(nogil=True, cache=True)
def _snap(value):  # type: ignore[no-untyped-def]
    return np.floor(value * _SNAP + 0.5) / _SNAP


@njit(nogil=True, cache=True)
def _cut_at_near(points, a, b, c, camera, near, corners):  # type: ignore[no-untyped-def]
    """The part of a face beyond the near plane, as up to 4 screen corners in order; returns how many."""
    kept = 0
    triangle = (a, b, c)
    for k in range(3):
        u, v = points[triangle[k]], points[triangle[(k + 1) % 3]]
        if u[2] >= near:
            _corner(u[0], u[1], u[2], camera, corners[kept])
            kept += 1
        if (u[2] >= near) != (v[2] >= near):
            t = (near - u[2]) / (v[2] - u[2])
            _corner(u[0] + t * (v[0] - u[0]), u[1] + t * (v[1] - u[1]), near, camera, corners[kept])
            kept += 1
    return kept


@njit(nogil=True, cache=True)
def _corner(x, y, z, camera, out):  # type: ignore[no-untyped-def]
    out[0] = _snap(camera[0] * x / z + camera[1])
    out[1] = _snap(camera[0] * y / z + camera[2])
    out[2] = 1.0 / z


@njit(nogil=True, cache=True)
def _fill_triangle(ax, ay, aw, bx, by, bw, cx, cy, cw, number, top, left, inverse_depth, numbers, front_only):  # type: ignore[no-untyped-def]
    """Draw one triangle given by x, y (pixels) and inverse depth, linear on the screen, of its corners."""
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if not abs(area) > 0.0:  # seen from its edge, or not finite
        return
    if front_only and area > 0.0:  # y points down, so counter-clockwise is negative
        return
    if area < 0.0:
        bx, by, bw, cx, cy, cw, area = cx, cy, cw, bx, by, bw, -area
    x_min, x_max = min(ax, bx, cx) - left - 0.5, max(ax, bx, cx) - left - 0.5
    y_min, y_max = min(ay, by, cy) - top - 0.5, max(ay, by, cy) - top - 0.5
    first = math.ceil(max(x_min, 0.0))
    last = math.floor(min(x_max, inverse_depth.shape[1] - 1.0))
    first_row = math.ceil(max(y_min, 0.0))
    last_row = math.floor(min(y_max, inverse_depth.shape[0] - 1.0))
    if first > last or first_row > last_row:
        return
    x, y = first + left + 0.5, first_row + top + 0.5
    row_a = (cx - bx) * (y - by) - (cy - by) * (x - bx)
    row_b = (ax - cx) * (y - cy) - (ay - cy) * (x - cx)
    row_c = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    across = 1.0 / area
    dw = -((cy - by) * aw + (ay - cy) * bw + (by - ay) * cw) * across
    for i in range(first_row, last_row + 1):
        ea, eb, ec = row_a, row_b, row_c
        w = (ea * aw + eb * bw + ec * cw) * across
        for j in range(first, last + 1):
            if ea >= 0.0 and eb >= 0.0 and ec >= 0.0 and w > inverse_depth[i, j]:
                inverse_depth[i, j] = w
                numbers[i, j] = number
            ea -= cy - by
            eb -= ay - cy
            ec -= by - ay
            w += dw
        row_a += cx - bx
        row_b += ax - cx
        row_c += bx - ax
