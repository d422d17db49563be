"""What the demo scene looks like: clothes painted on the open body, a paved yard before a wall, light and shadow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.rasteriser import barycentric, camera_row, rasterise
from fourd_humans.rendering.shading import vertex_normals

Image = NDArray[np.float32]  # (H, W, 3), 0 to 1

TEXTURE = 512
SUN = np.array([-0.45, -0.8, -0.42]) / np.linalg.norm([-0.45, -0.8, -0.42])  # towards it; x right, y down, z away
WALL = 12.5  # metres from the camera
AMBIENT, DIRECT = 0.50, 0.62
SHADOW = 0.55  # share of the light on the ground that a person takes away

SKINS = ((0.87, 0.67, 0.55), (0.62, 0.42, 0.31), (0.93, 0.76, 0.66), (0.40, 0.26, 0.19), (0.78, 0.57, 0.43))
HAIRS = ((0.13, 0.09, 0.07), (0.05, 0.05, 0.05), (0.45, 0.29, 0.14), (0.07, 0.06, 0.06), (0.34, 0.32, 0.31))
SHIRTS = ((0.72, 0.13, 0.12), (0.15, 0.34, 0.68), (0.88, 0.86, 0.80), (0.90, 0.66, 0.12), (0.12, 0.45, 0.27))
SECOND_COLOURS = ((0.93, 0.90, 0.86), (0.10, 0.15, 0.30), (0.20, 0.22, 0.28), (0.35, 0.20, 0.08), (0.75, 0.82, 0.70))
TROUSERS = ((0.16, 0.19, 0.28), (0.55, 0.49, 0.39), (0.22, 0.30, 0.45), (0.14, 0.14, 0.15), (0.42, 0.40, 0.38))
SHOES = ((0.90, 0.89, 0.87), (0.22, 0.13, 0.08), (0.10, 0.10, 0.11), (0.60, 0.61, 0.63), (0.45, 0.12, 0.12))
PATTERNS = ("stripes", "plain", "checks", "plain", "halves")


@dataclass(frozen=True)
class Skin:
    """The open body's surface as textures need it.

    corners: (F, 3, 2) texture coordinates of each face's corners, in texels. rest: (T, T, 3) metres, where each texel
    lies on the body at rest. joint: (T, T) the SMPL joint that it follows most; -1 where the texture shows nothing.
    """

    corners: NDArray[np.float64]
    rest: NDArray[np.float64]
    joint: NDArray[np.int64]

    @staticmethod
    def open_body() -> Skin:
        with np.load(str(files("fourd_humans.body") / "data" / "open_body_neutral.npz"), allow_pickle=False) as body:
            template, faces = body["v_template"].astype(np.float64), body["f"].astype(np.int64)
            joints = body["weights"].argmax(1)
            places, texture_faces = body["vt"].astype(np.float64), body["ft"].astype(np.int64)
        places = places * [1.0, -1.0] + [0.0, 1.0]
        corners = places[texture_faces] * TEXTURE
        flat = np.concatenate([places, np.ones((len(places), 1))], axis=1)
        _, face = rasterise(flat[None], texture_faces, Intrinsics(TEXTURE, (0.0, 0.0)), (TEXTURE, TEXTURE))
        rest = np.zeros((TEXTURE, TEXTURE, 3))
        rows, columns = np.nonzero(face >= 0)
        a, b, c = (flat[texture_faces[face[rows, columns], k]] for k in range(3))
        rays = np.stack([(columns + 0.5) / TEXTURE, (rows + 0.5) / TEXTURE, np.ones(len(rows))], axis=1)
        weights = np.stack([np.einsum("ni,ni->n", rays, np.cross(*pair)) for pair in ((b, c), (c, a), (a, b))], axis=1)
        weights /= weights.sum(1, keepdims=True)
        corner_vertices = faces[face[rows, columns]]
        rest[rows, columns] = (template[corner_vertices] * weights[..., None]).sum(1)
        joint = np.full((TEXTURE, TEXTURE), -1)
        joint[rows, columns] = joints[corner_vertices[np.arange(len(rows)), weights.argmax(1)]]
        return Skin(corners, rest, joint)

    def dress(self, look: int, rng: np.random.Generator) -> Image:
        """A (T, T, 3) texture: skin, hair, face, shirt, trousers and shoes, in the colours of `look` 0, 1, 2, …"""
        x, y, z = np.moveaxis(self.rest, -1, 0)
        side = np.abs(x)
        choice = look % len(SHIRTS)
        texture = np.empty((TEXTURE, TEXTURE, 3))
        texture[:] = SKINS[(look + look // len(SKINS)) % len(SKINS)]

        head = np.isin(self.joint, (12, 15)) & (y > 0.27)
        texture[head & ((y > 0.43) | ((z < 0.075) & (y > 0.30)))] = HAIRS[choice]
        for height, reach, width, colour in (
            (0.385, 0.045, 0.008, 0.35),  # eyes
            (0.403, 0.045, 0.004, 0.5),  # brows
        ):
            spot = head & (np.abs(y - height) < width) & (np.abs(side - 0.033) < 0.4 * reach) & (z > 0.12)
            texture[spot] *= colour
        texture[head & (np.abs(y - 0.296) < 0.007) & (side < 0.024) & (z > 0.13)] *= (0.75, 0.45, 0.45)

        arms = np.isin(self.joint, (16, 17, 18, 19, 20, 21, 22, 23))
        sleeve = 0.66 if choice in (1, 4) else 0.36
        shirt = (~arms & (y > -0.22) & (y < 0.235) & ~np.isin(self.joint, (15, 20, 21, 22, 23))) | (
            arms & (side < sleeve)
        )
        first, second = np.array(SHIRTS[choice]), np.array(SECOND_COLOURS[choice])
        along = np.where(arms, side, y)
        is_second = {
            "plain": np.zeros_like(shirt),
            "stripes": np.mod(along, 0.09) < 0.03,
            "checks": (np.mod(along, 0.12) < 0.03) | (np.mod(x + 0.015, 0.12) < 0.03),
            "halves": along > 0.06,
        }[PATTERNS[choice]]
        texture[shirt] = np.where(is_second[..., None], second, first)[shirt]
        texture[shirt & (np.abs(side - sleeve) < 0.008) & arms] *= 0.7

        shorts = choice == 3
        legs = ~arms & (y <= -0.22) & (y > (-0.66 if shorts else -1.11))
        texture[legs] = TROUSERS[choice]
        texture[legs & (y > -0.25)] = np.array(TROUSERS[choice]) * 0.45
        texture[~arms & (y <= -1.11)] = SHOES[choice]
        texture[~arms & (y <= -1.185)] = (0.12, 0.12, 0.12)

        cloth = shirt | legs
        shown = self.joint >= 0
        texture[shown] *= 1 + np.where(cloth, 0.16, 0.05)[shown, None] * _folds(self.rest[shown], rng)[:, None]
        texture += rng.normal(0, 0.012, texture.shape)
        return _bleed(np.clip(texture, 0, 1), shown)


def _folds(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise in space, about -1 to 1: waves in many directions, finer ones weaker."""
    octave = np.repeat(np.arange(4), 5)
    waves = rng.normal(size=(len(octave), 3)) * [1.0, 0.6, 1.0] * (9 * 1.9**octave)[:, None]
    phases = points.astype(np.float32) @ waves.T.astype(np.float32) + rng.uniform(0, 2 * np.pi, len(octave))
    return np.asarray(np.sin(phases.astype(np.float32)) @ (0.7**octave) / 3.5, np.float64)


