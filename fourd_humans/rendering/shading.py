"""Deferred shading: the pixels of filled buffers get a colour and go straight into the picture.

Colour and coverage are averaged over the samples of a pixel, with premultiplied alpha: colour + background · (1 − a).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Lights in the camera frame. The key light comes over the viewer's left shoulder, the other from the viewer.
_KEY = (-0.45, -0.62, -0.64)
_AMBIENT, _SKY, _KEY_STRENGTH, _HEAD_STRENGTH, _SHINE = 0.30, 0.14, 0.45, 0.26, 0.16
_LEAST_AREA = 0.1  # square pixels, twice the area of a face: smaller ones hold no sample, or one
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
def face_light(screen, lights, faces):  # type: ignore[no-untyped-def]
    """How light changes over each face, linear on the screen: faces are a few pixels large.

    screen: (P, V, 3), see `rasteriser.to_screen`. lights: (P, V, 2), see `vertex_light`.
    Returns (P · F, 6) float32: of the brightness, then of the highlight, the value at (0, 0) and its increase along x
    and y. Zero for faces whose back is seen. Faces seen from their edge, or cut by the near plane, have their mean.
    """
    count = faces.shape[0]
    planes = np.zeros((screen.shape[0] * count, 6), np.float32)
    for person in range(screen.shape[0]):
        points = screen[person]
        for f in range(count):
            a, b, c = faces[f]
            ax, ay = points[a, 0], points[a, 1]
            ux, uy, vx, vy = points[b, 0] - ax, points[b, 1] - ay, points[c, 0] - ax, points[c, 1] - ay
            area = ux * vy - uy * vx
            whole = points[a, 2] > 0.0 and points[b, 2] > 0.0 and points[c, 2] > 0.0
            if whole and area > 0.0:
                continue
            plane = planes[person * count + f]
            for k in range(2):
                first, second, third = lights[person, a, k], lights[person, b, k], lights[person, c, k]
                if not whole or area > -_LEAST_AREA:
                    plane[3 * k] = (first + second + third) / 3.0
                    continue
                along_x = ((second - first) * vy - (third - first) * uy) / area
                along_y = ((third - first) * ux - (second - first) * vx) / area
                plane[3 * k] = first - along_x * ax - along_y * ay
                plane[3 * k + 1], plane[3 * k + 2] = along_x, along_y
    return planes


@njit(nogil=True, cache=True, error_model="numpy")
def composite(image, top, left, inverse_depth, numbers, samples, planes, colours, alphas):  # type: ignore[no-untyped-def]
    """Shade what a window's buffers hold into `image`, in place.

    image: (H, W, 3) uint8. inverse_depth, numbers: (h · samples, w · samples) of the window whose first pixel is
    (`top`, `left`), as `rasteriser.fill` leaves them. planes: (P · F, 6), see `face_light`. colours: (P, 3) 0..255,
    alphas: (P,) of the people.
    """
    share = 1.0 / (samples * samples)
    count = planes.shape[0] // len(alphas)
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
                x, y = left * samples + column + 0.5, top * samples + row + 0.5
                light = planes[number, 0] + planes[number, 1] * x + planes[number, 2] * y
                shine = planes[number, 3] + planes[number, 4] * x + planes[number, 5] * y
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
