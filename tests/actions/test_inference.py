import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fourd_humans.actions.inference import average, check_inputs, score_tracks, sigmoid
from fourd_humans.actions.tracks import ActionTrack
from fourd_humans.errors import UsageError

EXACT = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize(("step", "margin", "name"), [(32, 32, "gap_actions"), (1, 6, "gap_actions_step1")])
def test_windows_over_a_track_with_gaps_agree_with_the_released_code(
    pose_only, gap_track, reference, step, margin, name
):
    (scored,) = score_tracks(pose_only, [gap_track], step=step, margin=margin)
    assert_allclose(scored.logits, reference[name], **EXACT)


def test_with_joints_and_appearance(full, gap_track, reference):
    (scored,) = score_tracks(full, [gap_track], step=32)
    assert_allclose(scored.logits, reference["gap_full_actions"], **EXACT)


def test_every_person_has_a_scene_of_their_own(pose_only, tracklets):
    tracks = [tracklet.track for tracklet in tracklets]
    alone = score_tracks(pose_only, tracks[:1], people=1)[0]
    together = score_tracks(pose_only, tracks, people=5, ids=[0])
    assert len(together) == 1
    assert not np.allclose(together[0].logits, alone.logits, atol=1e-3)
    shuffled = score_tracks(pose_only, tracks[::-1], people=5, ids=[0])
    assert_allclose(shuffled[0].logits, together[0].logits, **EXACT)


def test_features_are_the_output_tokens(pose_only, gap_track):
    (scored,) = score_tracks(pose_only, [gap_track], features=True)
    weight, bias = (p.detach().numpy() for p in pose_only.action_head_ava[0][0].parameters())
    assert_allclose(scored.features @ weight.T + bias, scored.logits, rtol=1e-3, atol=1e-4)


def test_one_frame_is_enough(pose_only, gap_track):
    first = ActionTrack(1, 7, gap_track.poses[:1], gap_track.joints[:1], np.ones(1, bool))
    (scored,) = score_tracks(pose_only, [first])
    assert scored.logits.shape == (1, 60)
    assert np.isfinite(scored.logits).all()
    assert score_tracks(pose_only, []) == []


def test_missing_appearance_is_one_clear_line(full, gap_track):
    with pytest.raises(UsageError, match="needs 24 appearance features of every person, and person 1 has none"):
        check_inputs(full, [dataclasses.replace(gap_track, appearance=None)])


def test_average_is_over_the_frames_around_cut_to_the_track():
    scores = np.arange(10, dtype=np.float32)[:, None]
    assert average(scores, 1).ravel().tolist() == scores.ravel().tolist()
    four = average(scores, 4).ravel()
    assert four[5] == pytest.approx(np.mean([3, 4, 5, 6]))
    assert four[0] == pytest.approx(0.5)
    assert four[9] == pytest.approx(8.0)


def test_sigmoid_of_large_logits_is_finite():
    assert sigmoid(np.array([-200.0, 0.0, 200.0])).tolist() == pytest.approx([0, 0.5, 1])
