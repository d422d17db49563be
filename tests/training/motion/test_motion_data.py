import logging

import numpy as np
import pytest

from fourd_humans.errors import UsageError
from fourd_humans.motion.clips import Clip, read_clips, synthetic_clips
from fourd_humans.motion.synthetic import synthesise
from fourd_humans.people import Bodies, Detections, TrackedFrame, concatenate
from fourd_humans.tracklets import Tracklets
from fourd_humans.training.motion.data import EpochSampler, MotionSequences, split, statistics  # fmt: skip


def bodies_of(poses, space="open_body"):
    count = len(poses)
    rotations, camera = poses[:, :216].reshape(count, 24, 3, 3), poses[:, 226:] * np.float32([1, 1, 200])
    return Bodies(
        rotations[:, :1], rotations[:, 1:], poses[:, 216:226], camera, np.zeros((count, 45, 3), np.float32),
        np.zeros((count, 45, 2), np.float32), 1000.0, (320.0, 240.0), space,
    )  # fmt: skip


@pytest.fixture
def results(tmp_path):
    """(name, {id: {frame: (229,)}}, hidden=(id, frame) pairs, cuts) -> the path of a result file of those people."""

    def write(name, people, hidden=(), cuts=(), space="open_body"):
        frames = []
        for t in range(max(max(frames) for frames in people.values()) + 1):
            present = [id for id, poses in people.items() if t in poses]
            rows = [bodies_of(people[id][t][None], space) for id in present]
            ages = np.array([int((id, t) in hidden) for id in present], np.int64)
            boxes = np.tile(np.float32([0, 0, 10, 20]), (len(present), 1))
            frames.append(
                TrackedFrame(
                    t,
                    t / 30,
                    f"{t:06d}",
                    (480, 640),
                    np.array(present, np.int64),
                    ages,
                    Detections(boxes, np.ones(len(present), np.float32)),
                    concatenate(rows) if rows else Bodies.empty(space),
                    is_cut=t in cuts,
                )
            )
        Tracklets(frames).save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(scope="module")
def poses():
    return synthesise(1, 30, 0).poses[0]


def test_people_are_read_with_their_gaps(results, poses, tmp_path):
    results("a.pkl", {1: dict(enumerate(poses)), 7: {t: poses[t] for t in (3, 4, 8)}}, hidden=[(1, 5), (1, 6)])
    clips = read_clips([tmp_path])
    assert [len(clip.seen) for clip in clips] == [30, 6]
    assert np.flatnonzero(~clips[0].seen).tolist() == [5, 6]
    assert clips[1].seen.tolist() == [True, True, False, False, False, True]
    np.testing.assert_allclose(clips[0].poses[[0, 29]], poses[[0, 29]], atol=1e-5)
    np.testing.assert_allclose(clips[1].poses[5], poses[8], atol=1e-5)


def test_cuts_end_a_clip(results, poses):
    clips = read_clips([results("a.pkl", {1: dict(enumerate(poses))}, cuts=[12])])
    assert [len(clip.seen) for clip in clips] == [12, 18]


def test_what_cannot_be_learnt_from_is_left_out_and_counted(results, poses, caplog):
    spoilt = poses.copy()
    spoilt[4, 17] = np.nan
    spoilt[9, 9:18] *= 1.3
    path = results("a.pkl", {1: dict(enumerate(spoilt)), 2: {3: poses[3]}})
    with caplog.at_level(logging.WARNING):
        (clip,) = read_clips([path])
    assert np.flatnonzero(~clip.seen).tolist() == [4]
    assert np.isfinite(clip.poses).all()
    np.testing.assert_allclose(clip.poses[9, 9:18], poses[9, 9:18], atol=1e-5)
    said = " ".join(caplog.messages)
    assert "1 frames with features that are not finite" in said
    assert "1 matrices were no rotations" in said
    assert "1 tracklets with fewer than two frames" in said


def test_nothing_to_learn_from_is_said(results, poses, tmp_path):
    with pytest.raises(UsageError, match=r"no \.pkl files"):
        read_clips([tmp_path])
    path = results("once.pkl", {1: {0: poses[0]}})
    with pytest.raises(UsageError, match="nothing to learn from"):
        read_clips([path])
    path = results("hidden.pkl", {1: dict(enumerate(poses))}, hidden=[(1, t) for t in range(30)])
    with pytest.raises(UsageError, match="nothing to learn from"):
        read_clips([path])


def test_mixed_shape_spaces_are_refused(results, poses, tmp_path):
    results("a.pkl", {1: dict(enumerate(poses))})
    results("b.pkl", {1: dict(enumerate(poses))}, space="smpl")
    with pytest.raises(UsageError, match=r"a\.pkl has betas of open_body and .*b\.pkl of smpl"):
        read_clips([tmp_path])


def test_statistics_are_of_seen_frames_and_never_nearly_zero(poses):
    clip = Clip(np.concatenate([poses, np.full_like(poses, 1e6)]), np.arange(60) < 30)
    mean, std = statistics([clip])
    np.testing.assert_allclose(mean, poses.mean(0), atol=1e-5)
    assert std.min() >= 0.05


def test_sequences_are_padded_and_follow_from_the_index(poses):
    short = Clip(poses[:10], np.ones(10, bool))
    sequences = MotionSequences([short], 16, seed=0)
    item, again = sequences[3], sequences[3]
    assert item["seen"].tolist() == [True] * 10 + [False] * 6
    assert all((item[name] == again[name]).all() for name in item)
    assert any((sequences[i]["poses"] != item["poses"]).any() for i in range(4, 12))


def test_weights_choose_clips(poses):
    clips = [Clip(np.full((5, 229), i, np.float32), np.ones(5, bool)) for i in range(2)]
    sequences = MotionSequences(clips, 5, seed=0, weights=[0.0, 1.0])
    assert all(abs(sequences[i]["poses"][0, 220]) == 1 for i in range(20))


def test_every_epoch_has_indices_of_its_own():
    sampler = EpochSampler(6)
    first = list(sampler)
    sampler.set_epoch(1)
    assert first == [0, 1, 2, 3, 4, 5]
    assert list(sampler) == [6, 7, 8, 9, 10, 11]


def test_synthetic_clips_are_observed_with_errors():
    clips = synthetic_clips(70, 8, seed=0)
    assert len(clips) == 70
    truth = synthesise(64, 8, seed=0).poses
    assert all((clip.poses != person).any() for clip, person in zip(clips, truth, strict=False))


def test_split_keeps_everything_once():
    clips = synthetic_clips(10, 2, seed=0)
    first, second = split(clips, 0.3, seed=1)
    assert len(second) == 3
    assert {id(clip) for clip in first + second} == {id(clip) for clip in clips}
