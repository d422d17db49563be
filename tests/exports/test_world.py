"""People stand in a world where the results have them in the camera's frame."""

from dataclasses import replace

import numpy as np
import pytest
from truth import farthest, posed

from fourd_humans.errors import UsageError
from fourd_humans.exports.world import Y_UP, Z_UP, make_scene, without_gaps
from fourd_humans.tracklets import Tracklets

# where the camera's right, down and forward are in each world
AXES = {
    "y up": (Y_UP, [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "z up": (Z_UP, [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "z up, mm": (replace(Z_UP, metres=0.001), [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
}


@pytest.mark.parametrize("name", AXES)
def test_bodies_stand_and_turn_with_the_axes(tracklets, body_model, name):
    world, axes = AXES[name]
    scene = make_scene(tracklets, body_model, world)
    for motion in scene.people:
        true = posed(tracklets, body_model, motion.id, np.transpose(axes))
        vertices = np.concatenate([vertices for _, vertices, _, _ in scene.posed(motion)])
        joints, skeleton = scene.joints(motion)
        for ours, theirs in zip((vertices, joints, skeleton), true, strict=True):
            assert farthest(ours * world.metres, theirs) < 0.05
        assert farthest(motion.pelvis * world.metres, true[2][:, 0]) < 0.05
    camera = scene.camera
    np.testing.assert_allclose(camera.rotation[0].T, np.array(axes), atol=1e-12)


def test_frames_and_times_are_the_videos(walk, body_model):
    scene = make_scene(Tracklets(walk.frames[20:]), body_model)
    assert scene.frames[:3].tolist() == [60, 63, 66]
    np.testing.assert_allclose(scene.times[:3], [0, 0.1, 0.2], atol=1e-9)
    assert scene.start == pytest.approx(2.0)
    assert scene.frame_rate == pytest.approx(10)
    assert scene.is_regular
    assert scene.regular() is scene


def test_who_is_away_for_a_while(walk, body_model):
    frames = [frame if not 30 <= i < 34 else only(frame, 2) for i, frame in enumerate(walk.frames)]
    scene = make_scene(replace(walk, frames=frames), body_model)
    first = scene.people[0]
    assert first.spans[0] == (0, 29)
    assert first.spans[1][0] == 34
    changes, there = first.presence(len(scene.times))
    assert changes[:3].tolist() == [0, 30, 34]
    assert there[:3].tolist() == [True, False, True]
    filled = without_gaps(first, scene.times)
    assert filled.indices.tolist() == list(range(first.indices[0], first.indices[-1] + 1))
    assert not filled.seen[30:34].any()
    np.testing.assert_allclose(filled.pelvis[32], first.pelvis[29] * 0.4 + first.pelvis[30] * 0.6, atol=1e-9)
    kept = np.isin(filled.indices, first.indices)
    np.testing.assert_allclose(filled.rotations[kept], first.rotations, atol=1e-9)

    doubled = scene.resampled(20.0)
    again = doubled.people[0]
    np.testing.assert_allclose(doubled.times[:3], [0, 0.05, 0.1])
    assert 58 in again.indices  # the last before the gap
    assert not set(range(59, 68)) & set(again.indices.tolist())
    assert 68 in again.indices
    even = again.indices[again.indices % 2 == 0]
    np.testing.assert_array_equal(even // 2, first.indices)
    rows = np.searchsorted(again.indices, even)
    np.testing.assert_allclose(again.pelvis[rows], first.pelvis, atol=1e-9)
    np.testing.assert_allclose(again.pelvis[1], (first.pelvis[0] + first.pelvis[1]) / 2, atol=1e-9)


def only(frame, person):
    return next(iter(Tracklets([frame]).only([person])))


def test_uneven_times_are_made_even_where_a_format_needs_it(walk, body_model):
    frames = [replace(frame, time=frame.time + 0.04 * (i % 2)) for i, frame in enumerate(walk.frames)]
    scene = make_scene(replace(walk, frames=frames), body_model)
    assert not scene.is_regular
    even = scene.regular()
    assert np.ptp(np.diff(even.times)) < 1e-9
    assert len(even.times) == pytest.approx(len(scene.times), abs=1)


def test_one_frame_is_a_scene(walk, body_model):
    scene = make_scene(Tracklets(walk.frames[:1]), body_model)
    assert scene.times.tolist() == [0]
    assert len(scene.people) == 1
    assert len(scene.resampled(60).times) == 1


def test_the_shape_is_the_mean_of_where_the_person_was_seen(walk, body_model):
    tracklet = walk.person(1)
    motion = make_scene(walk, body_model).people[0]
    assert not tracklet.seen.all()
    assert np.ptp(tracklet.bodies.betas, axis=0).max() > 0.1
    np.testing.assert_allclose(motion.betas, tracklet.bodies.betas[tracklet.seen].mean(0), rtol=1e-5, atol=1e-6)


def test_another_bodys_betas_are_not_used(walk, body_model):
    frames = [replace(frame, bodies=replace(frame.bodies, shape_space="smpl")) for frame in walk.frames]
    motion = make_scene(replace(walk, frames=frames), body_model).people[0]
    assert not motion.betas.any()


def test_what_is_not_finite_is_left_out(walk, body_model):
    bodies = walk.frames[3].bodies
    broken = replace(walk.frames[3], bodies=replace(bodies, camera=np.full_like(bodies.camera, np.nan)))
    scene = make_scene(replace(walk, frames=[*walk.frames[:3], broken, *walk.frames[4:]]), body_model)
    assert 3 not in scene.people[0].indices


@pytest.mark.parametrize("world", [Y_UP, replace(Z_UP, metres=0.001)])
def test_a_camera_that_looks_down_stands_above_a_level_floor(walk, body_model, world):
    scene = make_scene(walk, body_model, world, level=20.0)
    camera, up = scene.camera, world.rotation @ [0, -1, 0]
    assert camera.rotation[0][:, 2] @ up == pytest.approx(-np.sin(np.radians(20)))  # its forward direction
    heights = np.concatenate([scene.joints(motion)[0][:, 19:25] @ up for motion in scene.people]) * world.metres
    assert abs(np.median(heights.min(1))) < 1  # one walks on a roof
    assert camera.position[0] @ up * world.metres > 2
    for motion in scene.people:  # seen by that camera, everybody is where they are in the frame
        place, turn = camera.position[motion.indices], camera.rotation[motion.indices]
        seen = np.einsum("tji,tj->ti", turn, motion.pelvis - place)
        pixels = camera.focal_length * seen[:, :2] / seen[:, 2:] + camera.principal_point
        assert np.abs(pixels - walk.person(motion.id).bodies.joints_2d[:, 8]).max() < 8


def test_what_cannot_be_levelled_is_noted_once(walk, tmp_path, caplog):
    """These results say nothing of their shots."""
    walk.export(["bvh", "trc"], tmp_path, "walk")
    assert caplog.text.count("are not levelled") == 1
    walk.export(["bvh"], tmp_path, "own", level="none")
    assert caplog.text.count("are not levelled") == 1


def test_who_is_in_a_frame_twice_is_there_once(walk, body_model):
    frame = walk.frames[20]
    twice = replace(frame, ids=np.array([1, 1]))
    scene = make_scene(replace(walk, frames=[*walk.frames[:20], twice, *walk.frames[21:]]), body_model)
    assert (np.diff(scene.people[0].indices) > 0).all()


def test_depths_are_an_ordinary_lenss_unless_told_otherwise(walk, body_model):
    """People stand where a lens of 55 degrees would have them, at the same pixels; or where the results have them."""
    ordinary, own = make_scene(walk, body_model), make_scene(walk, body_model, depth_scale=1.0)
    assert 5 < -ordinary.people[0].pelvis[:, 2].mean() < 12
    assert -own.people[0].pelvis[:, 2].mean() > 100
    bodies = walk.person(1).bodies
    assert own.camera.focal_length == bodies.focal_length
    true = posed(walk, body_model, 1, Y_UP.rotation, depth_scale=1.0)[2]
    assert farthest(own.joints(own.people[0])[1], true) < 0.05
    for scene in (ordinary, own):
        placed = scene.people[0].pelvis * [1, -1, -1]
        pixels = scene.camera.focal_length * placed[:, :2] / placed[:, 2:] + scene.camera.principal_point
        assert np.abs(pixels - bodies.joints_2d[:, 8]).max() < 8  # the pelvis is a little off the plane of the origin
    with pytest.raises(UsageError, match="depth scale"):
        make_scene(walk, body_model, depth_scale=0)


def test_nobody_and_bad_rates_are_refused(walk, body_model):
    with pytest.raises(UsageError, match="nobody in these 77 frames"):
        make_scene(walk.only([]), body_model)
    for rate in (0, -1, float("nan"), 1e9):
        with pytest.raises(UsageError, match="frame rate"):
            make_scene(walk, body_model, frame_rate=rate)
    with pytest.raises(UsageError, match="do not increase"):
        make_scene(replace(walk, frames=[walk.frames[1], walk.frames[0]]), body_model)
