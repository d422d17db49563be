from __future__ import annotations

import numpy as np
import pytest
import torch

from fourd_humans.appearance.texture import IMAGENET_MEAN, IMAGENET_STD, Appearance
from fourd_humans.body.atlas import TextureAtlas
from fourd_humans.body.model import BodyModel
from fourd_humans.geometry.camera import project, released_intrinsics
from fourd_humans.people import Bodies, Detections, Frame, Mask

SIZE = (360, 900)
SCALE = 4
INTRINSICS = released_intrinsics(SIZE)
NEAR = INTRINSICS.focal_length * 1.7 / 300  # metres at which 1.7 metres are 300 pixels


@pytest.fixture(scope="module")
def body_model() -> BodyModel:
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def appearance(body_model: BodyModel) -> Appearance:
    return Appearance(body_model, TextureAtlas.open_body())


def standing(body_model: BodyModel, places: list[tuple[float, float, float]]) -> Bodies:
    """People in the rest pose, upright and facing the camera."""
    count = len(places)
    upright = np.tile(np.diag([1, -1, -1]).astype(np.float32), (count, 1, 1, 1))
    pose = np.tile(np.eye(3, dtype=np.float32), (count, 23, 1, 1))
    betas = np.zeros((count, 10), np.float32)
    camera = np.array(places, np.float32).reshape(count, 3)
    joints = body_model.joints(*map(torch.from_numpy, (upright, pose, betas))).numpy()
    return Bodies(
        upright,
        pose,
        betas,
        camera=camera,
        joints_3d=joints,
        joints_2d=project(joints, camera, INTRINSICS),
        focal_length=INTRINSICS.focal_length,
        principal_point=INTRINSICS.principal_point,
        shape_space=body_model.shape_space,
    )


def textures(appearance: Appearance, image: np.ndarray, bodies: Bodies, masks: list[Mask] | None = None) -> np.ndarray:
    found = Detections(np.zeros((len(bodies), 4), np.float32), np.ones(len(bodies), np.float32), masks)
    (result,) = appearance([Frame(0, 0.0, "0", image)], [found], [bodies])
    assert result.texture is not None
    return result.texture


def positions() -> np.ndarray:
    """A picture whose red is x and whose green is y, divided by SCALE."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([x // SCALE, y // SCALE, np.full(SIZE, 90)], axis=-1).astype(np.uint8)


def colours(texture: np.ndarray) -> np.ndarray:
    """(4, 256, 256) to (256, 256, 3) in 0..255."""
    return (texture[:3].transpose(1, 2, 0) * 5 * IMAGENET_STD + IMAGENET_MEAN) * 255


def surface_points(body_model: BodyModel, bodies: Bodies) -> np.ndarray:
    """(N, T, 3) of the shown texels, in the camera frame."""
    parameters = map(torch.from_numpy, (bodies.global_orient, bodies.body_pose, bodies.betas))
    vertices = body_model(*parameters).vertices.numpy() + bodies.camera[:, None]
    return TextureAtlas.open_body().points(vertices, body_model.faces)


def is_seen(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """By casting a ray from the camera to each point (T, 3): whether it meets no face nearer than the point."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal, offset = np.cross(b - a, c - a), a
    seen = []
    for point in points:
        with np.errstate(divide="ignore", invalid="ignore"):
            where = np.einsum("fk,fk->f", normal, offset) / (normal @ point)
        hit = where[:, None] * point
        sides = [np.einsum("fk,fk->f", np.cross(q - p, hit - p), normal) for p, q in ((a, b), (b, c), (c, a))]
        inside = np.all([side >= 0 for side in sides], axis=0)
        seen.append(not (inside & (where > 0) & (where * point[2] < point[2] - 0.005)).any())
    return np.array(seen)


def test_texels_take_the_colour_they_project_to(appearance: Appearance, body_model: BodyModel) -> None:
    bodies = standing(body_model, [(0, 0, NEAR)])
    (texture,) = textures(appearance, positions(), bodies)
    shown = TextureAtlas.open_body().faces_of_texels >= 0
    seen = texture[3][shown] > 0.5

    assert set(np.unique(texture[3])) == {-1.0, 1.0}
    assert not texture[:3, texture[3] < 0].any()
    assert 0.25 < seen.mean() < 0.6
    pixels = project(surface_points(body_model, bodies), np.zeros((1, 3)), INTRINSICS)[0][seen]
    found = colours(texture)[shown][seen][:, :2] * SCALE
    assert np.abs(found + SCALE / 2 - pixels).max() < SCALE


