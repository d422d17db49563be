"""Fits the body model to landmarks: an initial pose from the bones' directions, then damped Gauss-Newton steps.

All people are fitted at once. The parameters of each are a small rotation of every joint in its parent's frame (72),
the betas (10), and the translation in the camera frame (x, y, log z; 3). Residuals are divided by the standard
deviation of their measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.joint_limits import POSE_MAX, POSE_MEAN, POSE_MIN, POSE_STD
from fourd_humans.body.joints import LIMB_12, LIMB_NAMES, SMPL_NAMES
from fourd_humans.body.points import NUM_BETAS, NUM_ROTATIONS, Array, BodyPoints

POSE = slice(0, 3 * NUM_ROTATIONS)
BETAS = slice(POSE.stop, POSE.stop + NUM_BETAS)
TRANSLATION = slice(BETAS.stop, BETAS.stop + 3)
NUM_PARAMETERS = TRANSLATION.stop
FIRST_TRANSLATION = TRANSLATION.start

STEPS = 4
NEAREST, FARTHEST = 0.3, 1e5  # metres from the camera, of a body
MAX_ROTATION = 0.7  # radians, of a joint in one step
STD_3D = 0.06  # metres, of landmarks in space
STD_2D = 0.03  # metres at the person's depth, of image points
STD_BETAS = 1.0  # betas are N(0, 1) over people
# Of the joints' standard deviations over people and poses. The landmarks of one person err together, which the fit, to
# which they are independent, takes for more certainty than there is; so the prior on the pose has to weigh more.
PRIOR_WIDTH = 0.5
STD_LIMIT = 0.1  # radians beyond a joint's limits
OUTLIER = 3.0  # standard deviations from which on a measurement's weight falls (Geman-McClure)

# The sine of the angle by which a limb must be bent to determine the rotation about its upper bone: not at all, fully.
BENT_A_LITTLE, BENT_ENOUGH = 0.15, 0.5
MAX_TWIST = 1.5  # radians about the upper bone, in the initial pose
FACING_THE_CAMERA = np.diag([1.0, -1.0, -1.0])  # left, up and forward as columns, upright


@dataclass(frozen=True)
class Targets:
    """What N people are fitted to: K points of the body in space, and L image points.

    landmarks_3d: (N, K, 3) metres from any origin, x right, y down, z away. confidence_3d: (N, K).
    image_points: (N, L, 2) normalised: pixels from the principal point over the focal length. confidence_2d: (N, L).
    """

    landmarks_3d: Array
    confidence_3d: Array
    image_points: Array
    confidence_2d: Array


@dataclass(frozen=True)
class Fit:
    """rotations: (N, 24, 3, 3), the first the global orientation. betas: (N, 10). translation: (N, 3), camera frame."""

    rotations: Array
    betas: Array
    translation: Array


def fit(
    body: BodyPoints, targets: Targets, point_of_pixel: NDArray[np.int64], rotations: Array, steps: int = STEPS
) -> Fit:
    """The bodies that agree best with the targets, starting from `rotations` (N, 24, 3, 3).

    point_of_pixel: (L,) which of the K points each image point belongs to.

    A step that increases a person's cost is undone for that person and tried again with more damping, so the result is
    never worse than the start; it is finite whatever the targets.
    """
    count = len(rotations)
    betas = np.zeros((count, NUM_BETAS))
    posed = body.pose(rotations, betas)
    translation = initial_translation(posed.points[:, point_of_pixel], targets)
    cost, hessian, gradient = _linearised(body, targets, point_of_pixel, rotations, betas, translation)
    damping = np.full(count, 1e-2)
    for _ in range(steps):
        diagonal = np.einsum("nii->ni", hessian)
        damped = hessian + (damping[:, None] * diagonal)[..., None] * np.eye(NUM_PARAMETERS)
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0]
        largest = np.linalg.norm(step[:, POSE].reshape(count, -1, 3), axis=2).max(1)
        step *= np.minimum(1, MAX_ROTATION / np.maximum(largest, 1e-9))[:, None]
        small = Rotation.from_rotvec(step[:, POSE].reshape(-1, 3)).as_matrix().reshape(rotations.shape)
        new_rotations = small @ rotations
        new_betas = betas + step[:, BETAS]
        new_translation = _translated(translation, step[:, TRANSLATION])
        new_cost, new_hessian, new_gradient = _linearised(
            body, targets, point_of_pixel, new_rotations, new_betas, new_translation
        )
        better = new_cost < cost
        rotations, betas, translation = (
            np.where(_like(better, new), new, old)
            for new, old in ((new_rotations, rotations), (new_betas, betas), (new_translation, translation))
        )
        hessian, gradient = (
            np.where(_like(better, hessian), new_hessian, hessian),
            np.where(better[:, None], new_gradient, gradient),
        )
        damping = np.clip(np.where(better, damping / 4, damping * 8), 1e-5, 1e3)
        cost = np.where(better, new_cost, cost)
    return Fit(_orthonormal(rotations), betas, translation)


def initial_translation(points: Array, targets: Targets) -> Array:
    """(N, 3) from which bodies with these points (N, L, 3) appear as large as their image points."""
    weight = targets.confidence_2d[..., None] + 1e-6
    flat, image = points[..., :2], targets.image_points
    total = weight.sum(1, keepdims=True)
    flat_mean = (flat * weight).sum(1, keepdims=True) / total
    image_mean = (image * weight).sum(1, keepdims=True) / total
    variance = (weight * (flat - flat_mean) ** 2).sum((1, 2))
    covariance = (weight * (flat - flat_mean) * (image - image_mean)).sum((1, 2))
    image_variance = (weight * (image - image_mean) ** 2).sum((1, 2))
    # How much smaller the image is than the body: by regression, but by the sizes alone where the two hardly agree.
    sizes = np.sqrt(image_variance / np.maximum(variance, 1e-9))
    inverse_depth = np.clip(covariance / np.maximum(variance, 1e-9), sizes / 2, None)
    depth = 1 / np.maximum(inverse_depth, 1e-6)
    depth -= points[..., 2].mean(1)
    depth = np.maximum(depth, NEAREST)
    return np.concatenate([image_mean[:, 0] * depth[:, None] - flat_mean[:, 0], depth[:, None]], 1)


def best_translation(points: Array, image_points: Array, confidence: Array, start: Array, steps: int = 3) -> Array:
    """(N, 3) the translation with which points (N, L, 3) project best to normalised image points (N, L, 2).

    Gauss-Newton from `start` (N, 3) on the weighted squared distances. confidence: (N, L).
    """
    translation = start
    for _ in range(steps):
        moved = points + translation[:, None]
        depth = np.maximum(moved[..., 2:], NEAREST)
        projected = moved[..., :2] / depth
        jacobian = np.zeros((*projected.shape, 3))
        jacobian[..., 0, 0] = jacobian[..., 1, 1] = 1
        jacobian[..., 2] = -projected
        weighted = jacobian * confidence[..., None, None]
        error = (projected - image_points) * depth
        hessian = np.einsum("nlci,nlcj->nij", weighted, jacobian) + 1e-9 * np.eye(3)
        gradient = np.einsum("nlci,nlc->ni", weighted, error)
        step = -np.linalg.solve(hessian, gradient[..., None])[..., 0]
        step[:, 2] = np.clip(step[:, 2], -0.5 * translation[:, 2], translation[:, 2])
        translation = translation + step
        translation[:, 2] = np.maximum(translation[:, 2], NEAREST)
    return translation


def _translated(translation: Array, step: Array) -> Array:
    """Translations after a step: nearer or farther along the line of sight, then sideways."""
    moved = translation * np.exp(np.clip(step[:, 2:], -0.5, 0.5))
    moved[:, :2] += step[:, :2]
    moved[:, 2] = np.clip(moved[:, 2], NEAREST, FARTHEST)
    return moved


def _linearised(
    body: BodyPoints,
    targets: Targets,
    point_of_pixel: NDArray[np.int64],
    rotations: Array,
    betas: Array,
    translation: Array,
) -> tuple[Array, Array, Array]:
    """The cost (N,), its Gauss-Newton matrix (N, 85, 85) and gradient (N, 85)."""
    posed = body.pose(rotations, betas)
    count, residuals = len(rotations), posed.points[0].size + targets.image_points[0].size
    jacobian, errors = np.zeros((count, residuals, NUM_PARAMETERS)), np.zeros((count, residuals))
    cost = np.zeros(count)
    _residuals(
        posed.points, posed.by_rotation, posed.by_betas, translation, targets.landmarks_3d, targets.confidence_3d,
        targets.image_points, targets.confidence_2d, point_of_pixel, jacobian, errors, cost,
    )  # fmt: skip
    hessian = jacobian.swapaxes(1, 2) @ jacobian
    gradient = (jacobian.swapaxes(1, 2) @ errors[..., None])[..., 0]

    vectors = Rotation.from_matrix(rotations[:, 1:].reshape(-1, 3, 3)).as_rotvec().reshape(count, -1)
    std = PRIOR_WIDTH * POSE_STD
    off, beyond = (vectors - POSE_MEAN) / std, (vectors - np.clip(vectors, POSE_MIN, POSE_MAX)) / STD_LIMIT
    pose = np.arange(3, POSE.stop)
    gradient[:, pose] += off / std + beyond / STD_LIMIT
    hessian[:, pose, pose] += 1 / std**2 + (beyond != 0) / STD_LIMIT**2
    gradient[:, BETAS] += betas / STD_BETAS**2
    shape = np.arange(BETAS.start, BETAS.stop)
    hessian[:, shape, shape] += 1 / STD_BETAS**2
    everything = np.arange(NUM_PARAMETERS)
    hessian[:, everything, everything] += 1e-6

    cost += (off**2).sum(1) + (beyond**2).sum(1) + (betas**2).sum(1) / STD_BETAS**2
    return cost, hessian, gradient


@njit(nogil=True, cache=True)
def _residuals(  # type: ignore[no-untyped-def]
    points, by_rotation, by_betas, translation, landmarks_3d, confidence_3d, image_points, confidence_2d,
    point_of_pixel, jacobian, errors, cost,
):  # fmt: skip
    """Fill the last three, which hold zeros: derivatives (N, R, 85) and residuals (N, R), both times the square root of
    their weight, and the robust cost (N,). First come three residuals for every point in space, from the weighted mean
    of all points; then two for every image point, in metres at the person's depth.
    """
    shape, x, z = by_rotation.shape[-1], FIRST_TRANSLATION, FIRST_TRANSLATION + 2
    for n in range(len(points)):
        share = confidence_3d[n] / max(confidence_3d[n].sum(), 1e-6)
        mean, mean_row = np.zeros(3), np.zeros((3, x))
        for k in range(len(share)):
            mean += share[k] * (points[n, k] - landmarks_3d[n, k])
            mean_row[:, :shape] += share[k] * by_rotation[n, k]
            mean_row[:, shape:] += share[k] * by_betas[n, k]
        for k in range(len(share)):
            error = points[n, k] - landmarks_3d[n, k] - mean
            scaled = (error**2).sum() / STD_3D**2
            weight = np.sqrt(confidence_3d[n, k]) * _robust(scaled) / STD_3D
            cost[n] += confidence_3d[n, k] * scaled * _robust(scaled)
            for c in range(3):
                errors[n, 3 * k + c] = weight * error[c]
                jacobian[n, 3 * k + c, :shape] = weight * (by_rotation[n, k, c] - mean_row[c, :shape])
                jacobian[n, 3 * k + c, shape:x] = weight * (by_betas[n, k, c] - mean_row[c, shape:])
        for pixel in range(len(point_of_pixel)):
            k, distance, first = point_of_pixel[pixel], translation[n, 2], 3 * len(share) + 2 * pixel
            depth = max(points[n, k, 2] + distance, 0.1)
            projected = (points[n, k, :2] + translation[n, :2]) / depth
            error_2d = (projected - image_points[n, pixel]) * distance
            scaled = (error_2d**2).sum() / STD_2D**2
            weight = np.sqrt(confidence_2d[n, pixel]) * _robust(scaled) / STD_2D
            cost[n] += confidence_2d[n, pixel] * scaled * _robust(scaled)
            scale = weight * distance / depth
            for c in range(2):
                row = jacobian[n, first + c]
                errors[n, first + c] = weight * error_2d[c]
                row[:shape] = scale * (by_rotation[n, k, c] - projected[c] * by_rotation[n, k, 2])
                row[shape:x] = scale * (by_betas[n, k, c] - projected[c] * by_betas[n, k, 2])
                row[x + c] = scale
                row[z] = scale * (translation[n, c] - projected[c] * distance)


@njit(nogil=True, cache=True)
def _robust(scaled):  # type: ignore[no-untyped-def]
    """The square root of the weight, and the factor on the cost, of a residual of so many variances."""
    return 1 / (1 + scaled / OUTLIER**2)


@dataclass(frozen=True)
class _Limb:
    """upper, lower: joints of the skeleton that rotate its two bones. ends: the points between them.

    bends: the direction in which the lower bone bends, in the rest pose.
    """

    upper: str
    lower: str
    ends: tuple[str, str, str]
    bends: tuple[float, float, float]


_LIMBS = tuple(
    _Limb(f"{side}_{upper}", f"{side}_{lower}", (f"{side}_{upper}", f"{side}_{lower}", f"{side}_{end}"), bends)
    for side in ("left", "right")
    for upper, lower, end, bends in (("hip", "knee", "ankle", (0, 0, -1)), ("shoulder", "elbow", "wrist", (0, 0, 1)))
)


def initial_rotations(body: BodyPoints, points: NDArray[np.int64], landmarks_3d: Array) -> Array:
    """(N, 24, 3, 3) rotations read off landmarks (N, K, 3) of the `points` (K,), the 12 limb joints among them.

    The trunk's orientation comes from hips and shoulders. Each limb takes the smallest rotation that brings its bone
    into its direction, and then a rotation about that bone so that the knee or elbow bends the way it does.
    """
    row = {name: points.tolist().index(joint) for joint, name in zip(LIMB_12, LIMB_NAMES, strict=True)}
    rotations = np.tile(np.eye(3), (len(landmarks_3d), NUM_ROTATIONS, 1, 1))
    rest = body.pose(rotations[:1], np.zeros((1, NUM_BETAS))).points[0]
    rotations[:, 0] = _trunk(landmarks_3d, row) @ _trunk(rest[None], row).swapaxes(1, 2)
    trunk = rotations[:, None, 0]
    a, b, c = np.array([[row[name] for name in limb.ends] for limb in _LIMBS]).T
    bone, lower = _unit(landmarks_3d[:, b] - landmarks_3d[:, a]), _unit(landmarks_3d[:, c] - landmarks_3d[:, b])
    bone, lower = (_turned(trunk.swapaxes(2, 3), direction) for direction in (bone, lower))
    upper = smallest_rotation(_unit(rest[b] - rest[a]), bone)
    upper = _bend_naturally(_turned(upper, np.array([limb.bends for limb in _LIMBS])), bone, lower) @ upper
    rotations[:, [SMPL_NAMES.index(limb.upper) for limb in _LIMBS]] = upper
    in_upper = _turned(upper.swapaxes(2, 3), lower)
    rotations[:, [SMPL_NAMES.index(limb.lower) for limb in _LIMBS]] = smallest_rotation(
        _unit(rest[c] - rest[b]), in_upper
    )
    return rotations


def _turned(rotations: Array, vectors: Array) -> Array:
    turned: Array = (rotations @ vectors[..., None])[..., 0]
    return turned


def _trunk(points: Array, row: dict[str, int]) -> Array:
    """(N, 3, 3) whose columns are left, up and forward of the trunk."""
    hips = points[:, [row["left_hip"], row["right_hip"]]]
    shoulders = points[:, [row["left_shoulder"], row["right_shoulder"]]]
    up = _unit(shoulders.mean(1) - hips.mean(1))
    left = hips[:, 0] - hips[:, 1] + shoulders[:, 0] - shoulders[:, 1]
    left = _unit(left - (left * up).sum(1, keepdims=True) * up)
    trunk = np.stack([left, up, np.cross(left, up)], 2)
    flat = np.linalg.det(trunk) < 0.5  # hips and shoulders in one point or on one line
    trunk[flat] = FACING_THE_CAMERA
    return trunk


def smallest_rotation(start: Array, end: Array) -> Array:
    """(..., 3, 3) rotations from unit vectors `start` to unit vectors `end`, (..., 3) of broadcastable shapes."""
    start = np.broadcast_to(start, end.shape)
    axis, cosine = np.cross(start, end), (start * end).sum(-1)
    cross = np.zeros((*end.shape, 3))
    cross[..., [2, 0, 1], [1, 2, 0]], cross[..., [1, 2, 0], [2, 0, 1]] = axis, -axis
    rotation: Array = np.eye(3) + cross + cross @ cross / np.maximum(1 + cosine, 1e-3)[..., None, None]
    return _orthonormal(rotation)


def _bend_naturally(bends: Array, bone: Array, lower: Array) -> Array:
    """(..., 3, 3) rotations about `bone` (..., 3) that bring the direction `bends` (..., 3) to that of `lower`.

    Less of a rotation where the limb is nearly straight, none where it is straight.
    """
    across = bends - (bends * bone).sum(-1, keepdims=True) * bone
    aside = lower - (lower * bone).sum(-1, keepdims=True) * bone
    angle = np.arctan2((np.cross(across, aside) * bone).sum(-1), (across * aside).sum(-1))
    share = np.clip((np.linalg.norm(aside, axis=-1) - BENT_A_LITTLE) / (BENT_ENOUGH - BENT_A_LITTLE), 0, 1)
    angle = np.clip(angle, -MAX_TWIST, MAX_TWIST) * share
    vectors = bone * angle[..., None]
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(*vectors.shape, 3)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _orthonormal(matrices: Array) -> Array:
    """The nearest rotations (…, 3, 3)."""
    return Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_matrix().reshape(matrices.shape)


def _like(chosen: NDArray[np.bool_], array: Array) -> NDArray[np.bool_]:
    return chosen.reshape(-1, *[1] * (array.ndim - 1))
