"""What is measured of people, as points of the body: the network's landmarks in space and in the picture, and the
detector's keypoints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_17, OPENPOSE_NAMES
from fourd_humans.people import Float
from fourd_humans.recovery.landmarks.network import Landmarks
from fourd_humans.recovery.landmarks.points import LEFT_HAND, RIGHT_HAND, Array

# The point of the body -> BlazePose's landmark, or the two that it lies between.
_FACE_AND_LIMBS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)  # in the order of COCO's keypoints
_FEET = {"left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32}
_LANDMARKS: tuple[tuple[int, tuple[int, ...]], ...] = (
    *((joint, (landmark,)) for joint, landmark in zip(COCO_17, _FACE_AND_LIMBS, strict=True)),
    *((OPENPOSE_NAMES.index(name), (landmark,)) for name, landmark in _FEET.items()),
    (LEFT_HAND, (17, 19)),
    (RIGHT_HAND, (18, 20)),
)
POINTS = [point for point, _ in _LANDMARKS]
_BETWEEN = np.array([(which[0], which[-1]) for _, which in _LANDMARKS]).T
SEEN = np.concatenate([np.arange(len(POINTS)), np.arange(len(COCO_17))])  # in the picture: landmarks, then keypoints

# The limbs and trunk decide; the face turns the head, hands and feet turn wrists and ankles.
_IMPORTANCE = np.array([0.3] * 5 + [1.0] * 12 + [0.5] * 4 + [0.4] * 2)
_KEYPOINTS_COUNT = 0.7  # the detector's keypoints beside the landmark network's, in the picture
_LEAST_SURETY = 0.02  # in space, where the network still guesses well what it does not see
_LIMBS = slice(5, 17)  # of COCO's keypoints
_CLEARLY = 0.5  # the share of a distance to the keypoints that another must stay below to be believed

_MIRROR = np.array([0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(i + 1 if i % 2 else i - 1 for i in range(11, 33))])


@dataclass(frozen=True)
class Measurements:
    """N people, in K points of the body (`POINTS`), and in L places in the picture, of the points `SEEN`.

    metres: (N, K, 3) from between the hips, x right, y down, z away; surety_3d: (N, K) in 0..1.
    pixels: (N, L, 2) of the frame; surety_2d: (N, L) in 0..1.
    """

    metres: Array
    surety_3d: Array
    pixels: Array
    surety_2d: Array


def measure(landmarks: Landmarks, keypoints: Float | None) -> Measurements:
    """Landmarks of N people, and their keypoints (N, 17, 3) where the detector gives them."""
    if keypoints is None:
        keypoints = np.zeros((len(landmarks.metres), len(COCO_17), 3), np.float32)
    landmarks = _with_sides_of(landmarks, keypoints)

    def of_points(values: Float) -> Array:
        return (values[:, _BETWEEN[0]].astype(float) + values[:, _BETWEEN[1]]) / 2

    surety = of_points(landmarks.visibility) * _IMPORTANCE
    score = np.clip(keypoints[..., 2], 0, 1) * _IMPORTANCE[: len(COCO_17)] * _KEYPOINTS_COUNT
    return Measurements(
        metres=of_points(landmarks.metres),
        surety_3d=np.maximum(surety, _LEAST_SURETY),
        pixels=np.concatenate([of_points(landmarks.pixels), keypoints[..., :2]], 1),
        surety_2d=np.concatenate([surety, score], 1),
    )


def _with_sides_of(landmarks: Landmarks, keypoints: Float) -> Landmarks:
    """Landmarks whose left and right are the detector's.

    A person seen from the back looks much like one seen from the front, with left and right exchanged and what is near
    far: where that reading agrees clearly better with the keypoints, it is taken.
    """
    other = replace(
        landmarks,
        pixels=landmarks.pixels[:, _MIRROR],
        visibility=landmarks.visibility[:, _MIRROR],
        metres=landmarks.metres[:, _MIRROR] * np.array([1, 1, -1], np.float32),
    )
    turned = _distance(other, keypoints) < _CLEARLY * _distance(landmarks, keypoints)

    def choose(as_it_is: Float, as_it_may_be: Float) -> Float:
        return np.where(turned.reshape(-1, *[1] * (as_it_is.ndim - 1)), as_it_may_be, as_it_is)

    return replace(
        landmarks,
        pixels=choose(landmarks.pixels, other.pixels),
        visibility=choose(landmarks.visibility, other.visibility),
        metres=choose(landmarks.metres, other.metres),
    )


def _distance(landmarks: Landmarks, keypoints: Float) -> NDArray[np.floating]:
    """(N,) mean pixels between limbs' landmarks and keypoints, by the keypoints' scores."""
    places = landmarks.pixels[:, list(_FACE_AND_LIMBS)][:, _LIMBS]
    apart = np.linalg.norm(places - keypoints[:, _LIMBS, :2], axis=2)
    score = keypoints[:, _LIMBS, 2]
    distance: NDArray[np.floating] = (apart * score).sum(1) / np.maximum(score.sum(1), 1e-6)
    return distance
