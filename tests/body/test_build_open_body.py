"""Parts of the program that builds the open body, on what it built."""

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

BIN = Path(__file__).parents[2] / "bin"
DATA = Path(str(files("fourd_humans.body") / "data"))


@pytest.fixture(autouse=True)
def _programs_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(BIN))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "open_body"]:
        del sys.modules[name]


def test_the_atlas_follows_from_the_texture_coordinates():
    from open_body.texture import rasterise

    with np.load(DATA / "open_body_neutral.npz") as body, np.load(DATA / "texture_256.npz") as shipped:
        some = 1500
        faces, barycentric = rasterise(body["vt"], body["ft"][:some], 256)
        there = (shipped["fmap"] >= 0) & (shipped["fmap"] < some)
        assert there.sum() > 1000
        same = faces[there] == shipped["fmap"][there]  # texture coordinates are stored in single precision
        assert same.mean() > 0.999
        assert np.abs(barycentric[there] - shipped["bmap"][there])[same].max() < 1e-3


def test_joints_are_exact_on_the_shape_space(monkeypatch):
    from open_body import skeleton
    from open_body.statistics import ShapeSpace, joint_regressor

    some = [0, 1, 2]  # one in the middle and a pair
    monkeypatch.setattr(skeleton, "NUM_SMPL_JOINTS", len(some))
    monkeypatch.setattr(skeleton, "MIRRORED_JOINTS", skeleton.MIRRORED_JOINTS[some])
    with np.load(DATA / "open_body_neutral.npz") as body:
        template, directions = body["v_template"].astype(float), body["shapedirs"].astype(float)
        regressor, mirror = body["J_regressor"][some].astype(float), body["mirror"]
    space = ShapeSpace(template, directions, regressor @ template, np.einsum("jv,vck->jck", regressor, directions))
    again = joint_regressor(template, space, mirror)
    np.testing.assert_allclose(again @ template, space.joints_mean, atol=1e-4)
    np.testing.assert_allclose(np.einsum("jv,vck->jck", again, directions), space.joints_directions, atol=1e-4)
    assert ((again != 0).sum(1) < 100).all()


def test_simplification_keeps_surface_and_midline():
    """Half a ball: rings from the midline x = 0 to the pole. Its texture is its shadow on the plane of the rim."""
    from open_body.assets import BaseMesh
    from open_body.mesh import Simplification, Triangles

    rings, around = 8, 24
    latitude, longitude = np.meshgrid(
        np.arange(rings) * np.pi / 2 / rings, np.arange(around) * np.pi / 12, indexing="ij"
    )
    shadow = np.cos(latitude)[..., None] * np.stack([np.cos(longitude), np.sin(longitude)], axis=-1)
    vertices = np.concatenate([np.sin(latitude)[..., None], shadow], axis=-1).reshape(-1, 3)
    vertices = np.concatenate([vertices, [[1, 0, 0]]])
    pole, number = len(vertices) - 1, np.arange(rings * around).reshape(rings, around)
    below, above = number[:-1].ravel(), number[1:].ravel()
    below_next, above_next = np.roll(number, -1, axis=1)[:-1].ravel(), np.roll(number, -1, axis=1)[1:].ravel()
    cap = np.stack([number[-1], np.roll(number[-1], -1), np.full(around, pole)], 1)
    sides = [np.stack([below, below_next, above_next], 1), np.stack([below, above_next, above], 1)]
    triangles = np.concatenate([*sides, cap])
    texture = vertices[:, 1:]
    none = np.zeros((0, 4), int)

    mesh = BaseMesh(vertices, texture, none, none, {})
    weights, importance = np.zeros((len(vertices), 1)), np.ones(len(vertices))
    simple = Simplification(mesh, Triangles(triangles, triangles), vertices[None], weights, importance).run(200)
    np.testing.assert_array_equal(simple.corners, simple.texture)  # texture coordinates follow their vertices
    left = np.unique(simple.corners)
    on_midline = (vertices[left, 0] < 1e-6).sum()
    assert 2 * len(left) - on_midline == 200  # vertices of the ball once its other half is put on
    edges, count = np.unique(np.sort(simple.corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)), axis=0, return_counts=True)
    assert (vertices[edges[count == 1], 0] < 1e-6).all()  # open only along the midline
    assert (count == 1).sum() == on_midline
    assert count.max() == 2
    corners = texture[simple.texture]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    assert (ax * by - ay * bx > 0).all()  # none flipped
