"""What the bodies are fitted to: the landmark network's output and the detector's keypoints, weighted by agreement.

Two networks saw the same person independently. Where a landmark lies far from the detector's keypoint, one of them is
wrong, usually about the limb of somebody else or about left and right; such a landmark is given little weight, and its
depth with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_17, OPENPOSE_NAMES
from fourd_humans.body.points import LEFT_HAND, RIGHT_HAND, Array
from fourd_humans.people import Float
from fourd_humans.recovery.landmarks.network import Landmarks
from fourd_humans.recovery.landmarks.regions import REGION_SCALE

# The point of the body -> BlazePose's landmark, or the two that it lies between.
_COCO_LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)  # in the order of COCO's keypoints
_FEET = {"left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32}
_LANDMARKS: tuple[tuple[int, tuple[int, ...]], ...] = (
    *((joint, (landmark,)) for joint, landmark in zip(COCO_17, _COCO_LANDMARKS, strict=True)),
    *((OPENPOSE_NAMES.index(name), (landmark,)) for name, landmark in _FEET.items()),
    (LEFT_HAND, (17, 19)),
    (RIGHT_HAND, (18, 20)),
)
POINTS = np.array([point for point, _ in _LANDMARKS])  # (K,) of the body, see `body.points`
# (L,) which of the K points each image point is: the landmarks, then the keypoints.
POINT_OF_PIXEL = np.concatenate([np.arange(len(POINTS)), np.arange(len(COCO_17))])
_BETWEEN = np.array([(pair[0], pair[-1]) for _, pair in _LANDMARKS]).T
# (K,) the keypoint whose distance says how good a point is: its own; the ankle for the foot, the wrist for the hand.
_KEYPOINT_OF_POINT = np.array([*range(17), 15, 16, 15, 16, 9, 10])
_LIMBS = slice(5, 17)  # of COCO's keypoints

# The limbs and trunk have full weight; the face turns the head, hands and feet turn wrists and ankles.
_POINT_WEIGHT = np.array([0.3] * 5 + [1.0] * 12 + [0.5] * 4 + [0.4] * 2)
_KEYPOINT_WEIGHT = 2.8  # of the detector's keypoints, relative to the landmarks in the image
_MIN_CONFIDENCE_3D = 0.003
_MIN_KEYPOINT_SCORE = 0.3  # below it a keypoint says nothing of a landmark
_SAME_POSE = 0.15  # metres between landmarks of nearby frames, from which on one of the two is read wrongly
DOUBTFUL = 0.05  # distance of a landmark to its keypoint, over the person's size, at which its weight halves


@dataclass(frozen=True)
class Measurements:
    """N people: K points of the body (`POINTS`) in space, and L image points (of the points `POINT_OF_PIXEL`).

    landmarks_3d: (N, K, 3) metres from between the hips, x right, y down, z away. confidence_3d: (N, K) in 0..1.
    pixels: (N, L, 2) of the frame. confidence_2d: (N, L), 0 or more.
    agreement: (N,) in 0..1, how well landmarks and keypoints agree; 1 where there are no keypoints to compare with.
    """

    landmarks_3d: Array
    confidence_3d: Array
    pixels: Array
    confidence_2d: Array
    agreement: Array


def measure(landmarks: Landmarks, keypoints: Float | None, size: Float) -> Measurements:
    """Landmarks of N people and their keypoints (N, 17, 3), where the detector has any.

    size: (N,) pixels, see `person_size`.
    """
    if keypoints is None:
        keypoints = np.zeros((len(size), len(COCO_17), 3), np.float32)

    def of_points(values: Float) -> Array:
        return (values[:, _BETWEEN[0]].astype(float) + values[:, _BETWEEN[1]]) / 2

    distances = _distances(landmarks, keypoints, size)
    of_keypoints = np.where(keypoints[..., 2] > _MIN_KEYPOINT_SCORE, distances, 0)
    agreement = _agreement(mean_distance(landmarks, keypoints, size))
    weight = _agreement(of_keypoints[:, _KEYPOINT_OF_POINT]) * agreement[:, None]
    confidence = of_points(landmarks.visibility) * _POINT_WEIGHT * weight
    score = np.clip(keypoints[..., 2], 0, 1) * _POINT_WEIGHT[: len(COCO_17)] * _KEYPOINT_WEIGHT
    return Measurements(
        landmarks_3d=of_points(landmarks.landmarks_3d),
        confidence_3d=np.maximum(confidence, _MIN_CONFIDENCE_3D),
        pixels=np.concatenate([of_points(landmarks.pixels), keypoints[..., :2]], 1),
        confidence_2d=np.concatenate([confidence, score], 1),
        agreement=agreement,
    )


def person_size(region_sides: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N,) pixels, about half a person's length: the distance from the hips to the farthest keypoint."""
    return region_sides / REGION_SCALE


def nearest(readings: Sequence[Landmarks], keypoints: Float, size: NDArray[np.floating]) -> Landmarks:
    """For each of N people the reading of the picture whose limbs lie nearest to the keypoints (N, 17, 3)."""
    best, best_distance = readings[0], mean_distance(readings[0], keypoints, size)
    for reading in readings[1:]:
        distance = mean_distance(reading, keypoints, size)
        nearer = distance < best_distance
        best, best_distance = reading.where(nearer, best), np.where(nearer, distance, best_distance)
    return best


def interpolated(
    before: Landmarks, after: Landmarks, share: float, keypoints: Float, size: NDArray[np.floating]
) -> Landmarks:
    """Landmarks of N people between two frames, with the keypoints (N, 17, 3) there.

    share: of the way from one frame to the other. Where the two differ too much in space to be the same pose, the one
    nearer to the keypoints is taken.
    """
    ends = [(getattr(before, f.name), getattr(after, f.name)) for f in fields(Landmarks)]
    mean = Landmarks(*(start + np.float32(share) * (end - start) for start, end in ends))
    same = np.linalg.norm(before.landmarks_3d - after.landmarks_3d, axis=2).mean(1) < _SAME_POSE
    return mean if same.all() else mean.where(same, nearest([before, after], keypoints, size))


def mean_distance(landmarks: Landmarks, keypoints: Float, size: NDArray[np.floating]) -> Array:
    """(N,) mean distance of the limbs' landmarks to their keypoints, over the person's size, weighted by the scores."""
    score = keypoints[:, _LIMBS, 2]
    distances = _distances(landmarks, keypoints, size)[:, _LIMBS]
    mean: Array = (distances * score).sum(1) / np.maximum(score.sum(1), 1e-6)
    return mean


def _distances(landmarks: Landmarks, keypoints: Float, size: NDArray[np.floating]) -> Array:
    """(N, 17) from each landmark to its keypoint, over the person's size."""
    apart = np.linalg.norm(landmarks.pixels[:, list(_COCO_LANDMARKS)] - keypoints[..., :2], axis=2)
    return apart / np.maximum(size, 1e-6)[:, None]


def _agreement(distance: Array) -> Array:
    return 1 / (1 + (distance / DOUBTFUL) ** 4)
