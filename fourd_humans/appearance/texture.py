"""Texture maps of the people in a frame: every visible texel takes the colour of the pixel it projects to.

As in PHALP, with the addition of the supplement of Humans in 4D (S.6): pixels outside the person's mask are not used. A
texel is visible where its surface point faces the camera and is the nearest surface of all people in the frame, so that
a person in front does not colour the one behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import NEAR, rasterise
from fourd_humans.people import TEXTURE_SIZE, Bodies, Detections, Float, Frame, Mask

WINDOW_SIZE = 256  # pixels: longer side of the image of one person that texels are sampled from
DEPTH_TOLERANCE = 0.02  # metres that a visible point may lie behind the depth buffer
MIN_COSINE = 0.2  # between the surface's normal and the line of sight
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
TEXTURE_SCALE = 5.0  # what normalised colours are divided by
BATCH_SIZE = 32  # people posed at a time, which bounds the memory


class Appearance:
    """Fills in the texture of every body.

    body_model: the one that the bodies were recovered with; its device poses the meshes.
    atlas: the surface point of each texel, for that model's faces.
    threads: how many share the people of a batch of frames.
    """

    def __init__(self, body_model: BodyModel, atlas: TextureAtlas, threads: int = 1) -> None:
        self.body_model = body_model
        self.threads = threads
        self.faces = np.ascontiguousarray(body_model.faces, dtype=np.int64)
        shown = atlas.faces_of_texels >= 0
        self.texels = np.flatnonzero(shown)
        self.texel_faces = atlas.faces_of_texels[shown].astype(np.int64)
        self.texel_weights = np.ascontiguousarray(atlas.barycentric[shown], dtype=np.float32)

    def __call__(
        self, frames: Sequence[Frame], detections: Sequence[Detections], bodies: Sequence[Bodies]
    ) -> list[Bodies]:
        """The bodies of each frame with `texture` (N, 4, 256, 256), see `people.Bodies`."""
        if not bodies:
            return []
        textures = [np.zeros((len(people), 4, TEXTURE_SIZE, TEXTURE_SIZE), np.float32) for people in bodies]
        work = []
        for i, (frame, found, people, skins) in enumerate(
            zip(frames, detections, bodies, self._vertices(bodies), strict=True)
        ):
            scene = _Scene(frame.image, skins, Intrinsics(people.focal_length, people.principal_point))
            masks = found.masks or [None] * len(people)
            work += [(scene, person, masks[person], textures[i][person]) for person in range(len(people))]
        with ThreadPoolExecutor(self.threads) if self.threads > 1 else nullcontext() as pool:
            list((pool.map if pool else map)(lambda arguments: self._fill(*arguments), work))
        return [replace(people, texture=texture) for people, texture in zip(bodies, textures, strict=True)]

    @torch.no_grad()
    def _vertices(self, bodies: Sequence[Bodies]) -> list[Float]:
        """(N, V, 3) of each frame, metres in the camera frame."""
        device = self.body_model.v_template.device
        parameters = [
            torch.from_numpy(np.concatenate([getattr(people, name) for people in bodies])).to(device).split(BATCH_SIZE)
            for name in ("global_orient", "body_pose", "betas")
        ]
        skins = [self.body_model(*batch).vertices.cpu().numpy() for batch in zip(*parameters, strict=True)]
        vertices = np.concatenate(skins) + np.concatenate([people.camera for people in bodies])[:, None]
        return np.split(vertices, np.cumsum([len(people) for people in bodies])[:-1])

    def _fill(self, scene: _Scene, person: int, mask: Mask | None, texture: Float) -> None:
        """Write the texture (4, 256, 256) of one of the people in a frame."""
        texture[3] = -1
        extents = scene.extents
        window = _window(extents[person], scene.image.shape[:2])
        if window is None:
            return
        near = [person, *np.flatnonzero(_overlap(extents[person], extents) & (np.arange(len(extents)) != person))]
        seen_through = window.intrinsics(scene.intrinsics)
        picture = window.cut(scene.image)
        depth, _ = rasterise(scene.vertices[near], self.faces, seen_through, picture.shape[:2], front_only=True)
        usable = np.ones(picture.shape[:2], bool) if mask is None else window.cut_mask(mask)
        _fill_texture(
            picture, usable, depth, scene.vertices[person], self.faces, self.texels, self.texel_faces,
            self.texel_weights, np.array([seen_through.focal_length, *seen_through.principal_point]),
            texture.reshape(4, -1), IMAGENET_MEAN, IMAGENET_STD * TEXTURE_SCALE,
        )  # fmt: skip


class _Scene:
    """A frame's image, the meshes (N, V, 3) of its people in the camera frame, the camera, and the meshes' extents."""

    def __init__(self, image: NDArray[np.uint8], vertices: Float, intrinsics: Intrinsics) -> None:
        self.image, self.vertices, self.intrinsics = image, vertices, intrinsics
        self.extents = _extents(vertices, intrinsics)


@dataclass(frozen=True)
class _Window:
    """The part of a frame that holds a person, in whole pixels, and how much it is enlarged."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float

    def intrinsics(self, full: Intrinsics) -> Intrinsics:
        """The camera of the resized window, from that of the frame."""
        x, y = full.principal_point
        return Intrinsics(full.focal_length * self.scale, ((x - self.left) * self.scale, (y - self.top) * self.scale))

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The resized window of the frame; reducing it averages, so that a texel is not one noisy pixel."""
        part = image[self.top : self.bottom, self.left : self.right]
        size = round(part.shape[1] * self.scale), round(part.shape[0] * self.scale)
        while 2 * size[0] <= part.shape[1] and 2 * size[1] <= part.shape[0]:  # much faster than at once
            half = part.shape[1] // 2, part.shape[0] // 2
            part = np.asarray(cv2.resize(part, half, interpolation=cv2.INTER_AREA), np.uint8)
        return np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def cut_mask(self, mask: Mask) -> NDArray[np.bool_]:
        """The same for a mask."""
        part = np.zeros((self.bottom - self.top, self.right - self.left), np.uint8)
        h, w = mask.pixels.shape
        top, left = max(mask.top, self.top), max(mask.left, self.left)
        bottom, right = min(mask.top + h, self.bottom), min(mask.left + w, self.right)
        if top < bottom and left < right:
            part[top - self.top : bottom - self.top, left - self.left : right - self.left] = mask.pixels[
                top - mask.top : bottom - mask.top, left - mask.left : right - mask.left
            ]
        resized = cv2.resize(part, None, fx=self.scale, fy=self.scale, interpolation=cv2.INTER_NEAREST)
        return resized.astype(bool)


def _extents(vertices: Float, intrinsics: Intrinsics) -> NDArray[np.float64]:
    """(N, 4) xyxy pixels of the full frame that hold each mesh (N, V, 3)."""
    directions = np.empty((len(vertices), 4))
    _extents_at_depth_one(vertices, directions)
    return directions * intrinsics.focal_length + np.tile(np.asarray(intrinsics.principal_point), 2)


@njit(nogil=True, cache=True)
def _extents_at_depth_one(vertices, extents):  # type: ignore[no-untyped-def]
    for person in range(len(vertices)):
        extent = extents[person]
        extent[:2], extent[2:] = np.inf, -np.inf
        for v in range(vertices.shape[1]):
            depth = max(vertices[person, v, 2], NEAR)
            x, y = vertices[person, v, 0] / depth, vertices[person, v, 1] / depth
            extent[0], extent[1] = min(extent[0], x), min(extent[1], y)
            extent[2], extent[3] = max(extent[2], x), max(extent[3], y)


def _overlap(box: NDArray, boxes: NDArray) -> NDArray[np.bool_]:
    """(N,) whether `box` (4,) and each of `boxes` (N, 4) have an area in common."""
    return (np.minimum(box[2:], boxes[:, 2:]) > np.maximum(box[:2], boxes[:, :2])).all(1)


def _window(extent: NDArray, size: tuple[int, int]) -> _Window | None:
    """The window for a mesh of this extent in a frame of `size` (height, width); None if it lies outside the frame."""
    height, width = size
    left, top = (int(c) for c in np.floor(np.clip(extent[:2], 0, (width, height))))
    right, bottom = (int(c) for c in np.ceil(np.clip(extent[2:], 0, (width, height))))
    if right <= left or bottom <= top:
        return None
    scale = WINDOW_SIZE / max(right - left, bottom - top)
    if round((right - left) * scale) < 1 or round((bottom - top) * scale) < 1:
        return None  # a sliver
    return _Window(left, top, right, bottom, scale)


@njit(nogil=True, cache=True)
def _fill_texture(  # type: ignore[no-untyped-def]
    picture, mask, depth, skin, faces, texels, texel_faces, texel_weights, camera, texture, mean, std
):
    """Colour the visible texels of one person's `texture` (4, 256·256).

    picture: (h, w, 3), mask and depth: (h, w), all seen by `camera` (focal length, x and y of the principal point).
    skin: (V, 3) camera frame. texels: (T,) positions of the shown texels in the texture; texel_faces: (T,) and
    texel_weights: (T, 3) where on the surface each lies.
    """
    facing = np.empty(len(faces), np.bool_)
    for f in range(len(faces)):
        a, b, c = skin[faces[f, 0]], skin[faces[f, 1]], skin[faces[f, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        toward = -(nx * a[0] + ny * a[1] + nz * a[2])
        length = np.sqrt((nx * nx + ny * ny + nz * nz) * (a[0] * a[0] + a[1] * a[1] + a[2] * a[2]))
        facing[f] = toward > MIN_COSINE * length

    height, width = mask.shape
    for t in range(len(texels)):
        face = texel_faces[t]
        if not facing[face]:
            continue
        a, b, c = skin[faces[face, 0]], skin[faces[face, 1]], skin[faces[face, 2]]
        wa, wb, wc = texel_weights[t]
        z = wa * a[2] + wb * b[2] + wc * c[2]
        if z < NEAR:
            continue
        x = camera[0] * (wa * a[0] + wb * b[0] + wc * c[0]) / z + camera[1]
        y = camera[0] * (wa * a[1] + wb * b[1] + wc * c[1]) / z + camera[2]
        if not (0 <= x < width and 0 <= y < height):
            continue
        column, row = int(x), int(y)
        if not mask[row, column] or z > depth[row, column] + DEPTH_TOLERANCE:
            continue
        # bilinear between the centres of the four nearest pixels
        x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
        left, top = int(x), int(y)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        fx, fy = x - left, y - top
        texel = texels[t]
        for channel in range(3):
            upper = picture[top, left, channel] * (1 - fx) + picture[top, right, channel] * fx
            lower = picture[bottom, left, channel] * (1 - fx) + picture[bottom, right, channel] * fx
            colour = (upper * (1 - fy) + lower * fy) / 255.0
            texture[channel, texel] = (colour - mean[channel]) / std[channel]
        texture[3, texel] = 1
