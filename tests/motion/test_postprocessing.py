from dataclasses import replace

import joblib
import numpy as np
import pytest
from click.testing import CliRunner

from fourd_humans.body.model import BodyModel
from fourd_humans.cli import main
from fourd_humans.errors import UsageError
from fourd_humans.motion.completion import with_joints
from fourd_humans.motion.postprocessing import complete_tracklets
from fourd_humans.motion.synthetic import synthesise
from fourd_humans.people import Bodies, Detections, TrackedFrame, concatenate
from fourd_humans.results import load_tracklets
from fourd_humans.tracklets import Tracklets

SIZE = (720, 1280)
FOCAL = 25_000.0
COUNT = 40


@pytest.fixture(scope="module")
def body_model():
    return BodyModel.open_body()


@pytest.fixture(scope="module")
def walkers(body_model):
    """The bodies (40 rows each) of two people."""
    people = []
    for poses in synthesise(2, COUNT, seed=3).poses:
        rotations, camera = poses[:, :216].reshape(COUNT, 24, 3, 3), poses[:, 226:] * [1, 1, 200]
        bodies = Bodies(
            rotations[:, :1], rotations[:, 1:], poses[:, 216:226], camera.astype(np.float32),
            np.zeros((COUNT, 45, 3), np.float32), np.zeros((COUNT, 45, 2), np.float32), FOCAL, (640.0, 360.0),
            body_model.shape_space,
        )  # fmt: skip
        people.append(with_joints(bodies, body_model))
    return people


def tracked(walkers, ages, shots=(), masks=False):
    """Frames with person i + 1 in frame t with age ages[i][t], absent where that is None."""
    frames = []
    for t in range(COUNT):
        present = [i for i, age in enumerate(ages) if age[t] is not None]
        bodies = [walkers[i][t] for i in present]
        space = walkers[0].shape_space
        boxes = np.array([[300, 200, 500, 600]] * len(present), np.float32).reshape(-1, 4)
        frames.append(
            TrackedFrame(
                t,
                t / 30,
                f"{t:06d}",
                SIZE,
                np.array([i + 1 for i in present], np.int64),
                np.array([ages[i][t] for i in present], np.int64),
                Detections(boxes, np.ones(len(present), np.float32)),
                concatenate(bodies) if bodies else Bodies.empty(space),
                is_cut=t in shots,
            )
        )
    return frames


SEEN = [0] * COUNT


def test_hidden_stretches_are_filled_in_and_seen_bodies_stay(walkers, lite_network, body_model):
    hidden = [0] * 10 + [*range(1, 6)] + [0] * 25
    absent = [0] * 20 + [None] * 4 + [0] * 16
    frames = complete_tracklets(tracked(walkers, [hidden, absent]), body_model, lite_network)
    marks = np.array([frame.time_since_seen for frame in frames])
    assert marks.shape == (COUNT, 2)
    np.testing.assert_array_equal(np.flatnonzero(marks[:, 0]), np.arange(10, 15))
    np.testing.assert_array_equal(np.flatnonzero(marks[:, 1]), np.arange(20, 24))
    assert set(marks[marks != 0]) == {-1}
    np.testing.assert_array_equal(frames[3].bodies.body_pose[0], walkers[0].body_pose[3])
    filled = frames[12]
    assert not np.array_equal(filled.bodies.body_pose[0], walkers[0].body_pose[12])
    x, y = filled.bodies.joints_2d[0].T
    left, top, right, bottom = filled.detections.boxes[0]
    assert (left <= x.max()) & (right >= x.min()) & (top <= y.max()) & (bottom >= y.min())
    assert filled.detections.scores[0] == 0


def test_what_was_expected_after_the_last_sighting_is_removed(walkers, body_model):
    frames = complete_tracklets(tracked(walkers, [[0] * 30 + [*range(1, 11)], SEEN]), body_model)
    assert [len(frame) for frame in frames] == [2] * 30 + [1] * 10


def test_nobody_is_filled_in_across_a_cut(walkers, body_model):
    gap = [0] * 10 + [None] * 10 + [0] * 20
    frames = complete_tracklets(tracked(walkers, [gap], shots=[15]), body_model)
    assert [len(frame) for frame in frames] == [1] * 10 + [0] * 10 + [1] * 20


def test_bodies_with_nan_count_as_not_seen(walkers, body_model):
    spoilt = replace(walkers[0], camera=walkers[0].camera.copy())
    spoilt.camera[[5, 39]] = np.nan
    frames = complete_tracklets(tracked([spoilt], [SEEN]), body_model)
    assert frames[5].time_since_seen.tolist() == [-1]
    assert np.isfinite(frames[5].bodies.joints_2d).all()
    assert len(frames[39]) == 0


def test_tracklets_of_length_one_and_empty_frames_pass_through(walkers, body_model):
    once = [0 if t == 7 else None for t in range(COUNT)]
    frames = complete_tracklets(tracked(walkers, [once]), body_model, sigma=2.0)
    assert [len(frame) for frame in frames] == [int(t == 7) for t in range(COUNT)]
    np.testing.assert_allclose(frames[7].bodies.body_pose, walkers[0].body_pose[7:8], atol=1e-5)


def test_smoothing_takes_jitter_away(walkers, body_model):
    rng = np.random.default_rng(0)
    steady = walkers[0][np.zeros(COUNT, int)]
    shaken = replace(steady, camera=steady.camera * (1 + 0.01 * rng.normal(size=(COUNT, 3)).astype(np.float32)))
    frames = complete_tracklets(tracked([shaken], [SEEN]), body_model, sigma=3.0)
    before, after = (np.std([c[0, 2] for c in cameras]) for cameras in (
        [shaken.camera[t : t + 1] for t in range(COUNT)], [frame.bodies.camera for frame in frames]))  # fmt: skip
    assert after < 0.5 * before
    np.testing.assert_allclose(frames[0].bodies.body_pose, steady.body_pose[:1], atol=1e-4)


def test_bodies_of_another_shape_space_are_refused(walkers, body_model):
    smpl = replace(walkers[0], shape_space="smpl")
    with pytest.raises(UsageError, match="smpl"):
        complete_tracklets(tracked([smpl], [SEEN]), body_model)


def test_smooth_command_writes_filled_in_results(walkers, tmp_path):
    path = tmp_path / "walk.pkl"
    Tracklets(tracked(walkers, [[0] * 10 + [*range(1, 6)] + [0] * 20 + [*range(1, 6)]])).save(path)
    result = CliRunner().invoke(main, ["smooth", str(path), "--sigma", "1.5"])
    assert result.exit_code == 0, result.output
    assert "filled in 5 bodies" in result.output
    stored = joblib.load(tmp_path / "walk_smooth.pkl")
    assert [entry["tracked_time"] for entry in stored.values()] == [[0]] * 10 + [[-1]] * 5 + [[0]] * 20 + [[]] * 5
    assert load_tracklets(tmp_path / "walk_smooth.pkl").status(1)[12] == "predicted"
    again = CliRunner().invoke(main, ["smooth", str(path)])
    assert again.exit_code == 2
    assert "--overwrite" in again.output
