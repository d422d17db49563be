"""Landmarks against keypoints: weights, confidence, and which reading of a picture is taken."""

import numpy as np
import pytest

from fourd_humans.recovery.landmarks.measurements import (
    DOUBTFUL,
    POINTS,
    interpolated,
    mean_distance,
    measure,
    nearest,
)
from fourd_humans.recovery.landmarks.network import MIRRORED, Landmarks

COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
SIZE = np.full(2, 100.0)
LEFT_WRIST, LEFT_ANKLE = 9, 15  # COCO keypoints


def landmarks(seed=0, count=2):
    rng = np.random.default_rng(seed)
    return Landmarks(
        pixels=rng.uniform(0, 200, (count, 33, 2)).astype(np.float32),
        visibility=np.ones((count, 33), np.float32),
        landmarks_3d=rng.normal(0, 0.4, (count, 33, 3)).astype(np.float32),
        presence=np.ones(count, np.float32),
        segmentation=np.zeros((count, 4, 4), np.float32),
    )


def keypoints_of(reading, score=0.9):
    return np.concatenate([reading.pixels[:, COCO], np.full((len(reading.pixels), 17, 1), score)], 2).astype(np.float32)


def test_full_weight_where_both_agree():
    measured = measure(landmarks(), keypoints_of(landmarks()), SIZE)
    np.testing.assert_allclose(measured.agreement, 1)
    np.testing.assert_allclose(measured.confidence_3d[:, 5:17], 1)  # limbs
    np.testing.assert_allclose(measured.confidence_2d[:, len(POINTS) + 5 :], 0.9 * 2.8, rtol=1e-6)


@pytest.mark.parametrize(("keypoint", "points"), [(LEFT_WRIST, [9, 21]), (LEFT_ANKLE, [15, 17, 19])])
def test_a_landmark_far_from_its_keypoint_counts_little_and_so_do_hand_and_foot(keypoint, points):
    keypoints = keypoints_of(landmarks())
    full = measure(landmarks(), keypoints, SIZE)
    keypoints[0, keypoint, 0] += 2 * DOUBTFUL * 100
    measured = measure(landmarks(), keypoints, SIZE)
    agreement = 1 / (1 + (2 / 12) ** 4)  # of the mean over twelve limb keypoints
    assert measured.agreement == pytest.approx([agreement, 1], rel=1e-4)
    share = measured.confidence_3d / full.confidence_3d
    np.testing.assert_allclose(share[0, points], agreement / (1 + 2**4), rtol=1e-4)
    np.testing.assert_allclose(np.delete(share[0], points), agreement, rtol=1e-4)
    np.testing.assert_allclose(share[1], 1)
    np.testing.assert_allclose(measured.confidence_2d[0, : len(POINTS)], measured.confidence_3d[0], rtol=1e-6)


def test_keypoints_with_a_low_score_say_nothing_of_their_landmark():
    keypoints = keypoints_of(landmarks())
    keypoints[0, LEFT_WRIST] += [50, 0, -0.7]
    measured = measure(landmarks(), keypoints, SIZE)
    assert measured.confidence_3d[0, 9] == pytest.approx(measured.agreement[0])


def test_without_keypoints_the_visibility_alone_counts():
    measured = measure(landmarks(), None, SIZE)
    np.testing.assert_allclose(measured.agreement, 1)
    np.testing.assert_allclose(measured.confidence_3d[:, 5:17], 1)
    assert not measured.confidence_2d[:, len(POINTS) :].any()


def test_distance_is_relative_to_the_person():
    keypoints = keypoints_of(landmarks())
    keypoints[..., :2] += [3, 4]
    np.testing.assert_allclose(mean_distance(landmarks(), keypoints, np.array([100.0, 50.0])), [0.05, 0.1], rtol=1e-4)


def test_of_several_readings_the_nearest_is_taken_person_by_person():
    one, other = landmarks(1), landmarks(2)
    keypoints = np.concatenate([keypoints_of(one)[:1], keypoints_of(other)[1:]])
    chosen = nearest([one, other], keypoints, SIZE)
    np.testing.assert_array_equal(chosen.landmarks_3d, np.stack([one.landmarks_3d[0], other.landmarks_3d[1]]))
    np.testing.assert_array_equal(chosen.pixels, np.stack([one.pixels[0], other.pixels[1]]))


def test_a_mirrored_reading_exchanges_left_and_right_and_near_and_far():
    reading = landmarks()
    mirrored = reading.mirrored()
    np.testing.assert_array_equal(mirrored.pixels[:, 11], reading.pixels[:, 12])
    np.testing.assert_array_equal(mirrored.landmarks_3d[:, 28] * [1, 1, -1], reading.landmarks_3d[:, 27])
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(33))
    chosen = nearest([reading, mirrored], keypoints_of(mirrored), SIZE)
    np.testing.assert_array_equal(chosen.landmarks_3d, mirrored.landmarks_3d)


def test_between_two_frames_landmarks_are_interpolated_unless_they_are_different_poses():
    before, after = landmarks(1), landmarks(1)
    after.pixels[:] += 8
    after.landmarks_3d[0] += 0.04
    after.landmarks_3d[1, :, 2] *= -1
    halfway = interpolated(before, after, 0.25, keypoints_of(after), SIZE)
    np.testing.assert_allclose(halfway.pixels[0], before.pixels[0] + 2, atol=1e-4)
    np.testing.assert_allclose(halfway.landmarks_3d[0], before.landmarks_3d[0] + 0.01, atol=1e-6)
    np.testing.assert_array_equal(halfway.landmarks_3d[1], after.landmarks_3d[1])  # nearer to the keypoints
