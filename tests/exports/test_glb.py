"""GLB files hold our people where we have them, as read by the specification, by Khronos's validator and by Blender."""

from dataclasses import replace

import numpy as np
import pytest
from gltf_reader import Glb
from readers import blender, gltf_issues
from truth import farthest, posed

from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.exports.glb import to_glb
from fourd_humans.exports.world import Y_UP, make_scene


@pytest.fixture(scope="module")
def with_shapes(scene):
    return to_glb(scene, weights=8, shapes=True)


def some_frames(motion):
    return np.unique(np.linspace(0, len(motion) - 1, 5).round().astype(int))


def errors(data, scene, tracklets, body_model, *, pose_shapes):
    """Millimetres that the worst vertex of some frames is away from where it should be, for each person."""
    glb = Glb(data)
    found = []
    for motion in scene.people:
        truth, _, _ = posed(tracklets, body_model, motion.id, Y_UP.rotation, pose_shapes=pose_shapes)
        rows = some_frames(motion)
        read = [glb.vertices(f"{motion.name}_body", scene.times[motion.indices[row]]) for row in rows]
        found.append(np.linalg.norm(np.array(read) - truth[rows], axis=2) * 1000)
    return np.concatenate([each.ravel() for each in found])


def test_all_weights_and_shapes_give_our_vertices(with_shapes, scene, tracklets, body_model):
    wrong = errors(with_shapes, scene, tracklets, body_model, pose_shapes=True)
    assert wrong.max() < 0.5
    assert wrong.mean() < 0.02


def test_all_weights_give_the_skinned_vertices(scene, tracklets, body_model):
    wrong = errors(to_glb(scene, weights=8), scene, tracklets, body_model, pose_shapes=False)
    assert wrong.max() < 0.1


def test_four_weights_are_fitted_to_the_poses(scene, tracklets, body_model):
    wrong = errors(to_glb(scene), scene, tracklets, body_model, pose_shapes=False)
    assert wrong.max() < 4
    assert wrong.mean() < 0.02
    assert (wrong > 1).mean() < 1e-3


def test_people_are_scaled_to_nothing_while_they_are_away(walk, body_model):
    scene = make_scene(walk, body_model)
    glb = Glb(to_glb(scene))
    late = scene.people[1]
    group = glb.node("person_2")
    for index, time in enumerate(scene.times):
        expected = 1.0 if index in late.indices else 0.0
        np.testing.assert_array_equal(glb.value(group, "scale", time, None), expected)
    assert glb.channels[group, "scale"][2]["interpolation"] == "STEP"
    assert (glb.node("person_1"), "scale") in glb.channels  # who leaves one frame before the end
    shown = Glb(to_glb(scene, hide=False))
    assert not [path for _, path in shown.channels if path == "scale"]


def test_keys_have_the_times_of_the_video(walk, body_model):
    uneven = [replace(frame, time=10 + frame.time + 0.01 * (i % 3 == 1)) for i, frame in enumerate(walk.frames)]
    scene = make_scene(replace(walk, frames=uneven), body_model)
    glb = Glb(to_glb(scene))
    times, rotations, _ = glb.channels[glb.node("pelvis"), "rotation"]
    expected = [frame.time - 10 for frame in uneven if 1 in frame.ids]
    np.testing.assert_allclose(times, expected, atol=1e-5)
    assert len(rotations) == len(expected)
    assert glb.json["scenes"][0]["extras"]["first_time"] == 10


def test_rotations_turn_the_short_way(scene):
    glb = Glb(to_glb(scene))
    for (_, path), (_, values, _) in glb.channels.items():
        if path == "rotation":
            assert np.einsum("tc,tc->t", values[1:], values[:-1]).min() >= 0


def test_names_notice_and_camera(scene):
    glb = Glb(to_glb(scene))
    assert "CC0" in glb.json["asset"]["copyright"]
    roots = [glb.nodes[node]["name"] for node in glb.json["scenes"][0]["nodes"]]
    people = [name for motion in scene.people for name in (motion.name, f"{motion.name}_body")]
    assert roots == ["camera", *people]  # a skinned mesh below another node would draw a warning
    skin = glb.json["skins"][0]
    assert [glb.nodes[joint]["name"] for joint in skin["joints"]] == list(SMPL_NAMES)
    camera = glb.json["cameras"][0]["perspective"]
    height, width = scene.camera.size
    # what stands straight ahead at the frame's upper edge, one metre away, is at the upper edge of glTF's view
    assert np.tan(camera["yfov"] / 2) == pytest.approx(height / 2 / scene.camera.focal_length)
    assert camera["aspectRatio"] == pytest.approx(width / height)
    forward = glb.matrix(glb.node("camera"), 0)[:3, :3] @ [0, 0, -1]
    np.testing.assert_allclose(forward, Y_UP.rotation @ [0, 0, 1], atol=1e-6)


def test_the_rest_pose_is_a_t_pose_with_the_persons_shape(with_shapes, scene, body_model):
    """Without any animation the mesh is the shape itself, also where morph targets are used."""
    motion = scene.people[0]
    for data in (to_glb(scene), with_shapes):
        glb = Glb(data)
        glb.channels = {}
        vertices = glb.vertices(f"{motion.name}_body", 0)
        assert farthest(vertices, motion.rest_vertices) < 0.05
    assert vertices[:, 1].max() - vertices[:, 1].min() > 1.4
    assert vertices[:, 0].max() - vertices[:, 0].min() > 1.4


def test_size_of_five_people_for_twenty_seconds(walk, body_model):
    scene = make_scene(walk, body_model)
    motion = scene.people[0]
    rows = np.resize(np.arange(len(motion)), 600)
    longer = replace(motion, indices=np.arange(600), pelvis=motion.pelvis[rows], rotations=motion.rotations[rows],
                     seen=motion.seen[rows])  # fmt: skip
    people = [replace(longer, id=number) for number in range(1, 6)]
    assert len(to_glb(replace(scene, people=people, times=np.arange(600) / 30))) < 2.5e6


@pytest.mark.parametrize("shapes", [False, True])
def test_khronos_validator_finds_nothing(scene, with_shapes, shapes, tmp_path):
    assert gltf_issues(tmp_path, with_shapes if shapes else to_glb(scene)) == []


@pytest.mark.slow
def test_blender_reads_it(with_shapes, scene, tracklets, body_model, tmp_path):
    (tmp_path / "scene.glb").write_bytes(with_shapes)
    frames = np.intersect1d(scene.people[0].indices, scene.people[1].indices)[[0, 7, 19]]
    read = blender(tmp_path, tmp_path / "scene.glb", scene.frame_rate, frames)
    for motion in scene.people:
        vertices, _, skeleton = posed(tracklets, body_model, motion.id, Y_UP.rotation)
        rows = np.searchsorted(motion.indices, frames)
        assert farthest(read[f"mesh/{motion.name}_body"], vertices[rows]) < 0.5
        bones = [read[f"bone/{motion.name}/{name}"] for name in SMPL_NAMES]
        assert farthest(np.stack(bones, axis=1), skeleton[rows]) < 0.05
