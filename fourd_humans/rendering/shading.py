"""Deferred shading: the pixels of filled buffers get a colour and go straight into the picture.

Colour and coverage are averaged over the samples of a pixel, with premultiplied alpha: colour + background · (1 − a).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from fourd_humans.geometry.rasteriser import barycentric

# Lights in the camera frame. The key light comes over the viewer's left shoulder, the other from the viewer.
_KEY = (-0.45, -0.62, -0.64)
_AMBIENT, _SKY, _KEY_STRENGTH, _HEAD_STRENGTH, _SHINE = 0.30, 0.14, 0.45, 0.26, 0.16
_SAME_SURFACE = 0.03  # metres: samples of a pixel whose depths differ less are shaded once for all


@njit(nogil=True, cache=True)
def vertex_normals(vertices, faces):  # type: ignore[no-untyped-def]
    """(P, V, 3) vertices and (F, 3) faces -> (P, V, 3) unit normals, those of the faces around weighed by area."""
    normals = np.zeros(vertices.shape)
    for p in range(vertices.shape[0]):
        for f in range(faces.shape[0]):
            a, b, c = faces[f]
            ux, uy, uz = _difference(vertices[p, b], vertices[p, a])
            vx, vy, vz = _difference(vertices[p, c], vertices[p, a])
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            for v in (a, b, c):
                normals[p, v, 0] += nx
                normals[p, v, 1] += ny
                normals[p, v, 2] += nz
        for v in range(vertices.shape[1]):
            length = math.sqrt(normals[p, v, 0] ** 2 + normals[p, v, 1] ** 2 + normals[p, v, 2] ** 2)
            if length > 0.0:
                for k in range(3):
                    normals[p, v, k] /= length
    return normals


@njit(nogil=True, cache=True)
def composite(  # type: ignore[no-untyped-def]
    image, top, left, inverse_depth, numbers, samples, vertices, normals, faces, colours, alphas, camera
):
    """Shade what a window's buffers hold into `image`, in place.

    image: (H, W, 3) uint8. inverse_depth, numbers: (h · samples, w · samples) of the window whose first pixel is
    (`top`, `left`), as `rasteriser.fill` leaves them. colours: (P, 3) 0..255, alphas: (P,) of the people. camera: as in
    `rasteriser.camera_row`, for the enlarged picture.
    """
    share = 1.0 / (samples * samples)
    for i in range(numbers.shape[0] // samples):
        for j in range(numbers.shape[1] // samples):
            rows, columns = (i * samples, (i + 1) * samples), (j * samples, (j + 1) * samples)
            covered, one_surface = _survey(inverse_depth, numbers, rows, columns, faces.shape[0])
            if covered == 0:
                continue
            red, green, blue, opacity = 0.0, 0.0, 0.0, 0.0
            for row in range(rows[0], rows[1]):
                for column in range(columns[0], columns[1]):
                    number = numbers[row, column]
                    if number < 0 or (one_surface and opacity > 0.0):
                        continue
                    person, face = number // faces.shape[0], number % faces.shape[0]
                    x = (left * samples + column + 0.5 - camera[1]) / camera[0]
                    y = (top * samples + row + 0.5 - camera[2]) / camera[0]
                    light, shine = _shade(vertices[person], normals[person], faces[face], x, y)
                    weight = (covered if one_surface else 1) * alphas[person] * share
                    red += weight * min(light * colours[person, 0] + shine, 255.0)
                    green += weight * min(light * colours[person, 1] + shine, 255.0)
                    blue += weight * min(light * colours[person, 2] + shine, 255.0)
                    opacity += weight
            pixel = image[top + i, left + j]
            pixel[0] = np.uint8(red + (1.0 - opacity) * pixel[0] + 0.5)
            pixel[1] = np.uint8(green + (1.0 - opacity) * pixel[1] + 0.5)
            pixel[2] = np.uint8(blue + (1.0 - opacity) * pixel[2] + 0.5)


@njit(nogil=True, cache=True)
def _survey(inverse_depth, numbers, rows, columns, face_count):  # type: ignore[no-untyped-def]
    """How many of a pixel's samples see somebody, and whether these all see the same stretch of surface."""
    covered, first, near = 0, -1, 0.0
    one_surface = True
    for row in range(rows[0], rows[1]):
        for column in range(columns[0], columns[1]):
            number = numbers[row, column]
            if number < 0:
                continue
            if covered == 0:
                first, near = number // face_count, inverse_depth[row, column]
            elif abs(inverse_depth[row, column] - near) > _SAME_SURFACE * near * near or number // face_count != first:
                one_surface = False
            covered += 1
    return covered, one_surface


@njit(nogil=True, cache=True)
def _shade(vertices, normals, face, x, y):  # type: ignore[no-untyped-def]
    """How bright the surface of a face is where the ray (x, y, 1) meets it, and the highlight to add, 0..255."""
    a, b, c = barycentric(vertices[face[0]], vertices[face[1]], vertices[face[2]], x, y)
    nx = a * normals[face[0], 0] + b * normals[face[1], 0] + c * normals[face[2], 0]
    ny = a * normals[face[0], 1] + b * normals[face[1], 1] + c * normals[face[2], 1]
    nz = a * normals[face[0], 2] + b * normals[face[1], 2] + c * normals[face[2], 2]
    inverse = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    distance = 1.0 / math.sqrt(x * x + y * y + 1.0)
    head = -(nx * x + ny * y + nz) * inverse * distance
    if head < 0.0:  # an inner side, seen where the near plane cuts: light it as the outer one
        inverse, head = -inverse, -head
    key = (nx * _KEY[0] + ny * _KEY[1] + nz * _KEY[2]) * inverse
    light = _AMBIENT - _SKY * ny * inverse + _KEY_STRENGTH * max(key, 0.0) + _HEAD_STRENGTH * head
    # The half-way vector between the key light and the viewer (Blinn 1977).
    hx, hy, hz = _KEY[0] - x * distance, _KEY[1] - y * distance, _KEY[2] - distance
    half = (nx * hx + ny * hy + nz * hz) * inverse / math.sqrt(hx * hx + hy * hy + hz * hz)
    shine = max(half, 0.0) ** 2
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    return light, 255.0 * _SHINE * shine


@njit(nogil=True, cache=True)
def _difference(u, v):  # type: ignore[no-untyped-def]
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]
