"""Whose landmarks are read, and whose interpolated."""

import numpy as np

from fourd_humans.people import Detections, Frame
from fourd_humans.recovery.landmarks.interpolation import interpolated_people


def detections(*positions):
    """People 200 pixels high and 20 wide."""
    keypoints = np.zeros((len(positions), 17, 3), np.float32)
    keypoints[..., 0] = np.array(positions)[:, None] + np.tile([-10, 10], 9)[:17]
    keypoints[..., 1], keypoints[..., 2] = np.linspace(100, 300, 17), 0.9
    boxes = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], 1)
    return Detections(boxes, keypoints[:, 0, 2], keypoints=keypoints)


def frames(*indices):
    return [Frame(i, i / 30, str(i), np.zeros((4, 4, 3), np.uint8)) for i in indices]


def test_who_hardly_moves_is_read_at_both_ends():
    found = [detections(50 + t / 2, 400) for t in range(5)]
    between = interpolated_people(frames(*range(5)), found)
    assert between == {(i, row): ((0, row), (4, row)) for i in (1, 2, 3) for row in (0, 1)}


def test_each_person_is_read_as_often_as_their_movement_asks():
    """One stands, one moves so far that the middle is read, one so far that all frames are; in changing order."""
    found = [detections(50, 400 + 2 * t, 700 + 10 * t) for t in range(5)]
    found[2] = found[2][[2, 0, 1]]
    between = interpolated_people(frames(*range(5)), found)
    assert {person: ends for person, ends in between.items() if ends[0][1] == 0} == {
        (1, 0): ((0, 0), (4, 0)), (2, 1): ((0, 0), (4, 0)), (3, 0): ((0, 0), (4, 0))
    }  # fmt: skip
    assert between[1, 1] == ((0, 1), (2, 2))
    assert between[3, 1] == ((2, 2), (4, 1))
    assert len(between) == 5


def test_who_leaves_the_line_between_two_frames_is_read():
    """3 pixels beside it are allowed."""
    assert interpolated_people(frames(0, 1, 2), [detections(50), detections(54), detections(53)]) == {
        (1, 0): ((0, 0), (2, 0))
    }
    assert not interpolated_people(frames(0, 1, 2), [detections(50), detections(55), detections(53)])


def test_who_moves_far_is_read_in_every_other_frame_at_most():
    """5 pixels may lie between two frames with one between them, 3 where there are more."""
    assert len(interpolated_people(frames(0, 1, 2), [detections(50 + 2.5 * t) for t in range(3)])) == 1
    between = interpolated_people(frames(*range(5)), [detections(50 + 1.25 * t) for t in range(5)])
    assert between == {(1, 0): ((0, 0), (2, 0)), (3, 0): ((2, 0), (4, 0))}
    assert not interpolated_people(frames(0, 1, 2), [detections(50 + 3.5 * t) for t in range(3)])


def test_who_is_not_where_they_were_meanwhile_is_read():
    found = [detections(50), detections(90), detections(50)]
    assert not interpolated_people(frames(0, 1, 2), found)


def test_who_overlaps_with_somebody_read_is_read():
    apart = [detections(50, 400 + 10 * t) for t in range(3)]
    near = [detections(395, 400 + 10 * t) for t in range(3)]
    assert len(interpolated_people(frames(0, 1, 2), apart)) == 1
    assert not interpolated_people(frames(0, 1, 2), near)


def test_nothing_is_interpolated_over_missing_frames_or_without_keypoints():
    found = [detections(50)] * 3
    assert len(interpolated_people(frames(0, 1, 2), found)) == 1
    assert not interpolated_people(frames(0, 1, 3), found)
    without = Detections(found[0].boxes, found[0].scores)
    assert not interpolated_people(frames(0, 1, 2), [without] * 3)
    assert not interpolated_people(frames(0, 1, 2), [found[0], without, found[0]])
    nobody = detections(50)[[]]
    assert not interpolated_people(frames(0, 1, 2), [nobody, found[0], nobody])
