"""Boxes from files: each format, matched to the right frames; bad content clipped with a warning or refused."""

import json
import logging

import numpy as np
import pytest

from fourd_humans.detection.precomputed import PrecomputedDetections
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.people import Bodies, Detections, Frame, Mask, TrackedFrame
from fourd_humans.results import ResultWriter


def video_frame(index: int, size=(100, 200)) -> Frame:
    return Frame(index, index / 25, f"{index:06d}", np.zeros((*size, 3), np.uint8))


def image_frame(index: int, name: str) -> Frame:
    return Frame(index, index / 25, name, np.zeros((100, 200, 3), np.uint8))


def mot(tmp_path, *lines: str):
    path = tmp_path / "boxes.txt"
    path.write_text("\n".join(lines))
    return path


def coco(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    return path


def test_mot(tmp_path):
    detector = PrecomputedDetections(
        mot(tmp_path, "1,7,10,20,30,40,0.9,-1,-1,-1", "", "# comment", "3 -1 1.5 2 3 4", "3,8,5,5,5,5,-1")
    )
    first, second, third = detector([video_frame(i) for i in range(3)])
    np.testing.assert_array_equal(first.boxes, [[10, 20, 40, 60]])
    assert first.boxes.dtype == first.scores.dtype == np.float32
    np.testing.assert_allclose(first.scores, [0.9])
    assert first.annotations == [7]
    assert first.keypoints is None
    assert first.masks is None
    assert len(second) == 0
    np.testing.assert_array_equal(third.boxes, [[1.5, 2, 4.5, 6], [5, 5, 10, 10]])
    np.testing.assert_array_equal(third.scores, [1, 1])
    assert third.annotations == [None, 8]


def test_mot_is_by_position_for_images_too(tmp_path):
    detector = PrecomputedDetections(mot(tmp_path, "2,1,10,20,30,40"))
    assert [len(found) for found in detector([image_frame(0, "a5.jpg"), image_frame(1, "a6.jpg")])] == [0, 1]


def test_mot_ground_truth_says_whom_to_use(tmp_path):
    lines = ["1,1,10,10,20,40,1,1,0.8", "1,2,50,10,20,40,0,1,1.0", "1,3,90,10,20,40,1,7,1.0"]
    (found,) = PrecomputedDetections(mot(tmp_path, *lines))([video_frame(0)])
    assert found.annotations == [1]
    assert [person.box for person in found.rejected] == [(50, 10, 70, 50), (90, 10, 110, 50)]
    assert "not to be used" in found.rejected[0].reason
    assert "class 7" in found.rejected[1].reason


def test_boxes_beyond_the_frame_are_clipped_with_one_warning(tmp_path, caplog):
    lines = ["1,1,-10,-20,40,60", "1,2,190,90,50,50", "1,3,300,20,30,30", "1,4,20,20,0,30"]
    with caplog.at_level(logging.WARNING):
        detector = PrecomputedDetections(mot(tmp_path, *lines))
        found, _ = detector([video_frame(0), video_frame(0)])
    np.testing.assert_array_equal(found.boxes, [[0, 0, 30, 40], [190, 90, 200, 100]])
    assert [person.reason for person in found.rejected] == ["box outside the frame or without area"] * 2
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'boxes.txt'}: boxes reach beyond the frame, first in 000000; they are clipped to it"
    ]


def test_inverted_boxes_are_turned_round_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        (found,) = PrecomputedDetections(mot(tmp_path, "1,1,50,60,-30,-40", "1,2,1,1,5,5"))([video_frame(0)])
    np.testing.assert_array_equal(found.boxes, [[20, 20, 50, 60], [1, 1, 6, 6]])
    assert "1 boxes have a negative width or height" in caplog.text


def test_frames_beyond_the_video_and_repeated_ids_are_warned_of(tmp_path, caplog):
    lines = ["1,1,1,1,5,5", "1,1,20,1,5,5", "6,1,1,1,5,5", "9,1,1,1,5,5"]
    with caplog.at_level(logging.WARNING):
        (found,) = PrecomputedDetections(mot(tmp_path, *lines), frame_count=5)([video_frame(0)])
    assert len(found) == 2
    assert "boxes for 2 frames after the video's end (frames 5 to 8 from 0, of 5)" in caplog.text
    assert "first id 1 in frame 0" in caplog.text


