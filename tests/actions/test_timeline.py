import csv
import json

import numpy as np
import pytest

from fourd_humans.actions.classes import ActionClasses
from fourd_humans.actions.formats import (
    HEADER,
    Label,
    ava_rows_of_results,
    read_labels,
    texts_by_frame,
    to_json,
    write_csv,
)  # fmt: skip
from fourd_humans.actions.inference import TrackScores
from fourd_humans.actions.timeline import best, on_frames, segments, summaries, thresholds_of
from fourd_humans.actions.tracks import tracks_of
from fourd_humans.errors import FourDHumansError

CLASSES = ActionClasses(("stand", "walk", "wave"), (12, 14, 69))
HALF = np.full(3, 0.5, np.float32)


@pytest.fixture
def frames(make_frame):
    """20 frames at 10 a second, in which person 1 is seen; person 2 is hidden, person 3 filled in."""
    return [make_frame(index, is_cut=False, time=index / 10) for index in range(20)]


def scored(frames, probabilities):
    """Tracks whose scores over the clock of 30 a second are `probabilities` (n, 3) of person 1."""
    tracks = tracks_of(frames)
    assert [track.id for track in tracks] == [1]
    p = np.clip(np.asarray(probabilities, np.float32), 1e-6, 1 - 1e-6)
    return [TrackScores(tracks[0], np.log(p / (1 - p)))]


def person(frames, walk_between, **options):
    """Person 1 stands, walks during some seconds, and waves while walking in the second half."""
    clock = np.arange(58) / 30
    walk = (clock >= walk_between[0] - 1e-6) & (clock < walk_between[1] - 1e-6)
    wave = walk & (clock >= 1)
    (found,) = on_frames(scored(frames, np.stack([~walk, walk, wave], 1) * 0.8 + 0.1), frames, window=1, **options)
    return found


def test_scores_are_on_the_frames_of_the_video(frames):
    found = person(frames, (0.5, 1.5))
    assert found.frames.tolist() == list(range(20))
    np.testing.assert_allclose(found.duration, 0.1)
    assert (found.scores[:, 1] > 0.5).nonzero()[0].tolist() == list(range(5, 15))


def test_only_every_so_many_frames(frames):
    found = person(frames, (0.5, 1.5), every=4)
    assert found.frames.tolist() == [0, 4, 8, 12, 16]
    np.testing.assert_allclose(found.duration, 0.4)


def test_segments_say_from_when_to_when(frames):
    found = segments(person(frames, (0.5, 1.5)), HALF)
    assert [(CLASSES.names[s.action], s.first, s.last) for s in found] == [
        ("stand", 0, 4), ("walk", 5, 14), ("wave", 10, 14), ("stand", 15, 19),
    ]  # fmt: skip
    walking = found[1]
    assert (walking.start, walking.end) == (pytest.approx(0.5), pytest.approx(1.5))
    assert (walking.mean, walking.peak) == pytest.approx((0.9, 0.9), abs=1e-3)


def test_a_short_break_does_not_end_a_segment(frames):
    found = segments(person(frames, (0.5, 1.0)), HALF)
    assert [(s.first, s.last) for s in found if s.action == 0] == [(0, 19)]


def test_summaries_add_up_the_time(frames):
    found = {CLASSES.names[s.action]: s for s in summaries(person(frames, (0.5, 1.5)), HALF)}
    assert found["walk"].seconds == pytest.approx(1.0)
    assert found["stand"].seconds == pytest.approx(1.0)
    assert found["walk"].share == pytest.approx(0.5)
    assert found["wave"].seconds == pytest.approx(0.5)
    assert list(found)[-1] == "wave"


def test_best_and_thresholds():
    scores = np.array([0.2, 0.9, 0.6], np.float32)
    assert best(scores, HALF, 3) == [1, 2]
    assert best(scores, HALF, 1) == [1]
    assert best(scores, thresholds_of(CLASSES.names, 0.5, {"walk": 0.95}), 3) == [2]
    with pytest.raises(KeyError):
        thresholds_of(CLASSES.names, 0.5, {"fly": 0.1})


def test_csv_is_written_and_read_back(frames, tmp_path):
    path = tmp_path / "actions.csv"
    write_csv(path, [person(frames, (0.5, 1.5))], CLASSES, HALF, 3)
    rows = list(csv.reader(path.open()))
    assert rows[0] == HEADER
    assert rows[1] == ["0", "0.0000", "1", "12", "stand", "0.9000"]
    labels = read_labels(path)
    assert labels[12][1] == [Label("walk", 0.9), Label("wave", 0.9)]
    assert texts_by_frame(labels, [12, 99]) == {12: {1: "walk 90%, wave 90%"}}


def test_labels_stand_until_the_next(frames, tmp_path):
    path = tmp_path / "actions.csv"
    write_csv(path, [person(frames, (0.5, 1.5), every=4)], CLASSES, HALF, 1)
    texts = texts_by_frame(read_labels(path), range(30))
    assert [texts[i][1][:4] for i in (3, 4, 7, 8, 11)] == ["stan", "stan", "stan", "walk", "walk"]
    assert 19 in texts
    assert 20 not in texts


@pytest.mark.parametrize("line", ["0,0,1,12,stand,2.0", "x,0,1,12,stand,0.5", "0,0", "0,0,1,12,stand,nan"])
def test_csv_that_is_none_is_named(tmp_path, line):
    path = tmp_path / "bad.csv"
    path.write_text(",".join(HEADER) + "\n" + line + "\n")
    with pytest.raises(FourDHumansError, match=r"bad\.csv, line 2"):
        read_labels(path)
    path.write_text("a,b\n")
    with pytest.raises(FourDHumansError, match="its first line is not"):
        read_labels(path)


def test_json_has_segments_and_summary(frames):
    content = to_json([person(frames, (0.5, 1.5))], CLASSES, HALF, {"top": 3})
    assert json.loads(json.dumps(content))["classes"] == {"12": "stand", "14": "walk", "69": "wave"}
    (entry,) = content["people"]
    assert entry["person"] == 1
    assert entry["seconds"] == pytest.approx(2.0)
    assert entry["segments"][1] == {
        "action": "walk", "first": 5, "last": 14, "start": 0.5, "end": 1.5, "mean": 0.9, "peak": 0.9,
    }  # fmt: skip


def test_avas_rows_are_at_whole_seconds(frames):
    rows = ava_rows_of_results("clip", frames, [person(frames, (0.5, 1.5))], CLASSES)
    assert [row[:2] for row in rows] == [["clip", "0000"]] * 3 + [["clip", "0001"]] * 3
    height, width = frames[10].size
    box = frames[10].detections.boxes[0]
    np.testing.assert_allclose(rows[3][2:6], np.clip(box / [width, height, width, height], 0, 1))
    assert {row[6] for row in rows[3:5]} == {14, 69}
