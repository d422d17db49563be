import json
from pathlib import Path

import numpy as np
import pytest

from fourd_humans.actions.classes import read_label_map
from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.actions import LabelledBox, average_precision, evaluate_actions, read_boxes

AVA = Path(__file__).parents[1] / "data" / "ava"


def test_the_official_numbers_are_reproduced():
    labels = read_label_map(AVA / "ava_labels.pbtxt")
    truth, _ = read_boxes(AVA / "ava_gt.csv", labels, scored=False)
    detections, _ = read_boxes(AVA / "ava_detections.csv", labels, scored=True)
    scores = evaluate_actions(truth, detections, labels, {"first": [1, 2], "absent": [99]})
    expected = json.loads((AVA / "ava_expected.json").read_text())
    assert scores.mean == pytest.approx(expected["PascalBoxes_Precision/mAP@0.5IOU"], abs=1e-9)
    for number, name in labels.items():
        official = expected[f"PascalBoxes_PerformanceByCategory/AP@0.5IOU/{name}"]
        assert scores.average_precision[number] == pytest.approx(official, abs=1e-9)
    assert scores.groups["first"] == pytest.approx(np.mean([scores.average_precision[c] for c in (1, 2)]))
    assert np.isnan(scores.groups["absent"])


def boxes(*rows):
    return {("v", "0902"): [LabelledBox((x, 0.0, x + 0.2, 1.0), 1, score) for x, score in rows]}


def test_a_second_box_on_the_same_person_is_wrong():
    truth = boxes((0.0, 1.0), (0.5, 1.0))
    assert average_precision(truth, boxes((0.0, 0.9), (0.5, 0.8))) == 1.0
    assert average_precision(truth, boxes((0.0, 0.9), (0.01, 0.8))) == 0.5
    assert average_precision(truth, boxes((0.0, 0.8), (0.3, 0.9), (0.5, 0.7))) == pytest.approx(2 / 3)


def test_of_equal_scores_the_later_detection_comes_first():
    """As in the official evaluation, which sorts each frame, where the later box takes the person, and then all."""
    truth = boxes((0.0, 1.0))
    missed, found, beside = (0.6, 0.5), (0.0, 0.5), (0.01, 0.5)
    assert average_precision(truth, boxes(found, beside)) == 0.5  # the second is correct, and comes second again
    assert average_precision(truth, boxes(missed, found)) == 0.5
    assert average_precision(truth, boxes(found, missed)) == 1.0
    earlier, later = ("a", "0902"), ("b", "0902")
    truth = {earlier: truth["v", "0902"]}
    detections = {earlier: boxes(found)["v", "0902"], later: boxes(missed)["v", "0902"]}
    assert average_precision(truth, detections) == 0.5
    assert average_precision(truth, dict(reversed(detections.items()))) == 1.0


def test_equal_scores_of_a_file_are_ordered_as_in_the_official_evaluation(tmp_path):
    """Its heap holds (score, class, y1, x1, y2, x2): worked out by hand for a capacity of 3."""
    path = tmp_path / "d.csv"
    rows = [(0.5, 0.7), (0.3, 0.7), (0.1, 0.7), (0.2, 0.7), (0.4, 0.9)]  # x1, score
    path.write_text("".join(f"v,902,{x},0,{x + 0.1},1,1,{score}\n" for x, score in rows))
    frames, _ = read_boxes(path, [1], scored=True, most_per_frame=3)
    assert [(box.box[0], box.score) for box in frames["v", "0902"]] == [(0.4, 0.9), (0.3, 0.7), (0.5, 0.7)]


def test_no_detections_are_zero_and_no_truth_is_not_a_number():
    assert average_precision(boxes((0.0, 1.0)), {}) == 0.0
    assert np.isnan(average_precision({}, boxes((0.0, 1.0))))


def test_unknown_classes_are_counted(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("v,902,0,0,1,1,7,0.5\nv,902,0,0,1,1,1,0.5\nv,903\n")
    frames, ignored = read_boxes(path, [1], scored=True)
    assert ignored == 1
    assert len(frames["v", "0902"]) == 1


@pytest.mark.parametrize("row", ["v,902,0,0,1", "v,902,a,0,1,1,1,0.5", "v,902,0,0,nan,1,1,0.5", "v,902,1,0,0,1,1,0.5"])
def test_rows_that_are_none_are_named(tmp_path, row):
    path = tmp_path / "d.csv"
    path.write_text(row + "\n")
    with pytest.raises(FourDHumansError, match=r"d\.csv, line 1"):
        read_boxes(path, [1], scored=True)
