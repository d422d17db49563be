"""MOTChallenge's layout, results in three formats, and the ways in which they can disagree with the ground truth."""

import json

import numpy as np
import pytest

from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.mot import read_mot_sequences
from fourd_humans.evaluation.datasets.sequences import TrackingSequence
from fourd_humans.evaluation.tracking import FrameBoxes
from fourd_humans.evaluation.tracks import read_results, results_file, score_sequence, total
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.results import ResultWriter

GT = """1,1,10,10,20,40,1,1,1
1,2,100,10,20,40,1,1,0.5
2,1,12,10,20,40,1,1,1
2,2,102,10,20,40,0,1,0.1
3,1,14,10,20,40,1,1,1
3,9,200,10,20,40,1,8,1
3,8,250,10,20,40,1,3,1
"""


@pytest.fixture
def mot(tmp_path):
    """One sequence of four frames; in the last nobody is annotated."""
    folder = tmp_path / "data" / "SEQ-01"
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text(GT)
    (folder / "seqinfo.ini").write_text("[Sequence]\nname=SEQ-01\nimDir=img1\nseqLength=4\n")
    return folder


def rows_of_bodies(count):
    def full(*shape):
        return np.zeros((count, *shape), np.float32)

    return Bodies(
        full(1, 3, 3), full(23, 3, 3), full(10), full(3) + 1,
        full(45, 3), full(45, 2), 1000.0, (50.0, 50.0), "open_body",
    )  # fmt: skip


def write_results(path, frames, errors=None):
    """frames: for each a list of (id, x1, y1, x2, y2, frames since seen). errors: of frames, by number."""
    with ResultWriter(path) as writer:
        for index, people in enumerate(frames):
            rows = np.array(people, float).reshape(-1, 6)
            boxes = rows[:, 1:5].astype(np.float32)
            found = Detections(boxes, np.ones(len(rows), np.float32))
            ids, ages = rows[:, 0].astype(int), rows[:, 5].astype(int)
            bodies = rows_of_bodies(len(rows))
            error = (errors or {}).get(index)
            name = f"{index:06d}.jpg"
            writer.write(TrackedFrame(index, index / 30, name, (90, 300), ids, ages, found, bodies, error=error))


def test_mot_ground_truth_is_read(mot):
    (sequence,) = read_mot_sequences(mot.parent)
    assert sequence.name == "SEQ-01"
    assert sequence.length == len(sequence.frames) == 4
    assert [frame.ids.tolist() for frame in sequence.frames] == [[1, 2], [1], [1], []]
    np.testing.assert_allclose(sequence.frames[0].boxes[0], [10, 10, 30, 50])
    np.testing.assert_allclose(sequence.frames[1].ignored, [[102, 10, 122, 50]])  # flagged 0
    np.testing.assert_allclose(sequence.frames[2].ignored, [[200, 10, 220, 50]])  # a distractor
    assert sequence.left_out == {"class 3": 1}


