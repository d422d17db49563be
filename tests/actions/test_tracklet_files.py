import csv
import pickle
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest

from fourd_humans.actions.ava import score_tracklet_files
from fourd_humans.actions.checkpoint import ActionModel
from fourd_humans.actions.classes import ava_classes
from fourd_humans.actions.formats import ava_rows
from fourd_humans.actions.inference import average, sigmoid
from fourd_humans.actions.tracklet_files import read_tracklet, tracklet_groups
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.actions import read_boxes

DATA = Path(__file__).parents[1] / "data" / "actions"


def test_the_file_says_who_where_and_when(tracklets):
    ego = tracklets[0]
    assert (ego.video, ego.key, ego.second, ego.key_index) == ("abcdefghijk", 2700, 990, 16)
    assert ego.box == pytest.approx((0.20625, 0.1375, 0.39375, 0.7625))
    assert ego.confidence == pytest.approx(0.934)
    assert (ego.track.id, ego.track.start, len(ego.track)) == (0, 1000, 32)


def test_ava_classes_are_in_the_order_of_the_released_outputs(settings):
    assert list(ava_classes().numbers) == settings["valid_classes"]


@pytest.mark.parametrize("name", ["pose", "full"])
@pytest.mark.parametrize(("window", "ending"), [(1, ""), (12, "_avg6")])
def test_rows_of_ava_agree_with_the_released_code(reference, tracklets, name, window, ending, tmp_path):
    logits = reference[f"scene_{name}_actions"][:, 0]
    scores = average(sigmoid(logits), window)[tracklets[0].key_index]
    rows = ava_rows("abcdefghijk", 990, tracklets[0].box, scores, ava_classes())
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    ours, _ = read_boxes(tmp_path / "rows.csv", ava_classes().numbers, scored=True, most_per_frame=None)
    theirs, _ = read_boxes(
        DATA / f"ava_rows_{name}{ending}.csv", ava_classes().numbers, scored=True, most_per_frame=None
    )
    assert ours.keys() == theirs.keys() == {("abcdefghijk", "0990")}
    key = ("abcdefghijk", "0990")
    assert [box.action for box in ours[key]] == [box.action for box in theirs[key]]
    for one, other in zip(ours[key], theirs[key], strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4)
        assert one.box == pytest.approx(other.box)


def test_a_folder_is_scored_person_by_person(tracklet_folder, tracklets, full, pose_only):
    for network in (full, pose_only):
        model = ActionModel(network, ava_classes(), {}, 5)
        rows = score_tracklet_files(model, tracklet_folder, window=12)
        detected = [t for t in tracklets if t.key_index is not None and t.track.detected[t.key_index]]
        assert len(rows) == 60 * len(detected)
        assert {row[1] for row in rows} == {"0990"}
    assert score_tracklet_files(model, tracklet_folder, confidence=0.99) == []


def test_files_that_are_none_are_named(tracklet_folder, tmp_path):
    good = next(iter(sorted(tracklet_folder.iterdir())))
    content = joblib.load(good)
    for change, reason in (
        ({"fid": content["fid"] * 2}, "frame counter"),
        ({"pose_shape": np.zeros((32, 1, 200))}, "'pose_shape' is no array of 7328 numbers"),
        ({"apperance_dict": {0: np.zeros((1, 24))}}, "lacks 1000"),
    ):
        path = tmp_path / good.name
        joblib.dump(content | change, path)
        with pytest.raises(FourDHumansError, match=f"{good.name} is not a tracklet file: .*{reason}"):
            read_tracklet(path, ava_classes())
    shutil.copy(good, tmp_path / "other.pkl")
    with pytest.raises(FourDHumansError, match="its name is not"):
        read_tracklet(tmp_path / "other.pkl")
    (tmp_path / good.name).write_bytes(good.read_bytes()[:5000])
    with pytest.raises(FourDHumansError, match="not a tracklet file"):
        read_tracklet(tmp_path / good.name)


class Harmful:
    def __reduce__(self):
        return print, ("harm",)


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    path = tmp_path / "ava-val_abcdefghijk_002700_0_1.pkl"
    path.write_bytes(pickle.dumps({"fid": Harmful()}))
    with pytest.raises(FourDHumansError, match="refused"):
        read_tracklet(path)
    assert "harm" not in capsys.readouterr().out


def test_a_folder_without_tracklet_files(tmp_path):
    with pytest.raises(UsageError, match="has no tracklet files"):
        tracklet_groups(tmp_path)
