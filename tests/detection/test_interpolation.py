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


def middle(before, after, step=2):
    """The people between two frames that are so far apart."""
    return interpolate({0: before, step: after}, 0, step)


def test_people_who_move_little_are_detected_at_both_ends_only():
    found, asked = run([[50 + t, 400] for t in range(5)])
    assert asked == [0, 4]
    for t, each in enumerate(found):
        np.testing.assert_allclose(each.keypoints[0, 0, :2], [40 + t, 100], atol=1e-4)
        np.testing.assert_allclose(each.boxes[1], [390, 100, 410, 300], atol=1e-4)


def test_people_who_move_far_are_detected_in_the_middle_too_and_with_that_it_is_known_that_they_move_evenly():
    found, asked = run([[50 + 10 * t, 400] for t in range(5)])
    assert asked == [0, 2, 4]
    np.testing.assert_allclose([each.keypoints[0, 0, 0] for each in found], [40 + 10 * t for t in range(5)], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "asked"), [(4, [0, 2, 4]), (8, [0, 1, 2, 3, 4]), (-4, [0, 2, 4]), (-8, [0, 1, 2, 3, 4])]
)
def test_the_faster_movement_changes_the_more_frames_are_detected(change, asked):
    """In the middle of five frames the person is so many pixels beside the line, where 6 are allowed."""
    assert run([[50 + 10 * t + change * (1 - (t - 2) ** 2 / 4)] for t in range(5)])[1] == asked


def test_movement_must_be_even_on_both_sides():
    """The person stops in frame 6, so the frame before it is detected, too."""
    found, asked = run([[50 + 10 * min(t, 6)] for t in range(9)])
    assert asked == [0, 2, 4, 5, 6, 8]
    np.testing.assert_allclose([each.keypoints[0, 0, 0] for each in found], [40 + 10 * min(t, 6) for t in range(9)])


def test_rows_of_people_may_change_while_they_move():
    order = {0: [0, 1], 2: [1, 0], 4: [0, 1]}
    places = {0: [50, 400], 2: [70, 380], 4: [90, 360]}
    detected = {i: detections(*(person(x) for x in np.array(places[i])[order[i]])) for i in order}
    first, second = interpolate(detected, 0, 2)[0], interpolate(detected, 2, 4)[0]
    np.testing.assert_allclose(first.keypoints[:, 0, 0], [50, 380], atol=1e-4)
    np.testing.assert_allclose(second.keypoints[:, 0, 0], [360, 70], atol=1e-4)
    uneven = detected | {2: detections(person(375), person(70))}
    assert interpolate(uneven, 0, 2) is not None  # five pixels beside the line
    assert interpolate(detected | {2: detections(person(370), person(70))}, 0, 2) is None


def test_people_who_appear_are_detected_in_their_first_frame():
    found, asked = run([[50], [50], [50], [50, 400], [50, 400]])
    assert [len(each) for each in found] == [1, 1, 1, 2, 2]
    assert asked == [0, 2, 3, 4]


def test_people_are_matched_whatever_their_order():
    between = middle(detections(person(50), person(400)), detections(person(404), person(54)), 4)[0]
    np.testing.assert_allclose(between.keypoints[:, 0, 0], [41, 391], atol=1e-4)


def test_one_limb_that_moves_far_is_enough_to_refuse():
    moved = person(50)
    moved[10, 0] += 20  # 0.2 of half the height
    assert middle(detections(person(50)), detections(moved)) is None
    moved[10, 2] = 0.1  # not detected: it says nothing
    between = middle(detections(person(50)), detections(moved))[0]
    assert between.keypoints[0, 10, 2] == pytest.approx(0.1)


def test_the_lower_score_is_kept():
    between = middle(detections(person(50, score=0.9)), detections(person(50, score=0.5)))[0]
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
