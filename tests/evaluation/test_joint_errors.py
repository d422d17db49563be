"""Figures of whole datasets: right where they can be checked by hand, and never on fewer people without a word."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fourd_humans.batch import boxes as running
from fourd_humans.batch.records import find_records
from fourd_humans.batch.work import loaded
from fourd_humans.body.model import BodyModel
from fourd_humans.config import Config, apply_settings
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.people import COMMON_14, NUM_POINTS, SKELETON_24, AnnotatedPeople
from fourd_humans.evaluation.joint_errors import keypoint_figures, pose_errors
from fourd_humans.evaluation.predictions import (
    Predictions,
    from_given_boxes,
    images_of,
    match_results,
    read_arrays,
)
from fourd_humans.people import Bodies, Detections, TrackedFrame
from fourd_humans.results import ResultWriter

COUNT = 6


@pytest.fixture
def people(tmp_path):
    """Six frames of one person, with all points annotated, on images of 64 by 48 pixels."""
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{index}.png")
    joints = rng.normal(0, 0.3, (COUNT, NUM_POINTS, 3))
    flat = rng.uniform(5, 40, (COUNT, NUM_POINTS, 2))
    corners = np.tile([2.0, 2, 22, 42], (COUNT, 1))
    return AnnotatedPeople(
        name="test", folder=tmp_path, images=[f"{i}.png" for i in range(COUNT)], boxes=corners,
        sizes=np.full(COUNT, 40.0), points=tuple(range(NUM_POINTS)),
        keypoints_2d=np.concatenate([flat, np.ones((COUNT, NUM_POINTS, 1))], axis=2),
        joints_3d=np.concatenate([joints, np.ones((COUNT, NUM_POINTS, 1))], axis=2),
        tracks=["a"] * COUNT, frames=list(range(COUNT)),
    )  # fmt: skip


def exact(people):
    return Predictions(people.points, people.joints_3d[..., :3].copy(), people.keypoints_2d[..., :2].copy())


def test_predictions_elsewhere_are_right_after_alignment(people):
    found = exact(people)
    found.joints_3d[:] += (1.0, 2, 3)
    figures = pose_errors(people, found)
    assert figures["MPJPE"] == pytest.approx(0, abs=1e-9)
    assert figures["acceleration"] == pytest.approx(0, abs=1e-9)
    found.joints_3d[:] *= 1.1
    figures = pose_errors(people, found)
    assert figures["MPJPE"] > 10
    assert figures["PA-MPJPE"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("joints", "chosen"), [(14, COMMON_14), (24, SKELETON_24)])
def test_only_the_joints_asked_for_count(people, joints, chosen):
    found = exact(people)
    others = [p for p in range(NUM_POINTS) if p not in (*chosen, 39)]
    found.joints_3d[:, others] += 5
    assert pose_errors(people, found, joints=joints)["MPJPE"] == pytest.approx(0, abs=1e-9)
    found.joints_3d[:, chosen[-1]] += (0.14, 0, 0)
    assert pose_errors(people, found, joints=joints)["MPJPE"] == pytest.approx(140 / joints, abs=1e-6)


def test_the_root_decides(people):
    found = exact(people)
    found.joints_3d[:, 39] += (0.1, 0, 0)  # the pelvis joint alone
    assert pose_errors(people, found)["MPJPE"] == pytest.approx(100)
    assert pose_errors(people, found, root="hips")["MPJPE"] == pytest.approx(0, abs=1e-9)


def test_missing_predictions_stop_the_evaluation_or_are_counted(people):
    found = exact(people)
    found.joints_3d[2] = np.nan
    with pytest.raises(FourDHumansError, match="1 of 6 annotated people have no prediction"):
        pose_errors(people, found)
    figures = pose_errors(people, found, partial=True)
    assert (figures["people"], figures["not predicted"]) == (6, 1)
    found.joints_3d[:] = np.nan
    with pytest.raises(FourDHumansError, match="6 of 6"):
        pose_errors(people, found, partial=True)


def test_people_without_annotation_are_counted(people):
    people.joints_3d[1, 30, 3] = 0
    figures = pose_errors(people, exact(people))
    assert figures["without annotation"] == 1
    people.joints_3d[:, 30, 3] = 0
    with pytest.raises(FourDHumansError, match="none of the 6"):
        pose_errors(people, exact(people))


def test_acceleration_is_not_measured_across_gaps(people):
    found = exact(people)
    found.joints_3d[3:, :25] += 0
    found.joints_3d[3:, 25:38] += 0.5  # a jump of the limbs between frames 2 and 3
    together = pose_errors(people, found)["acceleration"]
    apart = pose_errors(replace(people, frames=[0, 1, 2, 7, 8, 9]), found)["acceleration"]
    assert together > 100
    assert apart == pytest.approx(0, abs=1e-9)


def test_keypoints_are_measured_in_the_size_asked_for(people):
    found = exact(people)
    found.keypoints_2d[:] += (3.0, 0)  # 3 pixels: 0.075 of the box's 40, 0.047 of the image's 64
    figures, _ = keypoint_figures(people, found)
    assert (figures["PCK@0.05"], figures["PCK@0.1"]) == (0, 1)
    assert keypoint_figures(people, found, size="image")[0]["PCK@0.05"] == 1
    assert keypoint_figures(people, found, thresholds=[0.074], size="crop")[0]["PCK@0.074"] == 0  # 40 pixels, too


def test_missing_keypoints_are_wrong_or_an_error(people):
    found = exact(people)
    found.keypoints_2d[0] = np.nan
    with pytest.raises(FourDHumansError, match="1 of 6"):
        keypoint_figures(people, found)
    assert keypoint_figures(people, found, partial=True)[0]["PCK@0.1"] == pytest.approx(5 / 6)


def test_arrays_must_fit_the_dataset(people, tmp_path):
    np.savez(tmp_path / "p.npz", joints_3d=np.zeros((5, 14, 3)))
    with pytest.raises(FourDHumansError, match=r"are \(5, 14, 3\), but test has 6 people"):
        read_arrays(tmp_path / "p.npz", people)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "p.npz").read_bytes()[:200])
    with pytest.raises(FourDHumansError, match=r"cut\.npz"):
        read_arrays(tmp_path / "cut.npz", people)
    np.savez(tmp_path / "p.npz", joints_3d=np.zeros((6, 13, 3)))
    with pytest.raises(FourDHumansError, match="which joints its 13 are"):
        read_arrays(tmp_path / "p.npz", people)
    np.savez(tmp_path / "p.npz", joints_3d=people.joints_3d[:, COMMON_14, :3])
    found = read_arrays(tmp_path / "p.npz", people)
    with pytest.raises(UsageError, match="the predictions lack joints 39"):
        pose_errors(people, found)
    assert pose_errors(people, found, root="hips")["MPJPE"] == pytest.approx(0, abs=1e-6)


def test_a_run_over_a_model_goes_on_where_it_was_interrupted(people, tmp_path, monkeypatch):
    indices_seen = []

    class Stage:
        """Refuses the box of image 4; the others' first joint is where their box begins."""

        def __init__(self):
            self.calls = 0

        def __call__(self, frames, detections):
            self.calls += 1
            if self.calls == 2 and "again" not in indices_seen:
                raise KeyboardInterrupt
            answer = []
            for frame, found in zip(frames, detections, strict=True):
                indices_seen.append(frame.index)
                kept = found[[] if frame.index == 4 else [0]]
                n = len(kept)
                joints = np.zeros((n, 45, 3), np.float32)
                flat = np.tile(kept.boxes[:, None, :2], (1, 45, 1))
                zeros = [np.zeros((n, *s), np.float32) for s in ((1, 3, 3), (23, 3, 3), (10,))]
                zeros.append(np.ones((n, 3), np.float32))  # where the body stands
                answer.append((kept, Bodies(*zeros, joints, flat, 1.0, (0.0, 0.0), "open_body")))
            return answer

    monkeypatch.setattr(running, "IMAGES_OF_A_JOB", 3)
    loaded.cache_clear()
    monkeypatch.setattr(running.stages, "make_recovery", lambda *arguments: Stage())
    body_model = BodyModel.open_body()
    indices = images_of(people)
    images, boxes = [people.folder / image for image in indices], [people.boxes[rows] for rows in indices.values()]

    def recover(config, boxes=boxes, on_tick=lambda progress: None):
        frames = running.recover_boxes(images, boxes, tmp_path / "run", config, on_tick=on_tick)
        return from_given_boxes(people, frames, body_model)

    with pytest.raises(KeyboardInterrupt):
        recover(Config(device="cpu"))
    assert indices_seen == [0, 1, 2]
    indices_seen.append("again")
    states = []
    found = recover(Config(device="cpu"), on_tick=lambda p: states.append([outcome.state for outcome in p.outcomes]))
    assert indices_seen[4:] == [3, 4, 5]  # not the first three again
    assert states == [["skipped"], ["skipped", "done"]]
    assert {path: (r.state, r.frames) for path, r in find_records(tmp_path / "run").items()} == {
        tmp_path / "run" / f"part_0000{part}.json": ("done", 3) for part in (0, 1)
    }
    assert np.isnan(found.keypoints_2d[4]).all()
    np.testing.assert_allclose(found.keypoints_2d[5, :45], np.tile(people.boxes[5, :2], (45, 1)), atol=1e-4)
    assert np.isfinite(found.joints_3d[5]).all()  # with SMPL's 24
    with pytest.raises(UsageError, match="another --output"):
        recover(apply_settings(Config(device="cpu"), ["camera.focal_length=1000"]))
    with pytest.raises(UsageError, match="another --output"):
        recover(Config(device="cpu"), boxes=[each + 1 for each in boxes])
    loaded.cache_clear()


