"""Detection in some of a batch's frames, and interpolation in between."""

import numpy as np
import pytest

from fourd_humans.detection.interpolation import InterpolatingDetector, interpolate
from fourd_humans.people import Detections, Frame


def person(x, y=100.0, score=0.9):
    """A person 200 pixels high with the head at (x, y)."""
    offsets = np.stack([np.tile([-10, 10], 9)[:17], np.linspace(0, 200, 17)], 1)
    return np.concatenate([offsets + np.array([x, y]), np.full((17, 1), score)], 1)


def detections(*people):
    keypoints = np.array(people, np.float32).reshape(-1, 17, 3)
    low, high = keypoints[..., :2].min(1), keypoints[..., :2].max(1)
    boxes = np.concatenate([low, high], 1)
    return Detections(boxes, keypoints[:, :, 2].mean(1), keypoints=keypoints)


class Recorder:
    """A detector that knows where everybody is, and remembers which frames it was asked about."""

    def __init__(self, positions):
        self.positions, self.frames = positions, []

    def __call__(self, frames):
        self.frames += [frame.index for frame in frames]
        return [detections(*(person(x) for x in self.positions[frame.index])) for frame in frames]


def frames(*indices):
    return [Frame(i, i / 30, str(i), np.zeros((4, 4, 3), np.uint8)) for i in indices]


def run(positions, indices=None):
    recorder = Recorder(positions)
    found = InterpolatingDetector(recorder)(frames(*(range(len(positions)) if indices is None else indices)))
    return found, sorted(recorder.frames)


def test_people_who_move_little_are_detected_at_both_ends_only():
    found, asked = run([[50 + t, 400] for t in range(5)])
    assert asked == [0, 4]
    for t, each in enumerate(found):
        np.testing.assert_allclose(each.keypoints[0, 0, :2], [40 + t, 100], atol=1e-4)
        np.testing.assert_allclose(each.boxes[1], [390, 100, 410, 300], atol=1e-4)


@pytest.mark.parametrize(("step", "asked"), [(1, [0, 4]), (2, [0, 2, 4]), (4, [0, 1, 2, 3, 4])])
def test_the_faster_people_move_the_more_frames_are_detected(step, asked):
    assert run([[50 + step * t] for t in range(5)])[1] == asked


def test_people_who_appear_are_detected_in_their_first_frame():
    found, asked = run([[50], [50], [50], [50, 400], [50, 400]])
    assert [len(each) for each in found] == [1, 1, 1, 2, 2]
    assert asked == [0, 2, 3, 4]


def test_people_are_matched_whatever_their_order():
    between = interpolate(detections(person(50), person(400)), detections(person(404), person(54)), 0.25)
    np.testing.assert_allclose(between.keypoints[:, 0, 0], [41, 391], atol=1e-4)


def test_one_limb_that_moves_far_is_enough_to_refuse():
    moved = person(50)
    moved[10, 0] += 20  # 0.2 of half the height
    assert interpolate(detections(person(50)), detections(moved)) is None
    moved[10, 2] = 0.1  # not detected: it says nothing
    between = interpolate(detections(person(50)), detections(moved))
    assert between.keypoints[0, 10, 2] == pytest.approx(0.1)


def test_the_lower_score_is_kept():
    between = interpolate(detections(person(50, score=0.9)), detections(person(50, score=0.5)))
    assert between.scores == pytest.approx(0.5)
    np.testing.assert_allclose(between.keypoints[..., 2], 0.5)


def test_frames_that_are_missing_in_between_are_not_bridged():
    assert run([[50]] * 20, indices=[0, 1, 12, 13])[1] == [0, 1, 12, 13]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_batches(count):
    found, asked = run([[50]] * count)
    assert asked == list(range(count)) == list(range(len(found)))


def test_nobody():
    found, asked = run([[]] * 5)
    assert asked == [0, 4]
    assert [len(each) for each in found] == [0] * 5
