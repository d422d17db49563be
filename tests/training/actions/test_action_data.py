import dataclasses

import numpy as np
import pytest
import torch

from fourd_humans.actions.classes import checked
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.results.store import ResultWriter
from fourd_humans.training.actions.data import (
    ActionScenes,
    Example,
    pose_statistics,
    read_annotated_results,
    read_annotations,
)

CLASSES = checked(["stand", "walk", "wave"])


def csv_file(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_a_csv_with_a_header_brings_its_own_classes(tmp_path):
    path = csv_file(tmp_path, "video,person,start,end,action\nclip,1,0.5,2,walk\nclip,2,0,1,bow\n")
    annotations, classes = read_annotations(path)
    assert classes.names == ("bow", "walk")
    assert [(a.video, a.person, a.start, a.end, a.action) for a in annotations] == [
        ("clip", 1, 0.5, 2.0, 1), ("clip", 2, 0.0, 1.0, 0),
    ]  # fmt: skip


def test_avas_form_labels_half_a_second_to_either_side(tmp_path):
    path = csv_file(tmp_path, "clip,3,0.1,0.2,0.3,0.4,2,17\nclip,4\n")
    annotations, _ = read_annotations(path, CLASSES)
    assert len(annotations) == 1
    assert (annotations[0].start, annotations[0].end, annotations[0].at) == (2.5, 3.5, 3.0)
    assert annotations[0].action == 1
    assert annotations[0].box == (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,person,start,end,action\nclip,1,0,1,fly\n", "line 2: 'fly' is not among the classes"),
        ("clip,3,0.1,0.2,0.3,0.4,9,17\n", "line 1: '9' is not among the classes"),
        ("video,person,start,end,action\nclip,1,2,1,walk\n", "line 2 is not an annotation"),
        ("video,person,start,end,action\nclip,,0,1,walk\n", "line 2 is not an annotation"),
        ("clip,3,0.3,0.2,0.1,0.4,2,17\n", "line 1 is not an annotation"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    with pytest.raises(FourDHumansError, match=message):
        read_annotations(csv_file(tmp_path, text), CLASSES)


def test_numbers_need_a_list_of_classes(tmp_path):
    with pytest.raises(FourDHumansError, match="give --classes"):
        read_annotations(csv_file(tmp_path, "clip,3,0.1,0.2,0.3,0.4,9,17\n"))


@pytest.fixture
def results(tmp_path, make_frame):
    """Two seconds at 10 frames a second in which person 1 is seen, in a box of its own."""
    path = tmp_path / "clip.pkl"
    box = np.array([[10, 10, 40, 60], [70, 10, 90, 60], [70, 20, 90, 60]], np.float32)
    with ResultWriter(path) as writer:
        for index in range(20):
            frame = make_frame(index, time=index / 10, is_cut=False)
            detections = dataclasses.replace(frame.detections, boxes=box)
            writer.write(dataclasses.replace(frame, detections=detections))
    return path


def labels_of(example, action):
    return example.track.labels[:, action].nonzero()[0].tolist()


def test_people_are_found_by_their_id_or_box(results, tmp_path, caplog):
    height, width = 72, 128
    text = (
        "video,person,start,end,action,x1,y1,x2,y2\n"
        "clip,1,0.5,1.0,walk,,,,\n"
        f"clip,,1.0,1.5,wave,{9 / width},{9 / height},{41 / width},{60 / height}\n"
        "clip,7,0,1,stand,,,,\n"
        "other,1,0,1,stand,,,,\n"
    )
    annotations, classes = read_annotations(csv_file(tmp_path, text), CLASSES)
    (example,) = read_annotated_results([results], annotations, len(classes))
    assert labels_of(example, 1) == list(range(15, 30))
    assert labels_of(example, 2) == list(range(30, 45))
    assert (example.track.label_source[:15] == 0).all()
    assert "1 annotations fit nobody" in caplog.text
    assert "1 annotated videos have no results" in caplog.text


def test_nobody_annotated_is_one_line(results, tmp_path):
    annotations, classes = read_annotations(csv_file(tmp_path, "video,person,start,end,action\nx,1,0,1,walk\n"))
    with pytest.raises(UsageError, match="nothing to learn from"):
        read_annotated_results([results], annotations, len(classes))


def example(start, count, value):
    poses = np.full((count, 229), value, np.float32)
    labels = np.eye(3, dtype=np.float32)[np.full(count, int(value) % 3)]
    return Example(ActionTrack(int(value), start, poses, np.zeros((count, 135), np.float32), np.ones(count, bool), None,
                               labels, np.full(count, 2)))  # fmt: skip


def test_every_example_comes_once_an_epoch_in_a_new_order():
    scenes = ActionScenes([example(0, 10, value) for value in range(8)], 4, 2, seed=1)
    epochs = [[int(scenes[epoch * 8 + i]["poses"][0, 0, 0]) for i in range(8)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(8))
    assert epochs[0] != epochs[1]
    item = scenes[3]
    assert {name: tuple(value.shape) for name, value in item.items()} == {
        "poses": (4, 2, 229), "detected": (4, 2), "labels": (4, 2, 3), "source": (4, 2),
    }  # fmt: skip
    assert item["detected"].sum(0).tolist() == [4, 0]
    assert torch.equal(scenes[3]["poses"], item["poses"])


def test_long_tracks_are_cropped_anywhere_or_at_their_start():
    track = example(100, 50, 1.0).track
    track.poses[:, 0] = np.arange(50)
    starts = {int(ActionScenes([Example(track)], 10, 1, seed)[7]["poses"][0, 0, 0]) for seed in range(20)}
    assert len(starts) > 5
    assert {int(ActionScenes([Example(track)], 10, 1, s, crop=False)[7]["poses"][0, 0, 0]) for s in range(9)} == {0}


def test_statistics_of_locations_may_be_relative():
    one, other = example(0, 10, 1.0), example(0, 10, 5.0)
    other.track.poses[:, 226] += np.arange(10)
    absolute, relative = pose_statistics([one, other], False), pose_statistics([one, other], True)
    assert absolute[0][0] == pytest.approx(3.0)
    assert relative[0][226:].tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert relative[1][226] == pytest.approx(np.sqrt(np.var(np.arange(10)) / 2), rel=1e-4)
