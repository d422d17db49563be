"""Weights and blend shapes for programs that know less than SMPL."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fourd_humans.exports.skin import WEIGHT_UNITS, _fewer_weights, pose_shapes, rest_normals, skin_weights


@pytest.mark.parametrize("count", [4, 8])
def test_weights_are_ordered_and_sum_to_one(scene, body_model, count):
    skin = skin_weights(body_model, scene.people, count)
    assert skin.joints.shape == skin.weights.shape == (6890, count)
    assert (skin.weights.sum(1, dtype=int) == WEIGHT_UNITS).all()
    assert (skin.joints[skin.weights == 0] == 0).all()
    assert (np.diff(skin.weights.astype(int), axis=1) <= 2).all()


def test_vertices_with_few_weights_keep_them(scene, body_model):
    true = body_model.weights.numpy()
    skin = skin_weights(body_model, scene.people, 4)
    stored = np.zeros_like(true)
    np.put_along_axis(stored, skin.joints.astype(int), 0, axis=1)
    for column in range(4):
        np.add.at(stored, (np.arange(6890), skin.joints[:, column]), skin.weights[:, column] / WEIGHT_UNITS)
    few = (true > 1e-5).sum(1) <= 4
    assert 6000 < few.sum() < 6890
    np.testing.assert_allclose(stored[few], true[few], atol=4e-5)


def test_fewer_weights_are_the_best_ones():
    rng = np.random.default_rng(1)
    places = rng.normal(size=(6, 30))
    products = places @ places.T / 30
    weights = rng.dirichlet(np.ones(6))
    found = _fewer_weights(weights, products, 4)
    assert (found > 0).sum() <= 4
    assert found.sum() == pytest.approx(1)

    def error(w):
        return (w - weights) @ products @ (w - weights)

    for rest in [(a, b) for a in range(6) for b in range(a)]:  # no other choice of four is better, by general search
        bounds = [(0, 0) if joint in rest else (0, 1) for joint in range(6)]
        start = np.where([joint in rest for joint in range(6)], 0, 0.25)
        sum_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
        other = minimize(error, start, bounds=bounds, constraints=sum_to_one, tol=1e-12)
        assert error(found) <= error(other.x) + 1e-6


def test_blend_shapes_are_the_pose_dependent_shapes(scene, body_model):
    shapes = pose_shapes(body_model, scene.people)
    directions = body_model.posedirs.permute(2, 0, 1).flatten(1).numpy()
    assert len(shapes.shapes) < 60  # of 207
    for motion, weights in zip(scene.people, shapes.weights, strict=True):
        assert weights.min() >= -1e-9
        assert weights.max() <= 1 + 1e-9
        features = (motion.rotations[:, 1:] - np.eye(3)).reshape(len(motion), -1)
        true = (features @ directions).reshape(len(motion), -1, 3)
        ours = shapes.base + np.einsum("tk,kvc->tvc", weights, shapes.shapes)
        assert np.linalg.norm(ours - true, axis=2).max() < 3e-4
    assert np.abs(shapes.base + np.einsum("k,kvc->vc", shapes.neutral, shapes.shapes)).max() < 1e-9


def test_normals_point_outwards(scene, body_model):
    motion = scene.people[0]
    normals = rest_normals(motion, body_model.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    vertices = motion.rest_vertices
    nearest = body_model.weights.argmax(1).numpy()
    assert (np.einsum("vc,vc->v", normals, vertices - motion.rest_joints[nearest]) > 0).mean() > 0.9