def test_only_texels_in_view_are_coloured(appearance: Appearance, body_model: BodyModel) -> None:
    bodies = standing(body_model, [(0, 0, NEAR)])
    bodies.body_pose[0, 15:17] = [[[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]]
    (texture,) = textures(appearance, positions(), bodies)
    shown = TextureAtlas.open_body().faces_of_texels >= 0
    parameters = map(torch.from_numpy, (bodies.global_orient, bodies.body_pose, bodies.betas))
    vertices = body_model(*parameters).vertices.numpy()[0] + bodies.camera[0]
    points = surface_points(body_model, bodies)[0]

    sample = np.random.default_rng(0).choice(np.flatnonzero(texture[3][shown] > 0.5), 150, replace=False)
    assert is_seen(points[sample], vertices.astype(float), body_model.faces).mean() > 0.98


def test_whoever_stands_behind_is_hidden(appearance: Appearance, body_model: BodyModel) -> None:
    bodies = standing(body_model, [(0, 0, NEAR), (0, 0, NEAR + 0.5), (1.7, 0, NEAR + 0.5)])
    seen = (textures(appearance, positions(), bodies)[:, 3] > 0.5).sum((1, 2))
    assert seen[1] < 0.05 * seen[0]
    assert seen[2] > 0.9 * seen[0]


def test_pixels_outside_the_mask_are_not_used(appearance: Appearance, body_model: BodyModel) -> None:
    bodies = standing(body_model, [(0, 0, NEAR)])
    left = Mask(np.ones((SIZE[0], SIZE[1] // 2), bool), 0, 0, SIZE)
    whole = Mask(np.ones(SIZE, bool), 0, 0, SIZE)
    (half,) = textures(appearance, positions(), bodies, [left])
    (full,) = textures(appearance, positions(), bodies, [whole])
    np.testing.assert_array_equal(full, textures(appearance, positions(), bodies)[0])
    seen = half[3] > 0.5
    assert 0.4 < seen.sum() / (full[3] > 0.5).sum() < 0.6
    assert colours(half)[seen][:, 0].max() * SCALE < SIZE[1] / 2 + SCALE
    assert not textures(appearance, positions(), bodies, [Mask.from_full(np.zeros(SIZE, bool))])[0, :3].any()


@pytest.mark.parametrize("place", [(9.0, 0, NEAR), (0, 0, -NEAR), (0, 0, 0.5), (0, 0, NEAR * 100), (2.4, 0.6, NEAR)])
def test_people_far_out_of_view_or_close_by(
    appearance: Appearance, body_model: BodyModel, place: tuple[float, float, float]
) -> None:
    texture = textures(appearance, positions(), standing(body_model, [place]))
    assert np.isfinite(texture).all()
    assert texture.shape == (1, 4, 256, 256)


def test_several_threads_fill_the_same_textures(appearance: Appearance, body_model: BodyModel) -> None:
    crowd = standing(body_model, [(0.3 * i, 0, NEAR + 0.3 * (i % 3)) for i in range(-3, 4)])
    shared = Appearance(body_model, TextureAtlas.open_body(), threads=3)
    np.testing.assert_array_equal(textures(shared, positions(), crowd), textures(appearance, positions(), crowd))


def test_nobody(appearance: Appearance) -> None:
    frames = [Frame(i, 0.0, str(i), positions()) for i in range(2)]
    bodies = [Bodies.empty("open_body"), Bodies.empty("open_body")]
    results = appearance(frames, [Detections.empty(), Detections.empty()], bodies)
    assert [people.texture.shape for people in results if people.texture is not None] == [(0, 4, 256, 256)] * 2
    assert appearance([], [], []) == []


@pytest.mark.gpu
def test_bodies_posed_on_a_gpu_have_the_same_textures(body_model: BodyModel) -> None:
    people = standing(body_model, [(-0.5, 0, NEAR), (0.6, 0, 1.2 * NEAR)])
    on_cpu, on_gpu = (
        textures(Appearance(BodyModel.open_body().to(device), TextureAtlas.open_body()), positions(), people)
        for device in ("cpu", "cuda")
    )
    assert (on_cpu != on_gpu).any(1).mean() < 1e-3  # texels at the edge of what is visible
    assert (on_cpu[:, 3] > 0).mean() > 0.1