def test_perfect_text_results_score_full_marks_and_those_in_ignored_parts_do_not_count(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    path = tmp_path / "SEQ-01.txt"
    path.write_text("1,5,10,10,20,40,1\n1,6,100,10,20,40,1\n2,5,12,10,20,40,1\n3,5,14,10,20,40,1\n3,7,200,10,20,40,1\n")
    found = score_sequence(sequence, read_results(results_file(tmp_path, sequence), sequence))
    assert found.scores.hota == pytest.approx(1)
    assert (found.scores.false, found.scores.ignored, found.scores.frames) == (0, 1, 4)


def test_no_results_are_valid_and_score_zero(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    path = tmp_path / "SEQ-01.txt"
    path.write_text("")
    found = score_sequence(sequence, read_results(path, sequence)).scores
    assert (found.hota, found.mota, found.idf1, found.missed) == (0, 0, 0, 4)


def test_boxes_without_size_are_counted(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    path = tmp_path / "SEQ-01.txt"
    path.write_text("1,5,10,10,0,40,1\n1,6,100,10,20,40,1\n")
    found = score_sequence(sequence, read_results(path, sequence))
    assert (found.no_size, found.scores.false) == (1, 1)


def test_only_seen_people_of_result_files_count_unless_the_completed_are_asked_for(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    people = [
        [(1, 10, 10, 30, 50, 0), (2, 100, 10, 120, 50, 0)],
        [(1, 12, 10, 32, 50, -1)],
        [(1, 14, 10, 34, 50, 0)],
        [],
    ]
    path = tmp_path / "SEQ-01.pkl"
    write_results(path, people)
    assert score_sequence(sequence, read_results(path, sequence)).scores.missed == 1
    assert score_sequence(sequence, read_results(path, sequence, completed=True)).scores.hota == pytest.approx(1)


def test_frames_that_failed_are_told(mot, tmp_path, caplog):
    (sequence,) = read_mot_sequences(mot)
    path = tmp_path / "SEQ-01.pkl"
    write_results(path, [[]] * 4, errors={2: "damaged"})
    read_results(path, sequence)
    assert "1 frames could not be used" in caplog.text


def test_frame_counts_that_disagree_are_errors(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    write_results(tmp_path / "SEQ-01.pkl", [[], [], []])
    with pytest.raises(FourDHumansError, match="has 3 frames, but SEQ-01 has 4"):
        read_results(tmp_path / "SEQ-01.pkl", sequence)
    (tmp_path / "late.txt").write_text("5,1,10,10,20,40,1\n")
    with pytest.raises(FourDHumansError, match="has a frame 5, but SEQ-01 has only 4"):
        read_results(tmp_path / "late.txt", sequence)
    (mot / "seqinfo.ini").write_text("[Sequence]\nseqLength=2\n")
    with pytest.raises(FourDHumansError, match=r"annotates frame 3, but seqinfo\.ini says there are 2"):
        read_mot_sequences(mot)


def test_ids_that_repeat_are_errors(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    (tmp_path / "SEQ-01.txt").write_text("1,5,10,10,20,40,1\n1,5,100,10,20,40,1\n")
    with pytest.raises(FourDHumansError, match="SEQ-01: frame 0 of the results has several boxes for id 5"):
        score_sequence(sequence, read_results(tmp_path / "SEQ-01.txt", sequence))
    (tmp_path / "SEQ-01.txt").write_text("1,-1,10,10,20,40,1\n")
    with pytest.raises(FourDHumansError, match="a box of frame 1 has no id"):
        read_results(tmp_path / "SEQ-01.txt", sequence)


@pytest.mark.parametrize("row", ["1,1,10,10,0,40,1,1,1", "1,1,10,10,nan,40,1,1,1", "0,1,10,10,20,40", "1,1,10", "a"])
def test_wrong_ground_truth_is_refused_with_its_line(mot, row):
    (mot / "gt" / "gt.txt").write_text(GT + row + "\n")
    with pytest.raises(FourDHumansError, match=r"gt.txt, line 8"):
        read_mot_sequences(mot)


def test_missing_files_are_named(mot, tmp_path):
    (sequence,) = read_mot_sequences(mot)
    with pytest.raises(UsageError, match=r"SEQ-01\.pkl, SEQ-01\.txt"):
        results_file(tmp_path, sequence)
    with pytest.raises(UsageError, match=r"gt/gt\.txt"):
        read_mot_sequences(tmp_path)


def box_frames(*frames):
    return [
        FrameBoxes(
            np.array([row[0] for row in frame], np.int64), np.array([row[1:] for row in frame], float).reshape(-1, 4)
        )
        for frame in frames
    ]


def test_posetrack_results_are_matched_by_the_names_of_images(tmp_path):
    truth = TrackingSequence("s", box_frames([(1, 0, 0, 10, 10)]), [1], ["000001.jpg"], 3)
    content = {
        "images": [{"id": i, "file_name": f"images/val/s/{i:06d}.jpg"} for i in range(3)],
        "annotations": [{"image_id": 1, "track_id": 8, "bbox": [0, 0, 10, 10], "keypoints": [0] * 51}],
    }
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert score_sequence(truth, read_results(tmp_path / "s.json", truth)).scores.mota == 1
    del content["images"][1], content["annotations"][0]
    (tmp_path / "s.json").write_text(json.dumps(content))
    with pytest.raises(FourDHumansError, match=r"lacks 1 of 1 frames, such as 000001\.jpg"):
        read_results(tmp_path / "s.json", truth)


def test_phalps_protocol_differs_as_documented():
    """Frames without people do not count, any overlap is right for MOTA, and HOTA is the mean of the sequences'."""
    truth = box_frames([(1, 0, 0, 10, 10)], [])
    loose = box_frames([(1, 6, 0, 16, 10)], [(2, 50, 50, 60, 60)])
    first = TrackingSequence("a", truth, [0, 1], length=2)
    second = TrackingSequence("b", box_frames(*[[(1, 0, 0, 10, 10)]] * 9), range(9), length=9)
    perfect = second.frames
    usual = score_sequence(first, loose)
    assert (usual.scores.mota, usual.scores.frames) == (-2, 2)
    ours = score_sequence(first, loose, "phalp")
    assert (ours.scores.mota, ours.scores.frames) == (1, 1)
    other = score_sequence(second, perfect, "phalp")
    assert total([ours, other], "phalp").scores.hota == pytest.approx((ours.scores.hota + other.scores.hota) / 2)
    assert total([ours, other]).scores.hota > total([ours, other], "phalp").scores.hota
