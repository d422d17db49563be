import numpy as np

from fourd_humans.detection.limits import Limits


def test_everybody_is_kept_or_dropped_with_a_reason():
    boxes = np.array([[0, 0, 50, 100], [0, 0, 49, 100], [0, 0, 50, 99], [0, 0, 50, 100], [9, 9, 9, 200]], np.float32)
    scores = np.array([0.8, 0.9, 0.9, 0.79, 0.9], np.float32)
    rows, rejected = Limits(0.8, 50, 100).divide(boxes, scores)
    np.testing.assert_array_equal(rows, [0])
    small = "smaller than 50x100 pixels"
    assert [person.reason for person in rejected] == [small, small, "its score is below 0.8", "its box has no area"]
    assert rejected[2].box == (0, 0, 50, 100)


def test_without_limits_only_boxes_without_area_go():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 5, 9]], np.float32)
    rows, rejected = Limits().divide(boxes, np.zeros(2, np.float32))
    np.testing.assert_array_equal(rows, [0])
    assert len(rejected) == 1