def _bleed(texture: NDArray[np.float64], shown: NDArray[np.bool_]) -> Image:
    """Carry colours past the borders of the shown texels, so that sampling near a seam picks up nothing else."""
    _, nearest = cv2.distanceTransformWithLabels(
        (~shown).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((nearest.max() + 1, 3), np.float32)
    colours[nearest[shown]] = texture[shown]
    return colours[nearest]


def backdrop(
    size: tuple[int, int], intrinsics: Intrinsics, rotation: NDArray[np.float64], height: float, seed: int
) -> Image:
    """The empty scene: paving stones and a brick wall with windows and a door, in low sunlight.

    rotation: (3, 3) from the level world to the camera. height: metres of the camera above the ground.
    """
    rng = np.random.default_rng(seed)
    fine = 2  # samples per pixel and direction
    rows, columns = (np.arange(length * fine) / fine + 0.5 / fine for length in size)
    x = (columns[None] - intrinsics.principal_point[0]) / intrinsics.focal_length * np.ones((len(rows), 1))
    y = (rows[:, None] - intrinsics.principal_point[1]) / intrinsics.focal_length * np.ones((1, len(columns)))
    right, down, away = np.einsum("rc,chw->rhw", rotation.T, np.stack([x, y, np.ones_like(x)]))
    to_ground = np.where(down > 1e-6, height / np.maximum(down, 1e-6), np.inf)
    to_wall = WALL / np.maximum(away, 1e-6)
    on_ground = to_ground < to_wall
    distance = np.minimum(to_ground, to_wall)
    across, up, depth = right * distance, height - down * distance, away * distance

    stains = _cloud(rng, 512)
    ground = _paving(across, depth, stains, rng)
    wall = _bricks(across, up, stains, rng)
    image = np.where(on_ground[..., None], ground, wall)
    # Where ground and wall meet it is darker, and the light falls off to one side.
    corner = np.exp(-np.abs(np.where(on_ground, WALL - depth, up)) / 0.5)
    image *= (1 - 0.35 * corner)[..., None]
    dapples = _sample(cv2.GaussianBlur(stains, (0, 0), 9), across / 9 + 0.3, (depth + up) / 9)
    image *= (0.86 + 0.5 * (dapples - 0.5) + 0.012 * across)[..., None]
    small = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), max(size) / 1200), np.float32)


