import numpy as np
import torch
from numpy.testing import assert_allclose

from fourd_humans.actions.scenes import build_scene, stack
from fourd_humans.actions.tracks import ActionTrack

EXACT = {"rtol": 1e-4, "atol": 1e-5}


def track(id, start, detected, x=0.0):
    detected = np.array(detected, bool)
    poses = np.zeros((len(detected), 229), np.float32)
    poses[:, 226] = x
    return ActionTrack(id, start, poses, np.zeros((len(detected), 135), np.float32), detected)


def test_the_released_order_agrees_with_the_released_code(tracklets, reference, pose_only, full):
    ego, *others = (tracklet.track for tracklet in tracklets)
    scene = build_scene(ego, others, frames=30, people=6, order="released")
    assert scene.ids == (0, 1, None, 3, None, 5)
    assert (scene.detected == (reference["scene_has_detection"] > 0)).all()
    assert_allclose(scene.joints, reference["scene_joints_3D"], **EXACT)
    assert_allclose(scene.appearance, reference["scene_apperance_emb"], **EXACT)
    assert_allclose(scene.labels, reference["scene_labels"], **EXACT)
    assert (scene.label_source == reference["scene_has_gt"]).all()
    normalised = (scene.poses - reference["mean"]) / (reference["std"] + 1e-10)
    expected = reference["scene_pose_shape"]
    assert_allclose(normalised[scene.detected], expected[scene.detected], **EXACT)
    batch = stack([scene], joints=True, appearance=True)
    with torch.no_grad():
        assert_allclose(pose_only(batch)[0], reference["scene_pose_actions"], **EXACT)
        assert_allclose(full(batch)[0], reference["scene_full_actions"], **EXACT)


def test_by_default_the_longest_overlap_comes_first_then_the_nearest():
    ego = track(1, 100, [1] * 20)
    others = [
        track(2, 115, [1] * 20),  # 5 frames
        track(3, 90, [1] * 50, x=3.0),  # all, far
        track(4, 90, [1] * 50, x=-1.0),  # all, near
        track(5, 120, [1] * 9),  # after
        track(6, 100, [0] * 20),  # never detected
        track(7, 100, [1] * 8 + [0] * 12),
    ]
    expected = (1, 4, 3, 7, 2)
    assert build_scene(ego, others, frames=20, people=5).ids == expected
    assert build_scene(ego, others[::-1], frames=20, people=5).ids == expected
    assert build_scene(ego, others, frames=20, people=3).ids == expected[:3]


def test_people_stand_where_they_are_in_time():
    ego, other = track(1, 100, [1, 0, 1, 1]), track(2, 98, [1, 1, 1, 0, 1])
    scene = build_scene(ego, [other], start=99, frames=6, people=2)
    assert scene.detected.T.astype(int).tolist() == [[0, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 0]]


def test_a_batch_is_padded_with_nobody():
    scenes = [build_scene(track(1, 0, [1] * 3), [track(2, 0, [1] * 3)]), build_scene(track(3, 0, [1] * 5), frames=4)]
    batch = stack(scenes, joints=False, appearance=False)
    assert batch.poses.shape == (2, 125, 2, 229)
    assert batch.detected.sum((1, 2)).tolist() == [6, 4]
    assert batch.joints is None
