"""``4dhumans evaluate`` as a user meets it: tables and files from good input, one clear line from bad."""

import csv
import json
import pickle
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from fourd_humans import stages
from fourd_humans.actions.classes import ava_classes
from fourd_humans.batch.work import loaded
from fourd_humans.cli import main
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.results import ResultWriter
from fourd_humans.run import TrackResult

AVA = Path(__file__).parents[1] / "data" / "ava"


@pytest.fixture
def run(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--output", str(tmp_path / "out")])

    return run


@pytest.fixture
def people(tmp_path):
    """Four people of an evaluation in the released layout."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.new("RGB", (200, 200)).save(folder / f"{index}.png")
    arrays = {
        "imgname": np.array([f"{i}.png" for i in range(4)]),
        "center": np.full((4, 2), 100.0),
        "scale": np.full(4, 100.0),
        "extra_keypoints_2d": np.concatenate([rng.uniform(50, 150, (4, 19, 2)), np.ones((4, 19, 1))], axis=2),
        "extra_keypoints_3d": np.concatenate([rng.normal(0, 0.3, (4, 19, 3)), np.ones((4, 19, 1))], axis=2),
    }
    for name in ("3dpw_test", "coco_val"):
        np.savez(folder / f"{name}.npz", **arrays)
    return folder, arrays


def save_predictions(path, arrays, shift_3d=0.0, shift_2d=0.0):
    """All 44 points; the first 25, which nobody annotates, are zero."""
    joints, flat = np.zeros((4, 44, 3)), np.zeros((4, 44, 2))
    joints[:, 25:] = arrays["extra_keypoints_3d"][..., :3]
    joints[:, 25] += (shift_3d, 0, 0)
    flat[:, 25:] = arrays["extra_keypoints_2d"][..., :2] + (shift_2d, 0)
    np.savez(path, joints_3d=joints, keypoints_2d=flat)
    return path


def report(tmp_path, name):
    return json.loads((tmp_path / "out" / f"{name}.json").read_text())


def complains(result, code, *words):
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output


def test_help_lists_all_five_tasks():
    output = CliRunner().invoke(main, ["evaluate", "--help"]).output
    for task in ("pose", "keypoints", "tracking", "actions", "motion"):
        assert f"  {task} " in output


def test_pose_of_arrays(run, people, tmp_path):
    folder, arrays = people
    result = run(
        "pose", "3dpw-npz", folder, "--predictions", save_predictions(tmp_path / "p.npz", arrays, shift_3d=0.14)
    )
    assert result.exit_code == 0, result.output
    assert "MPJPE" in result.output
    kept = report(tmp_path, "pose-3dpw-npz")
    assert kept["rows"][0]["MPJPE"] == pytest.approx(10)
    assert kept["rows"][0]["people"] == 4
    assert set(kept["versions"]) >= {"fourd_humans", "numpy", "torch"}
    assert "revision" in kept
    lines = (tmp_path / "out" / "pose-3dpw-npz.csv").read_text().splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert float(row["MPJPE"]) == pytest.approx(10)
    assert any(line.startswith("# settings:") for line in lines)


def test_keypoints_of_arrays(run, people, tmp_path):
    folder, arrays = people
    result = run("keypoints", "coco", folder, "--predictions", save_predictions(tmp_path / "p.npz", arrays, shift_2d=7))
    assert result.exit_code == 0, result.output
    row = report(tmp_path, "keypoints-coco")["rows"][0]
    assert (row["PCK@0.05"], row["PCK@0.1"]) == (0, 1)


def test_predictions_for_fewer_people_are_refused(run, people, tmp_path):
    folder, arrays = people
    path = save_predictions(tmp_path / "p.npz", arrays)
    stored = dict(np.load(path))
    np.savez(path, **{key: value[:3] for key, value in stored.items()})
    complains(run("pose", "3dpw-npz", folder, "--predictions", path), 1, "p.npz", "4 people")
    stored["joints_3d"][1] = np.nan
    np.savez(path, **stored)
    complains(run("pose", "3dpw-npz", folder, "--predictions", path), 1, "1 of 4", "--allow-missing")
    assert run("pose", "3dpw-npz", folder, "--predictions", path, "--allow-missing").exit_code == 0
    assert report(tmp_path, "pose-3dpw-npz")["rows"][0]["not predicted"] == 1
    complains(run("pose", "3dpw-npz", folder, "--predictions", path, "--model", "lite"), 2, "as they are")


def test_a_model_is_run_where_no_predictions_are_given(run, people, tmp_path, monkeypatch):
    folder, _ = people

    def upright(frames, detections):
        answer = []
        for found in detections:
            n = len(found)
            zeros = [np.zeros((n, *s), np.float32) for s in ((1, 3, 3), (23, 3, 3), (10,))]
            zeros.append(np.ones((n, 3), np.float32))  # where the body stands
            joints = np.random.default_rng(0).normal(size=(n, 45, 3)).astype(np.float32)
            answer.append((found, Bodies(*zeros, joints, joints[..., :2] * 0, 1.0, (0.0, 0.0), "open_body")))
        return answer

    monkeypatch.setattr(stages, "make_recovery", lambda *arguments: upright)
    loaded.cache_clear()  # of what other tests have put in its place
    result = run("pose", "3dpw-npz", folder, "--device", "cpu")
    loaded.cache_clear()
    assert result.exit_code == 0, result.output
    assert yaml.safe_load(report(tmp_path, "pose-3dpw-npz")["settings"]["configuration"])["device"] == "cpu"
    assert (tmp_path / "out" / "3dpw-npz" / "part_00000.pkl").exists()


def test_only_the_recoverys_weights_are_needed_where_boxes_are_given(run, people):
    result = run("pose", "3dpw-npz", people[0], "--model", "paper")
    complains(result, 2, "HMR 2.0")
    assert "ViTDet" not in result.output


def test_a_dataset_that_is_not_there_is_named(run, tmp_path):
    complains(run("pose", "h36m-p2", tmp_path), 2, "h36m_val_p2.npz")
    complains(run("tracking", "mot", tmp_path, "--predictions", tmp_path), 2, "gt/gt.txt")
    complains(run("actions", tmp_path, "--predictions", AVA / "ava_detections.csv"), 2, "ava_val_v2.2.csv")


@pytest.fixture
def mot(tmp_path):
    """Two short sequences, with images."""
    for name in ("A", "B"):
        folder = tmp_path / "mot" / name
        (folder / "gt").mkdir(parents=True)
        (folder / "img1").mkdir()
        for frame in (1, 2, 3):
            Image.new("RGB", (64, 48)).save(folder / "img1" / f"{frame:06d}.png")
        (folder / "gt" / "gt.txt").write_text("".join(f"{frame},1,{10 + frame},5,20,40,1,1,1\n" for frame in (1, 2, 3)))
        (folder / "seqinfo.ini").write_text("[Sequence]\nseqLength=3\n")
    return tmp_path / "mot"


def test_tracking_of_text_files(run, mot, tmp_path):
    found = tmp_path / "found"
    found.mkdir()
    shutil.copy(mot / "A" / "gt" / "gt.txt", found / "A.txt")
    (found / "B.txt").write_text("")
    result = run("tracking", "mot", mot, "--predictions", found)
    assert result.exit_code == 0, result.output
    rows = {row["sequence"]: row for row in report(tmp_path, "tracking-mot")["rows"]}
    assert rows["A"]["HOTA"] == pytest.approx(100)
    assert (rows["B"]["HOTA"], rows["B"]["missed"]) == (0, 3)
    assert rows["all"]["MOTA"] == pytest.approx(50)


@pytest.fixture
def tracked(monkeypatch):
    """The names of the sequences tracked so far, by a tracker that finds one person where the ground truth has them."""
    done = []

    def track(source, output, **options):
        done.append(source.name)
        with ResultWriter(output / f"{source.name}.pkl", folder=source.path) as writer:
            for frame in source:
                box = np.array([[11 + frame.index, 5, 31 + frame.index, 45]], np.float32)
                zeros = [np.zeros((1, *s), np.float32) for s in ((1, 3, 3), (23, 3, 3), (10,))]
                ones = [np.ones((1, *s), np.float32) for s in ((3,), (45, 3), (45, 2))]
                bodies = Bodies(*zeros, *ones, 1.0, (0.0, 0.0), "open_body")
                found = Detections(box, np.ones(1, np.float32))
                tracked = TrackedFrame(
                    frame.index, frame.time, frame.name, frame.size, np.ones(1, int), np.zeros(1, int), found, bodies
                )
                writer.write(tracked)
                options["on_frame"](tracked)
        return TrackResult(writer.path, None, frames=source.frame_count, people=Counter({1: source.frame_count}))

    monkeypatch.setattr("fourd_humans.batch.work.track", track)
    monkeypatch.setattr("fourd_humans.batch.work.loaded", lambda make, config: None)
    return done


def test_tracking_runs_a_model_over_the_sequences_that_are_not_done(run, mot, tmp_path, tracked):
    result = run("tracking", "mot", mot, "--sequence", "A")
    assert result.exit_code == 0, result.output
    result = run("tracking", "mot", mot)
    assert result.exit_code == 0, result.output
    assert tracked == ["A", "B"]
    assert report(tmp_path, "tracking-mot")["rows"][-1]["HOTA"] == pytest.approx(100)
    complains(run("tracking", "mot", mot, "--set", "tracking.max_age=9"), 2, "other settings")


def test_tracking_compares_recoveries(run, mot, tmp_path, tracked, monkeypatch):
    configs = []
    monkeypatch.setattr("fourd_humans.batch.work.loaded", lambda make, config: configs.append(config))
    for name, suffix in (("ours", ".pkl"), ("theirs", ".npz")):
        (tmp_path / name).mkdir()
        for sequence in "AB":
            (tmp_path / name / f"{sequence}{suffix}").write_bytes(b"bodies")
    recoveries = [("--recovery", name, tmp_path / name) for name in ("ours", "theirs")]
    result = run("tracking", "mot", mot, *sum(recoveries, ()))
    assert result.exit_code == 0, result.output
    assert [row["recovery"] for row in report(tmp_path, "tracking-mot")["rows"]] == ["ours", "theirs"]
    files = [tmp_path / "ours" / "A.pkl", tmp_path / "ours" / "B.pkl", tmp_path / "theirs" / "A.npz"]
    assert [config.recovery.bodies for config in configs[:3]] == list(map(str, files))
    (first, other) = (config.model_copy(update={"recovery": None}) for config in configs[1:3])
    assert first == other
    (tmp_path / "theirs" / "B.npz").unlink()
    complains(run("tracking", "mot", mot, "--recovery", "new", tmp_path / "theirs"), 2, "neither B.pkl nor B.npz")
    complains(run("tracking", "mot", mot, *recoveries[0], *recoveries[0]), 2, "a name of its own")


def test_tracking_of_posetrack_json(run, tmp_path):
    images = [{"id": i, "file_name": f"images/val/s/{i:06d}.jpg", "is_labeled": True} for i in range(2)]
    people = [{"image_id": i, "track_id": 3, "bbox": [5, 5, 10, 30], "keypoints": [0] * 51} for i in range(2)]
    truth = tmp_path / "posetrack" / "annotations" / "val"
    truth.mkdir(parents=True)
    (truth / "s.json").write_text(json.dumps({"images": images, "annotations": people}))
    found = tmp_path / "found"
    found.mkdir()
    (found / "s.json").write_text(json.dumps({"images": images, "annotations": people[:1]}))
    result = run("tracking", "posetrack", tmp_path / "posetrack", "--predictions", found, "--protocol", "phalp")
    assert result.exit_code == 0, result.output
    (row,) = report(tmp_path, "tracking-posetrack")["rows"]
    assert (row["MOTA"], row["missed"], row["frames"]) == (50, 1, 2)
    complains(run("tracking", "posetrack", tmp_path / "posetrack"), 2, "images of 1 sequences are not there")


def test_pose_on_3dpws_own_files(run, tmp_path):
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, 24, 3))
    content = {
        "sequence": "s", "poses": [np.zeros((2, 72))], "betas": [np.zeros(10)], "genders": ["m"],
        "trans": [np.zeros((2, 3))], "cam_poses": np.tile(np.eye(4), (2, 1, 1)), "campose_valid": [np.ones(2)],
        "jointPositions": [joints.reshape(2, 72)], "poses2d": [rng.uniform(10, 90, (2, 3, 18))],
    }  # fmt: skip
    path = tmp_path / "3dpw" / "sequenceFiles" / "test" / "s.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    found = joints + 1
    found[:, 5] += (0.24, 0, 0)
    np.savez(tmp_path / "p.npz", joints_3d=found)
    result = run("pose", "3dpw", tmp_path / "3dpw", "--predictions", tmp_path / "p.npz")
    assert result.exit_code == 0, result.output
    (row,) = report(tmp_path, "pose-3dpw")["rows"]
    assert (row["joints"], row["people"]) == (24, 2)
    assert row["MPJPE"] == pytest.approx(10)
    complains(
        run("pose", "3dpw", tmp_path / "3dpw", "--joints", "14", "--predictions", tmp_path / "p.npz"), 2, "joints"
    )


def test_actions_reproduce_the_official_figure(run, tmp_path):
    labels = AVA / "ava_labels.pbtxt"
    result = run(
        "actions", AVA, "--truth", AVA / "ava_gt.csv", "--labels", labels, "--predictions", AVA / "ava_detections.csv"
    )
    assert result.exit_code == 0, result.output
    official = json.loads((AVA / "ava_expected.json").read_text())["PascalBoxes_Precision/mAP@0.5IOU"]
    rows = report(tmp_path, "actions-ava")["rows"]
    assert rows[0]["AP"] == pytest.approx(official, abs=1e-6)
    assert {row["group"] for row in rows} >= {"all", "person movement", "object manipulation", "person interaction"}


def test_excluded_timestamps_and_unknown_classes_are_told(run, tmp_path):
    data = tmp_path / "ava"
    data.mkdir()
    (data / "ava_val_v2.2.csv").write_text(
        "v,902,0.1,0.1,0.5,0.5,12,0\nv,903,0.1,0.1,0.5,0.5,12,0\nv,903,0,0,1,1,2,0\n"
    )
    (data / "ava_val_excluded_timestamps_v2.2.csv").write_text("v,0903\n")
    (data / "found.csv").write_text("v,902,0.1,0.1,0.5,0.5,12,0.9\nv,903,0.1,0.1,0.2,0.5,12,1\nv,902,0,0,1,1,99,1\n")
    result = run("actions", data, "--predictions", data / "found.csv")
    assert result.exit_code == 0, result.output
    kept = report(tmp_path, "actions-ava")
    assert kept["rows"][0]["AP"] == 1
    notes = " ".join(kept["notes"])
    assert "1 frames with predictions are excluded" in notes
    assert "1 predictions are of classes that are not evaluated" in notes
    assert "1 rows of the ground truth" in notes


def test_avas_classes_are_sixty_in_three_groups():
    classes = ava_classes()
    assert len(classes) == 60
    assert {name: len(members) for name, members in classes.groups.items()} == {
        "person movement": 14, "object manipulation": 49, "person interaction": 17,
    }  # fmt: skip
    assert classes.by_number[80] == "watch (a person)"
    assert 2 not in classes.by_number
