"""The model: shape space, pose blend shapes, and the sums over vertices that give joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, nnls

from open_body import skeleton
from open_body.assets import YOUNGEST, Array, Rig

NUM_BETAS = 10
PELVIS = np.array([0.0, -0.22, 0.03])  # from the model's origin: near SMPL's, so that camera translations carry over
FLIP = np.array([-1.0, 1.0, 1.0])
SMALLEST_CORRECTION = 2e-4  # metres: vertices that plain skinning misplaces by less get no pose blend shape
RIDGE = 3e-3


def random_adults(rng: np.random.Generator, n: int) -> dict[str, Array]:
    """Factors for `PhenotypeSpace.coefficients`, so that statures run from 1.49 to 1.90 m."""
    return {
        "gender": rng.integers(0, 2, n).astype(float),
        "age": rng.uniform(YOUNGEST, 0.9, n),
        "muscle": np.clip(rng.normal(0.5, 0.2, n), 0, 1),
        "weight": np.clip(rng.normal(0.5, 0.22, n), 0, 1),
        "height": np.clip(rng.normal(0.37, 0.065, n), 0, 1),
        "proportions": rng.uniform(0.1, 0.9, n),
        "race": rng.dirichlet([1, 1, 1], n),
    }


@dataclass(frozen=True)
class TPose:
    """What takes bodies from MakeHuman's rest, arms hanging, to the T-pose.

    rest: (N, V, 3), rest_joints: (N, 24, 3). rotations: (N, 24, 3, 3), translations: (N, 24, 3), joints: (N, 24, 3) in
    the T-pose, the pelvis at `PELVIS`.
    """

    rest: Array
    rest_joints: Array
    rotations: Array
    translations: Array
    joints: Array

    def vertices(self, weights: Array) -> Array:
        """(N, V, 3) in the T-pose, such that skinning by `weights` (V, 24) gives back the rest exactly."""
        vertices = np.empty_like(self.rest)
        inverse = skeleton.transposed(self.rotations)
        back = -skeleton.apply(inverse, self.translations)
        for part in _parts(len(vertices), 50):
            matrices, offsets = skeleton.blend(weights, inverse[part], back[part])
            vertices[part] = np.linalg.solve(matrices, (self.rest[part] - offsets)[..., None])[..., 0]
        return vertices


def t_pose(rig: Rig, bodies: Array, kept: Array | slice) -> TPose:
    """bodies: (N, n, 3) on the rig's vertices. kept: those of them whose rest is needed."""
    joints = skeleton.joint_centres(rig, bodies)
    rotations = skeleton.to_t_pose(rig, bodies, joints)
    translations, posed_joints = skeleton.chain(rotations, joints)
    shift = PELVIS - posed_joints[:, :1]
    return TPose(bodies[:, kept], joints, rotations, translations + shift, posed_joints + shift)


@dataclass(frozen=True)
class ShapeSpace:
    """mean: (V, 3) and directions: (V, 3, 10) per standard deviation; likewise of the joints (24, 3), (24, 3, 10)."""

    mean: Array
    directions: Array
    joints_mean: Array
    joints_directions: Array


def shape_space(bodies: Array, joints: Array, faces: Array, mirror: Array) -> ShapeSpace:
    """The ten main directions of variation (principal components), symmetric; + is taller, else bulkier.

    bodies: (N, V, 3), joints: (N, 24, 3), in the T-pose.
    """
    n = len(bodies)
    mean, joints_mean = bodies.mean(0), joints.mean(0)
    centred = (bodies - mean).reshape(n, -1)
    _, vectors = np.linalg.eigh(centred @ centred.T / (n - 1))
    betas = vectors[:, ::-1][:, :NUM_BETAS] * np.sqrt(n - 1)  # of variance 1
    directions = (betas.T @ centred / (n - 1)).reshape(NUM_BETAS, -1, 3)
    normals = _vertex_normals(mean, faces)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    for k, direction in enumerate(directions):
        taller = direction[top, 1] - direction[bottom, 1]
        bulkier = (direction * normals).sum(-1).mean()
        sign = np.sign(taller if abs(taller) > 0.02 else bulkier)
        directions[k] *= sign
        betas[:, k] *= sign
    joints_directions = (betas.T @ (joints - joints_mean).reshape(n, -1) / (n - 1)).reshape(NUM_BETAS, -1, 3)

    def symmetric(points: Array, other: Array) -> Array:
        return 0.5 * (points + points[..., other, :] * FLIP)

    return ShapeSpace(
        symmetric(mean, mirror),
        symmetric(directions, mirror).transpose(1, 2, 0),
        symmetric(joints_mean, skeleton.MIRRORED_JOINTS),
        symmetric(joints_directions, skeleton.MIRRORED_JOINTS).transpose(1, 2, 0),
    )