def _paving(x: NDArray, z: NDArray, stains: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    stone = 0.6
    row = np.floor(z / stone)
    column = np.floor(x / stone + 0.5 * np.mod(row, 2))
    shade = rng.uniform(-0.05, 0.05, (64, 64))[row.astype(int) % 64, column.astype(int) % 64]
    gap = np.minimum(np.mod(z / stone, 1), np.mod(x / stone + 0.5 * np.mod(row, 2), 1)) * stone
    value = 0.60 + shade + 0.25 * (_sample(stains, x / 5, z / 5) - 0.5) + 0.22 * (_sample(stains, x, z) - 0.5)
    value = np.where(gap < 0.018, value * 0.66, value)
    return value[..., None] * np.array([1.0, 0.965, 0.90])


def _bricks(x: NDArray, y: NDArray, stains: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    row = np.floor(y / 0.085)
    along = x / 0.26 + 0.5 * np.mod(row, 2)
    shade = rng.uniform(-0.10, 0.10, (128, 128))[row.astype(int) % 128, np.floor(along).astype(int) % 128]
    mortar = (np.mod(y, 0.085) < 0.014) | (np.mod(along, 1) < 0.05)
    value = 1 + shade + 0.5 * (_sample(stains, x / 6, y / 6) - 0.5)
    wall = np.where(mortar[..., None], [0.66, 0.62, 0.57], np.array([0.56, 0.36, 0.28]) * value[..., None])
    plinth = y < 0.55
    wall[plinth] = (np.array([0.50, 0.49, 0.47]) * value[..., None])[plinth]

    bay = np.mod(x + 1.4, 4.2)
    window = (bay > 0.7) & (bay < 2.3) & (y > 1.1) & (y < 2.9)
    frame = window & ((np.abs(bay - 1.5) < 0.05) | (bay < 0.79) | (bay > 2.21) | (y < 1.19) | (y > 2.81))
    glass = 0.20 + 0.30 * _sample(cv2.GaussianBlur(stains, (0, 0), 5), x / 3, y / 3) + 0.1 * (y - 1.1)
    wall[window] = (glass[..., None] * np.array([0.80, 0.93, 1.05]))[window]
    wall[frame] = (0.80, 0.79, 0.76)
    wall[(bay > 0.6) & (bay < 2.4) & (y > 0.98) & (y <= 1.1)] = (0.68, 0.67, 0.63)  # sills
    door = (np.abs(x - 3.9) < 0.55) & (y < 2.2)
    wall[door] = (np.array([0.16, 0.27, 0.25]) * value[..., None])[door]
    return wall


def _cloud(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """A (side, side) tile of cloudy noise, 0 to 1, that continues across its borders."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1 / side) ** 1.1
    cloud = np.fft.ifft2(spectrum).real
    low, high = np.percentile(cloud, (2, 98))
    return np.clip((cloud - low) / (high - low), 0, 1).astype(np.float32)


def _sample(tile: NDArray, x: NDArray, y: NDArray) -> NDArray[np.float64]:
    """A tile of 1x1 continued over the plane."""
    side = tile.shape[0]
    return tile[(y * side).astype(np.int64) % side, (x * side).astype(np.int64) % side].astype(np.float64)


def cast_shadows(
    image: Image, vertices: NDArray[np.float64], faces: NDArray[np.int64], rotation: NDArray[np.float64],
    intrinsics: Intrinsics, height: float,
) -> None:  # fmt: skip
    """Darken the ground where people (P, V, 3), in the camera frame, keep the sun off it; sharpest at their feet.

    rotation: (3, 3) from the level world to the camera. height: of the camera above the ground.
    """
    world = vertices @ rotation
    above = height - world[..., 1:2]
    on_ground = world + above * (-SUN / -SUN[1])
    size = (image.shape[0], image.shape[1])
    keep = np.ones(size, np.float32)
    for person, touching in zip(on_ground, world, strict=True):
        for flat, blur, share in (
            (person, 0.035, SHADOW),
            (touching * [1.0, 0.0, 1.0] + [0.0, height, 0.0], 0.06, 0.35),  # the light of the sky, kept off below
        ):
            camera_points = flat @ rotation.T
            _, face = rasterise(camera_points[None], faces, intrinsics, size)
            pixels_per_metre = intrinsics.focal_length / max(float(camera_points[:, 2].mean()), 0.5)
            sigma = max(blur * pixels_per_metre, 0.6)
            keep *= 1 - share * cv2.GaussianBlur((face >= 0).astype(np.float32), (0, 0), sigma)
    image *= keep[..., None]


def draw_people(
    image: Image, vertices: NDArray[np.float64], faces: NDArray[np.int64], skin: Skin, textures: Image,
    rotation: NDArray[np.float64], intrinsics: Intrinsics, samples: int = 2,
) -> None:  # fmt: skip
    """Textured people (P, V, 3), textures (P, T, T, 3), in sunlight, into `image` in place."""
    size = (image.shape[0] * samples, image.shape[1] * samples)
    camera = camera_row(intrinsics, samples)
    _, numbers = rasterise(vertices, faces, Intrinsics(camera[0], (camera[1], camera[2])), size)
    normals = vertex_normals(vertices, faces)
    _texture(image, numbers, samples, vertices, normals, faces, skin.corners, textures, rotation @ SUN, camera)


@njit(nogil=True, cache=True)
def _texture(  # type: ignore[no-untyped-def]
    image, numbers, samples, vertices, normals, faces, corners, textures, sun, camera
):
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            covered = 0
            red, green, blue = 0.0, 0.0, 0.0
            for row in range(i * samples, (i + 1) * samples):
                for column in range(j * samples, (j + 1) * samples):
                    if numbers[row, column] < 0:
                        continue
                    covered += 1
                    person, face = numbers[row, column] // faces.shape[0], numbers[row, column] % faces.shape[0]
                    u, v, w = faces[face]
                    x, y = (column + 0.5 - camera[1]) / camera[0], (row + 0.5 - camera[2]) / camera[0]
                    a, b, c = barycentric(vertices[person, u], vertices[person, v], vertices[person, w], x, y)
                    length, lit, upwards = 1e-12, 0.0, 0.0
                    for k in range(3):
                        n = a * normals[person, u, k] + b * normals[person, v, k] + c * normals[person, w, k]
                        length += n * n
                        lit += n * sun[k]
                        if k == 1:
                            upwards = -n
                    length = math.sqrt(length)
                    light = AMBIENT * (0.82 + 0.18 * upwards / length) + DIRECT * max(lit / length, 0.0)
                    s = a * corners[face, 0, 0] + b * corners[face, 1, 0] + c * corners[face, 2, 0]
                    t = a * corners[face, 0, 1] + b * corners[face, 1, 1] + c * corners[face, 2, 1]
                    p = min(max(int(t), 0), textures.shape[1] - 1)
                    q = min(max(int(s), 0), textures.shape[2] - 1)
                    red += light * textures[person, p, q, 0]
                    green += light * textures[person, p, q, 1]
                    blue += light * textures[person, p, q, 2]
            if covered:
                total = samples * samples
                rest = 1.0 - covered / total
                image[i, j, 0] = image[i, j, 0] * rest + red / total
                image[i, j, 1] = image[i, j, 1] * rest + green / total
                image[i, j, 2] = image[i, j, 2] * rest + blue / total


def develop(image: Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What a camera makes of it: a little blur, darker corners, grain, 8 bits."""
    height, width = image.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    picture = cv2.GaussianBlur(image, (0, 0), 0.5) * (1.03 - 0.12 * (x * x + y * y))[..., None]
    picture = picture + rng.normal(0, 0.013, (height, width, 1)) + rng.normal(0, 0.006, image.shape)
    return np.asarray(np.clip(255 * picture, 0, 255), np.uint8)