def test_result_files_are_matched_by_frame_and_box(people, tmp_path):
    """Of two tracked people the one whose box overlaps is taken; a hidden one only where asked for."""
    body_model = BodyModel.open_body()
    people = replace(people, images=[f"images/seq/{i}.png" for i in range(COUNT)])
    names = [f"{i}.png" for i in range(COUNT)]
    with ResultWriter(tmp_path / "seq.pkl") as writer:
        for index, name in enumerate(names):
            boxes = np.array([[40, 0, 60, 40], [3, 2, 22, 42]], np.float32)
            bodies = upright(2)
            bodies.joints_3d[1, :, 0] = index
            ages = np.array([0, -1 if index == 2 else 0])
            found = Detections(boxes, np.ones(2, np.float32))
            writer.write(TrackedFrame(index, index / 30, name, (48, 64), np.array([1, 2]), ages, found, bodies))
    found = match_results(tmp_path, people, body_model)
    assert np.isnan(found.joints_3d[2]).all()
    np.testing.assert_allclose(found.joints_3d[[0, 1, 3, 4, 5], 0, 0], [0, 1, 3, 4, 5])
    assert np.isfinite(found.joints_3d[0, SKELETON_24[0]]).all()
    np.testing.assert_allclose(match_results(tmp_path, people, None, completed=True).joints_3d[2, 0, 0], 2)
    with pytest.raises(FourDHumansError, match=r"has no frame 'other\.png'"):
        match_results(tmp_path, replace(people, images=["images/seq/other.png"] * COUNT), body_model)
    with pytest.raises(UsageError, match=r"missing.pkl"):
        match_results(tmp_path, replace(people, images=["images/missing/0.png"] * COUNT), body_model)


def upright(count):
    def full(*shape):
        return np.ones((count, *shape), np.float32)

    turns = [np.tile(np.eye(3, dtype=np.float32), (count, joints, 1, 1)) for joints in (1, 23)]
    return Bodies(
        *turns,
        full(10),
        full(3),
        full(45, 3),
        full(45, 2),
        9.0,
        (32.0, 24.0),
        "open_body",
    )