def pose_blend_shapes(
    body: TPose, weights: Array, bone_weights: Array, rig: Rig, poses: Array, mean: Array, mirror: Array
) -> tuple[Array, Array]:
    """(V, 3, 207) pose blend shapes and (V, 3) an offset of the template, so that skinning with 24 joints follows
    MakeHuman's own skinning with 163 bones.

    body: the mean body, a batch of one. weights: (V, 24). bone_weights: (V, B). poses: (P, 24, 3, 3). Solved for the
    left half by ridge regression on the rotations that can matter to a vertex, and mirrored.
    """
    left = np.flatnonzero(mean[:, 0] >= -1e-6)
    vertices = body.vertices(weights)
    matrices = np.empty((len(poses), len(left), 3, 3), np.float32)
    errors = np.empty((len(poses), len(left), 3), np.float32)
    for part in _parts(len(poses), 25):
        rotations = skeleton.globals_of(poses[part])
        translations, _ = skeleton.chain(rotations, body.joints)
        linear, offsets = skeleton.blend(weights, rotations, translations)
        matrices[part] = linear[:, left]
        skinned = skeleton.apply(linear, vertices) + offsets
        errors[part] = (makehuman_skinning(body, bone_weights, rig, poses[part]) - skinned)[:, left]

    features = (poses[:, 1:] - np.eye(3)).reshape(len(poses), 23, 9)
    shapes, offset = np.zeros((len(mean), 3, 207), np.float32), np.zeros((len(mean), 3))
    for n, vertex in enumerate(left):
        if np.abs(errors[:, n]).max() < SMALLEST_CORRECTION:
            continue
        joints = _joints_that_matter(weights[vertex])
        design = features[:, [j - 1 for j in joints]].reshape(len(poses), -1)
        design = np.concatenate([design, np.ones((len(poses), 1))], axis=1)
        width = design.shape[1]
        system = (matrices[:, n, :, :, None] * design[:, None, None, :]).reshape(-1, 3 * width)
        ridge = np.full(3 * width, RIDGE * len(poses))
        ridge[width - 1 :: width] *= 0.1  # the offset is not to be shrunk as much
        normal = system.T @ system + np.diag(ridge)
        solution = np.linalg.solve(normal, system.T @ errors[:, n].reshape(-1)).reshape(3, width)
        for i, joint in enumerate(joints):
            shapes[vertex, :, 9 * (joint - 1) : 9 * joint] = solution[:, 9 * i : 9 * i + 9]
        offset[vertex] = solution[:, -1]
    return _mirrored(shapes, offset, mean, mirror)


def makehuman_skinning(body: TPose, bone_weights: Array, rig: Rig, poses: Array) -> Array:
    """(P, V, 3): bodies (as many as poses, or one) posed by all of MakeHuman's bones from their own rest.

    bone_weights: (V, B). poses: (P, 24, 3, 3) relative to the parents, from the T-pose.
    """
    rotations = skeleton.globals_of(poses)
    translations, _ = skeleton.chain(rotations, body.joints)
    from_rest = rotations @ body.rotations
    offsets = skeleton.apply(rotations, body.translations) + translations
    joints = np.broadcast_to(body.rest_joints, offsets.shape)
    linear, shift = skeleton.blend(bone_weights, *skeleton.bone_transforms(rig, joints, from_rest, offsets))
    return skeleton.apply(linear, body.rest) + shift


