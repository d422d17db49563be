"""BVH files: a reader that knows only the format, and Blender, find our joints."""

from dataclasses import replace

import numpy as np
import pytest
from readers import blender
from scipy.spatial.transform import Rotation
from truth import farthest, posed

from fourd_humans.body.joints import SMPL_NAMES
from fourd_humans.exports.bvh import CENTIMETRES, euler_angles, to_bvh
from fourd_humans.exports.world import Y_UP, make_scene


def read_bvh(text):
    """Frame time, and for each joint its name, position (F, 3) and whether the file has it as an end site's parent."""
    head, motion = text.split("MOTION\n")
    lines = motion.splitlines()
    count, seconds = int(lines[0].split()[1]), float(lines[1].split()[2])
    values = np.array([line.split() for line in lines[2:]], float)
    assert len(values) == count
    positions, stack, column, offsets = {}, [], 0, {}
    rotations = {}
    for line in head.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            stack.append(words[1] if words[0] != "End" else f"{stack[-1]} end")
        elif words[0] == "OFFSET":
            offsets[stack[-1]] = np.array(words[1:], float)
            if stack[-1].endswith(" end"):
                parent = stack[-2]
                positions[stack[-1]] = positions[parent] + rotations[parent].apply(offsets[stack[-1]])
        elif words[0] == "CHANNELS":
            names, joint = words[2:], stack[-1]
            channels = dict(zip(names, values[:, column : column + len(names)].T, strict=True))
            column += len(names)
            order = [name[0] for name in names if name.endswith("rotation")]
            angles = np.stack([channels[f"{axis}rotation"] for axis in order], axis=1)
            local = Rotation.from_euler("".join(order), angles, degrees=True)
            if len(stack) == 1:
                positions[joint] = np.stack([channels[f"{axis}position"] for axis in "XYZ"], axis=1)
                rotations[joint] = local
            else:
                parent = stack[-2]
                positions[joint] = positions[parent] + rotations[parent].apply(offsets[joint])
                rotations[joint] = rotations[parent] * local
        elif words[0] == "}":
            stack.pop()
    assert column == values.shape[1]
    return seconds, positions, offsets


def test_joints_are_ours(tracklets, body_model):
    scene = make_scene(tracklets, body_model, CENTIMETRES)
    for motion in scene.people:
        seconds, positions, offsets = read_bvh(to_bvh(scene, motion))
        assert seconds == pytest.approx(1 / scene.frame_rate, abs=1e-7)
        _, _, skeleton = posed(tracklets, body_model, motion.id, Y_UP.rotation)
        read = np.stack([positions[name] for name in SMPL_NAMES], axis=1)
        assert farthest(read / 100, skeleton) < 0.05
        # zero is the T-pose: arms along x, legs down, and ends outside of the last joints
        assert offsets["left_elbow"][0] > 20
        assert offsets["right_knee"][1] < -30
        assert offsets["head end"][1] > 3
        assert offsets["left_hand end"][0] > 2
        assert offsets["left_foot end"][2] > 1


def test_a_gap_is_filled(walk, body_model):
    scene = make_scene(walk, body_model, CENTIMETRES)
    motion = scene.people[1]
    kept = np.delete(np.arange(len(motion)), [10, 11, 12])
    parts = {name: getattr(motion, name)[kept] for name in ("indices", "seen", "pelvis", "rotations")}
    _, positions, _ = read_bvh(to_bvh(scene, replace(motion, **parts)))
    assert len(positions["pelvis"]) == len(motion)
    np.testing.assert_allclose(positions["pelvis"][kept], motion.pelvis[kept], atol=1e-4)


def test_angles_do_not_jump():
    turning = Rotation.from_euler("y", np.linspace(0, 900, 100)[:, None], degrees=True).as_matrix()
    angles = euler_angles(turning)
    np.testing.assert_allclose(angles[:, 2], np.linspace(0, 900, 100), atol=1e-6)


@pytest.mark.slow
def test_blender_reads_it(walk, body_model, tmp_path):
    scene = make_scene(walk, body_model, CENTIMETRES)
    motion = scene.people[1]
    (tmp_path / "person.bvh").write_text(to_bvh(scene, motion))
    rows = np.array([0, 9, len(motion) - 1])
    read = blender(tmp_path, tmp_path / "person.bvh", scene.frame_rate, rows + 1)
    bones = np.stack([read[f"bone/person/{name}"] for name in SMPL_NAMES], axis=1)
    assert farthest(bones, posed(walk, body_model, motion.id, Y_UP.rotation)[2][rows]) < 0.5
