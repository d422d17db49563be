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


@njit(nogil=True, cache=True, error_model="numpy")
def vertex_light(vertices, normals):  # type: ignore[no-untyped-def]
    """(P, V, 3) vertices in the camera frame and their unit normals -> (P, V, 2): how bright the surface is there, and
    the highlight to add, 0..255. Faces are a few pixels large: light is interpolated between their corners."""
    lights = np.empty((*vertices.shape[:2], 2))
    for p in range(vertices.shape[0]):
        for v in range(vertices.shape[1]):
            x, y, z = vertices[p, v]
            nx, ny, nz = normals[p, v]
            inverse = 1.0 / math.sqrt(x * x + y * y + z * z + 1e-12)
            x, y, z = x * inverse, y * inverse, z * inverse
            head = max(-(nx * x + ny * y + nz * z), 0.0)
            key = max(nx * _KEY[0] + ny * _KEY[1] + nz * _KEY[2], 0.0)
            # The half-way vector between the key light and the viewer (Blinn 1977).
            hx, hy, hz = _KEY[0] - x, _KEY[1] - y, _KEY[2] - z
            half = max((nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12), 0.0)
            shine = half * half
            shine *= shine
            shine *= shine
            lights[p, v, 0] = _AMBIENT - _SKY * ny + _KEY_STRENGTH * key + _HEAD_STRENGTH * head
            lights[p, v, 1] = 255.0 * _SHINE * shine * shine
    return lights


@njit(nogil=True, cache=True, error_model="numpy")
def composite(  # type: ignore[no-untyped-def]
    image, top, left, inverse_depth, numbers, samples, vertices, lights, faces, colours, alphas, camera
):
    """Shade what a window's buffers hold into `image`, in place.

    image: (H, W, 3) uint8. inverse_depth, numbers: (h · samples, w · samples) of the window whose first pixel is
    (`top`, `left`), as `rasteriser.fill` leaves them. lights: (P, V, 2), see `vertex_light`. colours: (P, 3) 0..255,
    alphas: (P,) of the people. camera: as in `rasteriser.camera_row`, for the enlarged picture.
    """
    share = 1.0 / (samples * samples)
    count = faces.shape[0]
    for i in range(numbers.shape[0] // samples):
        for j in range(numbers.shape[1] // samples):
            covered, one_surface = _survey(inverse_depth, numbers, i * samples, j * samples, samples, count)
            if covered == 0:
                continue
            red, green, blue, opacity = 0.0, 0.0, 0.0, 0.0
            for k in range(samples * samples):
                row, column = i * samples + k // samples, j * samples + k % samples
                number = numbers[row, column]
                if number < 0:
                    continue
                person = number // count
                x = (left * samples + column + 0.5 - camera[1]) / camera[0]
                y = (top * samples + row + 0.5 - camera[2]) / camera[0]
                p, q, r = faces[number - person * count]
                a, b, c = barycentric(vertices[person, p], vertices[person, q], vertices[person, r], x, y)
                light = a * lights[person, p, 0] + b * lights[person, q, 0] + c * lights[person, r, 0]
                shine = a * lights[person, p, 1] + b * lights[person, q, 1] + c * lights[person, r, 1]
                weight = (covered if one_surface else 1) * alphas[person] * share
                red += weight * min(max(light * colours[person, 0] + shine, 0.0), 255.0)
                green += weight * min(max(light * colours[person, 1] + shine, 0.0), 255.0)
                blue += weight * min(max(light * colours[person, 2] + shine, 0.0), 255.0)
                opacity += weight
                if one_surface:
                    break
            pixel = image[top + i, left + j]
            pixel[0] = np.uint8(red + (1.0 - opacity) * pixel[0] + 0.5)
            pixel[1] = np.uint8(green + (1.0 - opacity) * pixel[1] + 0.5)
            pixel[2] = np.uint8(blue + (1.0 - opacity) * pixel[2] + 0.5)


@njit(nogil=True, cache=True, error_model="numpy")
def _survey(inverse_depth, numbers, top, left, samples, face_count):  # type: ignore[no-untyped-def]
    """How many of a pixel's samples see somebody, and whether these all see the same stretch of surface."""
    covered, first, near = 0, -1, 0.0
    one_surface = True
    for row in range(top, top + samples):
        for column in range(left, left + samples):
            number = numbers[row, column]
            if number < 0:
                continue
            if covered == 0:
                first, near = number, inverse_depth[row, column]
            elif number != first and (
                abs(inverse_depth[row, column] - near) > _SAME_SURFACE * near * near
                or number // face_count != first // face_count
            ):
                one_surface = False
            covered += 1
    return covered, one_surface


@njit(nogil=True, cache=True)
def _difference(u, v):  # type: ignore[no-untyped-def]
    return u[0] - v[0], u[1] - v[1], u[2] - v[2]