def joint_regressor(template: Array, shapes: ShapeSpace, mirror: Array) -> Array:
    """(24, V), exact on the template and all ten directions, few and small weights on near vertices, symmetric."""
    regressor = np.zeros((skeleton.NUM_SMPL_JOINTS, len(template)))
    points = np.concatenate([template[:, :, None], shapes.directions], axis=2)
    wanted = np.concatenate([shapes.joints_mean[:, :, None], shapes.joints_directions], axis=2)
    for j, other in enumerate(skeleton.MIRRORED_JOINTS):
        if other < j:
            regressor[j] = regressor[other][mirror]
            continue
        distance = np.linalg.norm(template - shapes.joints_mean[j], axis=1)
        near = np.argsort(distance)[:2000]
        conditions = np.vstack([points[near].reshape(len(near), -1).T, np.ones(len(near))])
        result = linprog(  # the least sum of |w|: positive and negative parts apart
            np.tile(1 + 0.5 * distance[near], 2), A_eq=np.hstack([conditions, -conditions]),
            b_eq=np.append(wanted[j].ravel(), 1), bounds=(0, None), method="highs",
        )  # fmt: skip
        if result.x is None:
            raise RuntimeError(f"no weights give joint {j} exactly: {result.message}")
        regressor[j, near] = result.x[: len(near)] - result.x[len(near) :]
        if other == j:
            regressor[j] = 0.5 * (regressor[j] + regressor[j][mirror])
    return regressor


def keypoint_regressor(keypoints: Array, bodies: Array, kept: Array, base: Array) -> Array:
    """Sums over MakeHuman's vertices, refitted to those that were kept: positive weights on the 250 nearest.

    keypoints: (K, n) rows summing to 1. bodies: (N, n, 3) in many shapes and poses. base: (n, 3). Returns (K, V).
    """
    targets = np.einsum("kv,ivc->kic", keypoints, bodies)
    regressor = np.zeros((len(keypoints), len(kept)))
    for k, place in enumerate(keypoints @ base):
        near = np.argsort(np.linalg.norm(base[kept] - place, axis=1))[:250]
        conditions = bodies[:, kept[near]].transpose(0, 2, 1).reshape(-1, len(near))
        conditions = np.vstack([conditions, 50 * np.ones(len(near))])  # the weights sum to 1, nearly
        weights, _ = nnls(conditions, np.append(targets[k].ravel(), 50), maxiter=20000)
        regressor[k, near] = weights / weights.sum()
    return regressor


def _joints_that_matter(weights: Array) -> list[int]:
    """The joints a vertex follows, and those whose twist MakeHuman passes on to it: wrists and ankles; not the root."""
    joints = set(np.flatnonzero(weights > 0.004).tolist())
    for near, far in ((18, 20), (19, 21), (4, 7), (5, 8)):
        if near in joints:
            joints.add(far)
    return sorted(joints - {0})


def _mirrored(shapes: Array, offset: Array, mean: Array, mirror: Array) -> tuple[Array, Array]:
    """The left half's solution given to the right one; on the midline their mean."""
    columns = np.concatenate([np.arange(9) + 9 * (skeleton.MIRRORED_JOINTS[j] - 1) for j in range(1, 24)])
    signs = np.tile(np.outer(FLIP, FLIP).ravel(), 23)
    other_shapes = shapes[mirror][:, :, columns] * FLIP[None, :, None] * signs
    other_offset = offset[mirror] * FLIP
    right, middle = mean[:, 0] < -1e-6, np.abs(mean[:, 0]) <= 1e-6
    shapes[right], offset[right] = other_shapes[right], other_offset[right]
    shapes[middle] = 0.5 * (shapes[middle] + other_shapes[middle])
    offset[middle] = 0.5 * (offset[middle] + other_offset[middle])
    return shapes, offset


def _vertex_normals(vertices: Array, faces: Array) -> Array:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return skeleton.unit(normals)


def _parts(n: int, size: int) -> list[slice]:
    """So that arrays of all poses or bodies need not be in memory at once."""
    return [slice(start, start + size) for start in range(0, n, size)]