def test_scores_outside_their_range_are_clipped_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        (found,) = PrecomputedDetections(mot(tmp_path, "1,-1,1,1,5,5,97.5", "1,-1,1,1,5,5,-0.3"))([video_frame(0)])
    np.testing.assert_array_equal(found.scores, [1, 0])
    assert "2 scores" in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "line 2 has only 3 numbers"),
        ("1,2,a,4,5,6", "line 2 holds more than numbers"),
        ("0,2,3,4,5,6", "MOT counts frames from 1"),
        ("1.5,2,3,4,5,6", "frame number 1.5 is no whole number"),
        ("1,2,nan,4,5,6", "no sensible number"),
        ("1,2,3,4,inf,6", "no sensible number"),
    ],
)
def test_bad_mot_lines_are_named(tmp_path, line, message):
    with pytest.raises(FourDHumansError, match=message) as caught:
        PrecomputedDetections(mot(tmp_path, "1,1,1,1,5,5", line))
    assert str(caught.value).startswith(str(tmp_path / "boxes.txt"))
    assert "\n" not in str(caught.value)


PERSON = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}


def test_coco_by_file_name(tmp_path):
    content = {
        "images": [{"id": 1, "file_name": "train/b.jpg"}, {"id": 2, "file_name": "train/a.jpg"}],
        "annotations": [PERSON | {"track_id": 5}, PERSON | {"image_id": 2, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "person"}],
    }
    a, b = PrecomputedDetections(coco(tmp_path, content))([image_frame(0, "a.jpg"), image_frame(1, "b.jpg")])
    np.testing.assert_array_equal(a.boxes, [[1, 2, 4, 6]])
    np.testing.assert_array_equal(b.boxes, [[10, 20, 40, 60]])
    assert b.annotations == [5]


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([{"id": 1, "file_name": "f_000000.jpg"}, {"id": 2, "file_name": "f_000001.jpg"}], 0),
        ([{"id": 1, "file_name": "f_000001.jpg"}, {"id": 2, "file_name": "f_000002.jpg"}], 0),
        ([{"id": 1, "file_name": "f_000002.jpg"}, {"id": 2, "file_name": "f_000000.jpg"}], 2),
        ([{"id": 1, "file_name": "f_9.jpg", "frame_id": 1}], 1),
    ],
)
def test_coco_by_frame_number(tmp_path, images, expected):
    detector = PrecomputedDetections(coco(tmp_path, {"images": images, "annotations": [PERSON]}))
    assert [len(found) for found in detector([video_frame(i) for i in range(3)])] == [i == expected for i in range(3)]


def test_coco_results(tmp_path):
    content = [PERSON | {"score": 0.7}, PERSON | {"image_id": 0, "category_id": 3, "score": 0.6}]
    first, second = PrecomputedDetections(coco(tmp_path, content))([video_frame(0), video_frame(1)])
    assert len(first) == 0
    assert "category 3" in first.rejected[0].reason
    np.testing.assert_allclose(second.scores, [0.7])
    by_name = PrecomputedDetections(coco(tmp_path, [PERSON | {"image_id": "x/a.jpg"}]))
    assert [len(found) for found in by_name([image_frame(0, "a.jpg"), image_frame(1, "c.jpg")])] == [1, 0]


def test_keypoints_go_along_where_everybody_has_them(tmp_path):
    annotated = [[5, 6, 2]] + [[0, 0, 0]] * 15 + [[7, 8, 1]]
    found_by_network = [[5, 6, 0.25]] * 17
    content = [
        PERSON | {"image_id": 0, "keypoints": np.ravel(found_by_network).tolist(), "score": 0.5},
        PERSON | {"image_id": 1, "keypoints": np.ravel(annotated).tolist()},
        PERSON | {"image_id": 2, "keypoints": np.ravel(annotated).tolist()},
        PERSON | {"image_id": 2},
    ]
    first, second, third = PrecomputedDetections(coco(tmp_path, content))([video_frame(i) for i in range(3)])
    np.testing.assert_allclose(first.keypoints, [found_by_network])
    np.testing.assert_allclose(second.keypoints[0, [0, 1, 16]], [[5, 6, 1], [0, 0, 0], [7, 8, 1]])
    assert third.keypoints is None


