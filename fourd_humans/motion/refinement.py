"""The bodies of one person fitted again to all frames of a window at once: smooth movement and one shape.

A least-squares fit (`normal_equations`) by Gauss-Newton steps. The data are the recovered bodies themselves: points of
them in space and in the picture, and their rotations, each weighted by the confidence of the body. Where the recovery
tells a confidence, the detector's keypoints and the outlines of the masks are data as well. The priors are small
accelerations, small turns of the joints from frame to frame, and betas near zero.

A body with a low confidence starts from a nearby body with a high one, which undoes bodies that face the wrong way.
Frames without an observation have no data, so that the priors fill them in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.joints import COCO_17, HEAD_TOP, NECK, OPENPOSE_NAMES, SPINE, THORAX
from fourd_humans.body.model import BodyModel
from fourd_humans.body.points import LEFT_HAND, RIGHT_HAND, BodyPoints
from fourd_humans.geometry.camera import Intrinsics
from fourd_humans.geometry.crops import with_camera
from fourd_humans.motion.completion import with_joints
from fourd_humans.motion.interpolation import from_picture, to_picture
from fourd_humans.motion.normal_equations import ROTATIONS, TRANSLATION, Points, Stds, normal_equations
from fourd_humans.motion.outlines import BodyOutline, MaskDistance, mask_distance
from fourd_humans.people import Bodies, Float, Mask
from fourd_humans.pose_features import repair_rotations

Array = NDArray[np.float64]

FEET = tuple(OPENPOSE_NAMES.index(f"{side}_{part}") for part in ("heel", "big_toe") for side in ("left", "right"))
POINTS = np.array([*COCO_17, *FEET, LEFT_HAND, RIGHT_HAND, NECK, HEAD_TOP, THORAX, SPINE])
IMPORTANCE = np.array([0.3] * 5 + [1.0] * 12 + [0.5] * 4 + [0.4] * 2 + [0.3] * 4)  # the limbs and the trunk decide

STEPS = 4
LARGEST_TURN = 0.7  # radians of a joint in one step
NEAREST = 0.3  # metres from the camera that a body may stand

STD_3D = 0.06  # metres that the recovery's points are good to
STD_2D = 0.03  # metres, at the person's depth, that points in the picture are good to
STD_ROTATION = 0.5  # radians that the recovery's rotations are good to
OUTLIER = 3.0  # in std: what is farther off hardly counts

# Priors at REFERENCE_RATE frames a second. Forces change at random, so accelerations are taken as white noise: from
# one rate to another the second differences scale with the power 1.5 of the time between frames, turns with 0.5.
REFERENCE_RATE = 60.0
STD_ACCELERATION = 0.005  # metres a frame², of the body's points from its origin
STD_TRANSLATION = 0.01  # metres a frame², of the translation
STD_TURN = 0.1  # radians a frame

MEMORY = 0.1  # seconds within which the confidence of another frame counts e times less, where the fit is to start
LEAST_WEIGHT = 1e-3  # of a body that was not observed, only predicted or filled in
KEYPOINTS = 1.0  # weight of the detector's keypoints in the picture
OWN_PROJECTIONS = 0.1  # weight of the projected body beside keypoints; alone it has 1
OUTLINE_RATE = 15.0  # outlines a second that are compared: movement is smooth between them
OUTLINE_CONFIDENCE = 0.1  # below it the mask may be another person's
INDEPENDENT_OUTLINES = 8  # more outlines than this say the same of the shape: clothes and hair stay as they are


@dataclass(frozen=True)
class Window:
    """One person in some frames of a video, within one shot.

    frames: (T,) numbers of the frames, ascending. bodies: T rows. observed: (T,) False where a body is only predicted
    or filled in. keypoints: (T, 17, 3) in COCO order, pixels and score, or None.
    masks: of each frame, the person's mask, or None; or None for no masks at all. other_masks: of each frame, those of
    the other people.
    """

    frames: NDArray[np.int64]
    bodies: Bodies
    observed: NDArray[np.bool_]
    keypoints: Float | None = None
    masks: Sequence[Mask | None] | None = None
    other_masks: Sequence[Sequence[Mask]] | None = None


class Refinement:
    """Refines the bodies of one person over time, for one body model."""

    def __init__(self, body_model: BodyModel) -> None:
        self.body_model = body_model
        self._points = BodyPoints(body_model, POINTS)
        self._outline = BodyOutline(body_model)

    def __call__(
        self, window: Window, frame_rate: float, *, betas: Float | None = None, previous: Window | None = None
    ) -> Bodies:
        """The refined bodies of the window's T frames, with joints and cameras that agree with them.

        frame_rate: frames a second.
        betas: (10,) the person's shape if it is known, or None to find it here: fitted where the bodies have a
            confidence, else their mean.
        previous: refined bodies of the same person in the frames before, which the movement continues; two are enough.

        Identities, textures and confidences stay as they are. Raises: numpy.linalg.LinAlgError where the bodies cannot
        be fitted.
        """
        problem = self._problem(window, frame_rate, betas, previous)
        rotations, translations, shape = self._solve(problem)
        return self._bodies(window, rotations[problem.rows], translations[problem.rows], shape)

    def _problem(self, window: Window, frame_rate: float, betas: Float | None, previous: Window | None) -> _Problem:
        """Every frame from the first to the last, those without a body too, after the last two of `previous`."""
        bodies, before = window.bodies, None if previous is None else previous.bodies[-2:]
        frames = window.frames
        if previous is not None and before is not None:
            frames = np.concatenate([previous.frames[-2:], frames])
        fixed = 0 if before is None else len(before)
        timeline = frames - frames[0]  # a place for every frame
        rows = timeline[fixed:]
        count = int(timeline[-1]) + 1
        weights = np.zeros(count)
        weights[rows] = _weights(window)
        if not weights.any():
            raise np.linalg.LinAlgError("no body is finite and in front of the camera")

        rotations, translations = np.tile(np.eye(3), (count, 24, 1, 1)), np.zeros((count, 3))
        rotations[rows], translations[rows] = _rotations(bodies), np.nan_to_num(bodies.camera)
        if before is not None:
            rotations[timeline[:fixed]], translations[timeline[:fixed]] = _rotations(before), before.camera
        recovered_betas = np.nan_to_num(bodies.betas.astype(float))
        mean_betas = np.average(recovered_betas, axis=0, weights=weights[rows])
        shape = mean_betas if betas is None else betas.astype(float)

        # What is measured: the recovered bodies, with the common shape so that bones keep their lengths.
        points_3d = self._points.pose(rotations, np.repeat(shape[None], count, 0)).points
        own = np.zeros((count, len(POINTS), 3))
        own[rows] = self._points.pose(rotations[rows], recovered_betas).points
        own += translations[:, None]
        points_2d = own[..., :2] / np.maximum(own[..., 2:], NEAREST)
        weights_3d = weights[:, None] * IMPORTANCE
        weights_2d, seen = weights_3d, np.arange(len(POINTS))
        trusted = bodies.confidence is not None
        if trusted and window.keypoints is not None:
            focal, center = bodies.focal_length, np.array(bodies.principal_point)
            keypoints = np.zeros((count, len(COCO_17), 3))
            keypoints[rows[window.observed]] = window.keypoints[window.observed]
            points_2d = np.concatenate([points_2d, (keypoints[..., :2] - center) / focal], 1)
            scores = np.clip(keypoints[..., 2], 0, 1) * IMPORTANCE[: len(COCO_17)]
            weights_2d = np.concatenate([OWN_PROJECTIONS * weights_2d, KEYPOINTS * scores], 1)
            seen = np.concatenate([seen, np.arange(len(COCO_17))])
        targets = Points(
            points_3d, weights_3d, points_2d, weights_2d, seen, rotations.copy(), weights / STD_ROTATION**2
        )

        outlines = _outlines(window, rows, weights, frame_rate) if trusted else {}

        rotations[fixed:], translations[fixed:] = _start(rotations, translations, weights, fixed, frame_rate)
        intrinsics = Intrinsics(bodies.focal_length, bodies.principal_point)
        return _Problem(
            rotations, translations, shape, trusted and betas is None, fixed, rows, weights, targets,
            _stds(frame_rate, intrinsics), outlines, intrinsics,
        )  # fmt: skip

    def _solve(self, problem: _Problem) -> tuple[Array, Array, Array]:
        """Rotations (N, 24, 3, 3), translations (N, 3) and betas (10,)."""
        rotations, translations, betas = problem.rotations, problem.translations, problem.betas
        prior = max(1.0, len(problem.outlines) / INDEPENDENT_OUTLINES)
        for _ in range(STEPS):
            posed = self._points.pose(rotations, np.repeat(betas[None], len(rotations), 0))
            equations = normal_equations(posed, rotations, translations, betas, problem.targets, problem.stds, prior)
            for frame, mask in problem.outlines.items():
                found = self._outline.normal_equations(
                    rotations[frame], betas, translations[frame], problem.intrinsics, mask
                )
                if found is not None:
                    equations.add(frame, *found)
            steps, step_betas = equations.solve(problem.fixed, problem.free_betas)
            turns = steps[:, ROTATIONS].reshape(-1, 24, 3)
            angles = np.linalg.norm(turns, axis=-1, keepdims=True)
            turns *= np.minimum(1, LARGEST_TURN / np.maximum(angles, 1e-9))
            turned = Rotation.from_rotvec(turns.reshape(-1, 3)).as_matrix().reshape(rotations.shape)
            rotations = turned @ rotations
            translations = translations + steps[:, TRANSLATION]
            translations[:, 2] = np.maximum(translations[:, 2], NEAREST)
            betas = betas + step_betas
        if not all(np.isfinite(values).all() for values in (rotations, translations, betas)):
            raise np.linalg.LinAlgError("the refined bodies are not finite")
        return rotations, translations, betas

    def _bodies(self, window: Window, rotations: Array, translations: Array, betas: Array) -> Bodies:
        bodies = window.bodies
        refined = replace(
            bodies,
            global_orient=rotations[:, :1].astype(np.float32),
            body_pose=rotations[:, 1:].astype(np.float32),
            betas=np.repeat(betas[None].astype(np.float32), len(bodies), 0),
        )
        return with_joints(with_camera(refined, translations.astype(np.float32)), self.body_model)


@dataclass(frozen=True)
class _Problem:
    """Where a fit of N frames starts, and what it is fitted to.

    rotations: (N, 24, 3, 3). translations: (N, 3). betas: (10,). fixed: how many of the first frames stay.
    rows: (T,) which of the frames are the window's. weights: (N,) of the recovered bodies.
    """

    rotations: Array
    translations: Array
    betas: Array
    free_betas: bool
    fixed: int
    rows: NDArray[np.int64]
    weights: Array
    targets: Points
    stds: Stds
    outlines: dict[int, MaskDistance]
    intrinsics: Intrinsics


def _weights(window: Window) -> Array:
    """(T,) how much each body counts: its confidence, little where it was not observed, 0 where it is not finite."""
    bodies = window.bodies
    confidence = np.ones(len(bodies)) if bodies.confidence is None else bodies.confidence.astype(float)
    weights = np.where(window.observed, np.clip(confidence, LEAST_WEIGHT, 1), LEAST_WEIGHT)
    values = (bodies.global_orient, bodies.body_pose, bodies.betas, bodies.camera)
    finite = np.all([np.isfinite(each).reshape(len(bodies), -1).all(1) for each in values], 0)
    return np.where(finite & (bodies.camera[:, 2] > 0), weights, 0.0)


def _outlines(window: Window, rows: NDArray[np.int64], weights: Array, frame_rate: float) -> dict[int, MaskDistance]:
    """The masks that are compared, by frame."""
    stride = max(1, round(frame_rate / OUTLINE_RATE))
    found: dict[int, MaskDistance] = {}
    last = -stride
    for i, (row, mask) in enumerate(zip(rows.tolist(), window.masks or (), strict=False)):
        if mask is None or not window.observed[i] or weights[row] < OUTLINE_CONFIDENCE or row - last < stride:
            continue
        distance = mask_distance(mask, window.other_masks[i] if window.other_masks is not None else ())
        if distance is not None:
            found[row], last = distance, row
    return found


def _rotations(bodies: Bodies) -> Array:
    rotations = np.nan_to_num(np.concatenate([bodies.global_orient, bodies.body_pose], 1))
    return repair_rotations(rotations)[0].astype(float)


def _start(rotations: Array, translations: Array, weights: Array, fixed: int, frame_rate: float) -> tuple[Array, Array]:
    """Where the frames after the fixed ones start: each with the rotations of the most trusted frame nearby, which is
    mostly its own; translations of the others lie between those of the frames that start as they are."""
    frames = np.arange(len(rotations))
    apart = np.abs(frames[:, None] - frames) / (frame_rate * MEMORY)
    best = (np.log(np.maximum(weights, 1e-9)) - apart).argmax(1)
    own = np.flatnonzero(best == frames)
    between = from_picture(np.stack([np.interp(frames, own, column) for column in to_picture(translations[own]).T], 1))
    rotations = rotations[best]
    translations = np.where((best == frames)[:, None], translations, between)
    return rotations[fixed:], translations[fixed:]


def _stds(frame_rate: float, intrinsics: Intrinsics) -> Stds:
    longer = REFERENCE_RATE / frame_rate
    # A long lens sets people far away, where the same change of size in the picture is a longer way.
    diagonal = 2 * float(np.hypot(*intrinsics.principal_point))
    away = max(1.0, intrinsics.focal_length / max(diagonal, 1.0))
    return Stds(
        points_3d=STD_3D,
        points_2d=STD_2D,
        outlier=OUTLIER,
        acceleration=STD_ACCELERATION * longer**1.5,
        translation=STD_TRANSLATION * longer**1.5 * np.array([1, 1, away]),
        turn=STD_TURN * longer**0.5,
    )
