"""The texture atlas: the face under each texel's centre."""

from __future__ import annotations

import numpy as np

from open_body.assets import Array


def rasterise(coordinates: Array, faces: Array, size: int) -> tuple[Array, Array]:
    """coordinates: (m, 2) in 0..1, v upwards. faces: (F, 3). Row 0 of the texture is v = 1.

    Returns the face of each texel (size, size), −1 where there is none, and barycentric weights (size, size, 3).
    """
    face_of = np.full((size, size), -1, np.int32)
    weights = np.zeros((size, size, 3), np.float32)
    for number, corners in enumerate(coordinates[faces] * size):
        low = np.maximum(np.floor(corners.min(0) - 0.5).astype(int), 0)
        high = np.minimum(np.ceil(corners.max(0) + 0.5).astype(int), size - 1)
        (ax, ay), (bx, by) = corners[1] - corners[0], corners[2] - corners[0]
        area = ax * by - ay * bx
        if (high < low).any() or abs(area) < 1e-12:
            continue
        columns, rows = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        x, y = columns + 0.5 - corners[0, 0], rows + 0.5 - corners[0, 1]
        second, third = (x * by - y * bx) / area, (ax * y - ay * x) / area
        barycentric = np.stack([1 - second - third, second, third], axis=-1)
        inside = (barycentric >= -1e-6).all(-1)
        texels = size - 1 - rows[inside], columns[inside]
        face_of[texels] = number
        weights[texels] = barycentric[inside]
    return face_of, weights
