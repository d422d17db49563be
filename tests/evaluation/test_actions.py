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
    assert scores.mean == pytest.approx(expected["PascalBoxes_Precision/mAP@0.5IOU"], abs=1e-6)
    for number, name in labels.items():
        official = expected[f"PascalBoxes_PerformanceByCategory/AP@0.5IOU/{name}"]
        assert scores.average_precision[number] == pytest.approx(official, abs=1e-6)
    assert scores.groups["first"] == pytest.approx(np.mean([scores.average_precision[c] for c in (1, 2)]))
    assert np.isnan(scores.groups["absent"])


def boxes(*rows):
    return {("v", "0902"): [LabelledBox((x, 0.0, x + 0.2, 1.0), 1, score) for x, score in rows]}


def test_a_second_box_on_the_same_person_is_wrong():
    truth = boxes((0.0, 1.0), (0.5, 1.0))
    assert average_precision(truth, boxes((0.0, 0.9), (0.5, 0.8))) == 1.0
    assert average_precision(truth, boxes((0.0, 0.9), (0.01, 0.8))) == 0.5
    assert average_precision(truth, boxes((0.0, 0.8), (0.3, 0.9), (0.5, 0.7))) == pytest.approx(2 / 3)


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
