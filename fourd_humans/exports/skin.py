"""Skinning for other programs: as few weights a vertex as they take, and pose-dependent shapes as blend shapes.

Engines skin with four joints a vertex; the open body has up to six at 440 vertices (SMPL has four). And they know
nothing of SMPL's pose blend shapes, a weighted sum of 207 directions; but a clip moves along a few combinations of them
only, and these are blend shapes that any program can animate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import SMPL_PARENTS
from fourd_humans.body.model import BodyModel
from fourd_humans.exports.world import Motion
from fourd_humans.rendering.shading import vertex_normals

POSES_FITTED = 200  # of each person, evenly over time, to which weights are fitted
POSES_CHECKED = 60  # of all people, at which blend shapes must suffice
WEIGHT_UNITS = 65535  # weights are stored in whole multiples of this part, and so sum to exactly 1
SHAPE_ERROR = 1e-4  # metres: how far blend shapes may leave the worst vertex from where the pose puts it

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SkinWeights:
    """joints: (V, K), the strongest first, 0 where the weight is 0. weights: (V, K), rows sum to `WEIGHT_UNITS`."""

    joints: NDArray[np.uint8]
    weights: NDArray[np.uint16]


def skin_weights(body_model: BodyModel, people: Sequence[Motion], count: int) -> SkinWeights:
    """At most `count` weights a vertex.

    A vertex that has more gets the joints and weights that move it, over the poses of these people, by the least mean
    square from where all its weights would.
    """
    weights = body_model.weights.cpu().numpy().astype(float)
    weights[weights < 0.5 / WEIGHT_UNITS] = 0
    transforms = [(_joint_transforms(motion), motion.rest_vertices) for motion in people]
    for vertex in np.flatnonzero((weights > 0).sum(1) > count):
        joints = np.flatnonzero(weights[vertex])
        products = np.zeros((len(joints), len(joints)))
        for (rotation, translation), rest in transforms:
            places = rotation[:, joints] @ rest[vertex] + translation[:, joints]  # (N, K, 3) if it followed one alone
            products += np.einsum("nkc,nlc->kl", places, places) / len(places)
        weights[vertex, joints] = _fewer_weights(weights[vertex, joints], products, count)
    order = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    values = np.take_along_axis(weights, order, axis=1)
    units = np.round(values / values.sum(1, keepdims=True) * WEIGHT_UNITS).astype(np.int64)
    units[:, 0] += WEIGHT_UNITS - units.sum(1)
    return SkinWeights(np.where(units > 0, order, 0).astype(np.uint8), units.astype(np.uint16))


def rest_normals(motion: Motion, faces: NDArray[np.int64]) -> Array:
    """(V, 3) unit normals of a person's mesh in the T-pose."""
    normals: Array = vertex_normals(motion.rest_vertices[None], faces)[0]
    return normals


def _fewer_weights(weights: Array, products: Array, count: int) -> Array:
    """The nearest weights of which at most `count` are not zero.

    weights: (K,) that sum to 1. products: (K, K) mean scalar products of the places to which the joints alone would
    take the vertex. The error of other weights w' is (w' − w)ᵀ products (w' − w). For a choice of joints its least
    value under Σ w' = 1 solves a linear system; of the choices without a negative weight in it the best is taken.
    """
    products = products + 1e-6 * np.eye(len(weights)) * max(float(np.trace(products)), 1e-12)
    best, least = weights, np.inf
    for size in range(1, count + 1):
        chosen = np.array(list(combinations(range(len(weights)), size)))
        systems = np.ones((len(chosen), size + 1, size + 1))
        systems[:, :size, :size] = products[chosen[:, :, None], chosen[:, None]]
        systems[:, size, size] = 0
        wanted = np.ones((len(chosen), size + 1, 1))
        wanted[:, :size, 0] = (products @ weights)[chosen]
        solved = np.linalg.solve(systems, wanted)[:, :size, 0]
        candidates = np.zeros((len(chosen), len(weights)))
        np.put_along_axis(candidates, chosen, solved, axis=1)
        change = candidates - weights
        errors = np.where((solved >= 0).all(1), np.einsum("ik,kl,il->i", change, products, change), np.inf)
        if errors.min() < least:
            best, least = candidates[errors.argmin()], errors.min()
    return best


def _joint_transforms(motion: Motion) -> tuple[Array, Array]:
    """(N, 24, 3, 3) and (N, 24, 3): what moves a joint's surroundings from rest to the pose, the pelvis at rest."""
    rows = np.unique(np.linspace(0, len(motion) - 1, POSES_FITTED).round().astype(int))
    local, rest = motion.rotations[rows], motion.rest_joints
    rotations, positions = [np.broadcast_to(np.eye(3), (len(rows), 3, 3))], [np.broadcast_to(rest[0], (len(rows), 3))]
    for joint in range(1, len(rest)):
        parent = SMPL_PARENTS[joint]
        positions.append(positions[parent] + rotations[parent] @ (rest[joint] - rest[parent]))
        rotations.append(rotations[parent] @ local[:, joint])
    rotation = np.stack(rotations, axis=1)
    return rotation, np.stack(positions, axis=1) - (rotation @ rest[..., None])[..., 0]


@dataclass(frozen=True)
class PoseShapes:
    """A clip's pose-dependent shapes as K blend shapes, the same for all its people, with weights from 0 to 1.

    base: (V, 3) metres, what weights of 0 add at rest. shapes: (K, V, 3) metres, what each weight of 1 adds to that.
    neutral: (K,) the weights that add nothing in all. weights: of each person, (T, K) over time.
    """

    base: Array
    shapes: Array
    neutral: Array
    weights: list[Array]


def pose_shapes(body_model: BodyModel, people: Sequence[Motion]) -> PoseShapes:
    """The fewest blend shapes that leave no vertex, in a sample of the poses, more than `SHAPE_ERROR` from its place.

    They are the principal components of the pose features (rotations less the identity), measured by how far these move
    the mesh. Weights below 0 would be enough for glTF, but Blender's importer cuts them off.
    """
    directions = body_model.posedirs.permute(2, 0, 1).flatten(1).cpu().numpy().astype(float)  # (207, V·3)
    features = [(motion.rotations[:, 1:] - np.eye(3)).reshape(len(motion), -1) for motion in people]
    everything = np.concatenate(features)
    values, vectors = np.linalg.eigh(directions @ directions.T)
    kept = values > 1e-10 * values.max()
    to_length = vectors[:, kept] * np.sqrt(values[kept])  # features times this are as long as what they add to the mesh
    components = np.linalg.svd(everything @ to_length, full_matrices=False)[2]
    shapes = components @ (vectors[:, kept] / np.sqrt(values[kept])).T @ directions
    sample = everything[np.unique(np.linspace(0, len(everything) - 1, POSES_CHECKED).round().astype(int))]
    left, weights = sample @ directions, sample @ to_length @ components.T
    count = 0
    while count < len(components) and np.linalg.norm(left.reshape(-1, 3), axis=1).max() > SHAPE_ERROR:
        left -= weights[:, count, None] * shapes[count]
        count += 1
    to_weights = to_length @ components[:count].T
    all_weights = np.vstack([everything @ to_weights, np.zeros(count)])  # the T-pose, too, lies between 0 and 1
    low, high = all_weights.min(0), all_weights.max(0)
    span = np.maximum(high - low, 1e-12)
    return PoseShapes(
        base=(low @ shapes[:count]).reshape(-1, 3),
        shapes=(shapes[:count] * span[:, None]).reshape(count, -1, 3),
        neutral=-low / span,
        weights=[(feature @ to_weights - low) / span for feature in features],
    )
