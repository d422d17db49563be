import numpy as np

from fourd_humans.detection.limits import Limits


def test_everybody_is_kept_or_rejected_with_a_reason():
    boxes = np.array([[0, 0, 50, 100], [0, 0, 49, 100], [0, 0, 50, 99], [0, 0, 50, 100], [9, 9, 9, 200]], np.float32)
    scores = np.array([0.8, 0.9, 0.9, 0.79, 0.9], np.float32)
    indices, rejected = Limits(0.8, 50, 100).filter(boxes, scores)
    np.testing.assert_array_equal(indices, [0])
    small = "smaller than 50x100 pixels"
    assert [person.reason for person in rejected] == [small, small, "score below 0.8", "box without area"]
    assert rejected[2].box == (0, 0, 50, 100)


def test_without_limits_only_boxes_without_area_go():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 5, 9]], np.float32)
    indices, rejected = Limits().filter(boxes, np.zeros(2, np.float32))
    np.testing.assert_array_equal(indices, [0])
    assert len(rejected) == 1