def test_an_image_that_the_file_does_not_name_is_warned_of(tmp_path, caplog):
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [PERSON]}
    detector = PrecomputedDetections(coco(tmp_path, content))
    with caplog.at_level(logging.WARNING):
        detector([image_frame(0, "0.jpg"), image_frame(1, "1.jpg"), image_frame(2, "2.jpg")])
    assert caplog.text.count("says nothing of 0.jpg") == 1
    assert "2.jpg" not in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"boxes": []}, "neither 'annotations' nor a list"),
        ("text", "no COCO json"),
        ([{"image_id": 1}], "result 0 has no 'image_id' and 'bbox'"),
        ([1], "result 0 has no"),
        ([PERSON | {"bbox": [1, 2, 3]}], r"not \[left, top, width, height\]"),
        ([PERSON | {"bbox": [1, 2, 3, "4"]}], "'4' in its box is no sensible number"),
        ([PERSON | {"bbox": [1, 2, 3, float("nan")]}], "no sensible number"),
        ([PERSON | {"track_id": 10**400}], "no sensible number"),
        ([PERSON | {"image_id": -1}], "there is no frame -1"),
        ([PERSON | {"image_id": [1]}], "image_id is no sensible number"),
        ([PERSON | {"category_id": "person"}], "no sensible number"),
        ([PERSON | {"keypoints": [1, 2, 3]}], "17 times x, y, visibility"),
        ({"images": [{"id": 2}], "annotations": [PERSON]}, "image 1, which is not among"),
        ({"images": [{}], "annotations": []}, "'images'"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, "the same id"),
        (
            {"images": [{"id": 1, "file_name": "a/1.jpg"}, {"id": 2, "file_name": "b/1.jpg"}], "annotations": []},
            "several images called 1.jpg",
        ),
        ({"annotations": [], "categories": [{"id": 1, "name": "cat"}]}, "no category called person, but cat"),
    ],
)
def test_bad_coco_files_are_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(FourDHumansError, match=message) as caught:
        PrecomputedDetections(coco(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "boxes.json"))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_box_files(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        PrecomputedDetections(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="not from"):
        PrecomputedDetections(tmp_path / "video.mp4")
    (tmp_path / "cut.json").write_text('[{"image_id": ')
    with pytest.raises(FourDHumansError, match="is no json"):
        PrecomputedDetections(tmp_path / "cut.json")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FourDHumansError, match="is no text file"):
        PrecomputedDetections(tmp_path / "binary.txt")


def test_earlier_results_give_those_who_were_seen(tmp_path):
    people = 2
    mask = Mask(np.ones((10, 5), dtype=bool), 12, 22, (100, 200))
    detections = Detections(
        np.array([[10, 20, 40, 60], [50, 20, 80, 70]], np.float32), np.array([0.9, 0.4], np.float32), masks=[mask, None]
    )
    rows = {
        "global_orient": np.tile(np.eye(3, dtype=np.float32), (people, 1, 1, 1)),
        "body_pose": np.tile(np.eye(3, dtype=np.float32), (people, 23, 1, 1)),
    }
    empty = Bodies.empty("smpl")
    for name in ("betas", "camera", "joints_3d", "joints_2d"):
        rows[name] = np.ones((people, *getattr(empty, name).shape[1:]), np.float32)
    bodies = Bodies(**rows, focal_length=5000.0, principal_point=(100.0, 50.0), shape_space="smpl")
    frame = TrackedFrame(
        3, 0.12, "000003", (100, 200), np.array([4, 9]), np.array([0, 2]), detections, bodies, detected=1
    )
    with ResultWriter(tmp_path / "earlier.pkl") as writer:
        writer.write(frame)
    nobody, found = PrecomputedDetections(tmp_path / "earlier.pkl")([video_frame(2), video_frame(3)])
    assert len(nobody) == 0
    np.testing.assert_allclose(found.boxes, [[10, 20, 40, 60]])
    assert found.annotations == [4]
    np.testing.assert_array_equal(found.masks[0].full(), mask.full())


def test_a_broken_result_file_is_refused(tmp_path):
    (tmp_path / "broken.pkl").write_bytes(b"not a pickle")
    with pytest.raises(FourDHumansError, match=r"broken\.pkl"):
        PrecomputedDetections(tmp_path / "broken.pkl")


def test_three_hundred_people_in_a_frame(tmp_path):
    lines = [f"1,{i},{i % 20 * 10},{i // 20 * 6},10,6" for i in range(300)]
    (found,) = PrecomputedDetections(mot(tmp_path, *lines))([video_frame(0)])
    assert len(found) == 300


def test_coco_results_without_boxes_have_those_of_their_keypoints(tmp_path):
    points = [[20 + 2 * i, 30 + i, 0.9] for i in range(17)]
    points[3] = [150, 90, 0.1]  # not confident
    entries = [
        {"image_id": 0, "category_id": 1, "keypoints": np.ravel(points).tolist(), "score": 0.7},
        {"image_id": 0, "category_id": 1, "keypoints": [5, 5, 0.1] * 17, "score": 0.2},
    ]
    (found,) = PrecomputedDetections(coco(tmp_path, entries))([video_frame(0)])
    np.testing.assert_allclose(found.boxes, [[20 - 2.56, 30 - 2.56, 52 + 2.56, 46 + 2.56]], rtol=1e-6)
    assert [person.reason for person in found.rejected] == ["box outside the frame or without area"]
