import numpy as np
import pytest

from fourd_humans.body.model import BodyModel
from fourd_humans.training.actions.movements import ACTIONS, DEFINITIONS, movement_clip, synthetic_track


@pytest.fixture(scope="module")
def body():
    return BodyModel.open_body()


def in_the_world(clip, body):
    """Joints (n, 45, 3) with the camera's tilt left in, y down, in metres."""
    rotations = clip.poses[:, :216].reshape(-1, 24, 3, 3)
    joints = body.joints_of_arrays(rotations[:, :1], rotations[:, 1:], clip.poses[:, 216:226])
    return joints + clip.poses[:, None, 226:] * np.array([1, 1, 200], np.float32)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_clip_shows_its_action_and_follows_from_its_seed(action, body):
    clip = movement_clip(action, 120, 3, body)
    assert clip.poses.shape == (120, 229)
    assert (clip.actions == ACTIONS.index(action)).sum() >= 6
    assert np.isfinite(clip.poses).all()
    rotations = clip.poses[:, :216].reshape(-1, 24, 3, 3)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (120, 24, 3, 3)),
                               atol=1e-5)  # fmt: skip
    np.testing.assert_array_equal(movement_clip(action, 120, 3, body).poses, clip.poses)
    assert not np.array_equal(movement_clip(action, 120, 4, body).poses, clip.poses)


def height_and_speed(action, body):
    """Median over people and labelled frames of the head's height over the lowest joint, and of the speed."""
    heights, speeds = [], []
    for seed in range(6):
        clip = movement_clip(action, 120, seed, body)
        shown = clip.actions == ACTIONS.index(action)
        joints = in_the_world(clip, body)
        heights.append(np.median((joints[..., 1].max(1) - joints[:, 38, 1])[shown]))
        steps = np.linalg.norm(np.diff(joints[:, 44], axis=0), axis=1) * 30
        speeds.append(np.median(steps[shown[1:] & shown[:-1]]))
    return np.median(heights), np.median(speeds)


def test_actions_are_what_their_names_say(body):
    measured = {action: height_and_speed(action, body) for action in ("stand", "walk", "run", "sit", "crouch", "lie")}
    height = {action: values[0] for action, values in measured.items()}
    speed = {action: values[1] for action, values in measured.items()}
    assert height["stand"] > height["sit"] > height["lie"]
    assert height["stand"] > height["crouch"] > height["lie"]
    assert height["lie"] < 0.7
    assert speed["stand"] < 0.25 < speed["walk"] < speed["run"]


def test_tracks_are_labelled_where_there_is_no_doubt(body):
    track = synthetic_track("fall", 120, 5, body, id=8)
    assert track.id == 8
    assert track.labels.shape == (120, len(ACTIONS))
    assert (track.labels.sum(1) == (track.label_source == 2)).all()
    assert set(np.unique(track.label_source)) == {0, 2}


def test_every_action_is_defined():
    assert len(ACTIONS) == 15
    assert all(DEFINITIONS.values())
