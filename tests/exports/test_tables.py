"""CSV tables: a row for each person in each frame."""

import csv

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from truth import farthest, posed

from fourd_humans.body.joints import JOINT_NAMES, SMPL_NAMES
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.tables import angles, write
from fourd_humans.exports.world import Y_UP, make_scene


@pytest.fixture(scope="module")
def tables(walk, body_model, tmp_path_factory):
    job = ExportJob(walk, body_model, tmp_path_factory.mktemp("tables"), "walk")
    write(job)
    read = {}
    for path in job.written:
        with path.open(newline="") as file:
            read[path.stem.removeprefix("walk_")] = list(csv.DictReader(file))
    return read


def columns(rows, names):
    return np.array([[float(row[name]) for name in names] for row in rows])


def test_rows_are_people_in_frames(tables, walk):
    assert set(tables) == {"joints", "angles", "positions"}
    expected = [
        (str(frame.index), f"{frame.time:.6f}", str(person), str(int(seen)))
        for frame in walk
        for person, seen in zip(frame.ids, frame.seen, strict=True)
    ]
    for rows in tables.values():
        assert [(row["frame"], row["time"], row["person"], row["seen"]) for row in rows] == expected


def test_joints_and_positions_are_ours(tables, walk, body_model):
    rows = [row for row in tables["joints"] if row["person"] == "2"]
    _, joints, skeleton = posed(walk, body_model, 2, Y_UP.rotation)
    for prefix, names, points in (("", JOINT_NAMES[:44], joints), ("smpl_", SMPL_NAMES, skeleton)):
        read = columns(rows, [f"{prefix}{name}_{axis}" for name in names for axis in "xyz"])
        assert farthest(read.reshape(points.shape), points) < 0.05
    rows = [row for row in tables["positions"] if row["person"] == "2"]
    assert farthest(columns(rows, ["pelvis_x", "pelvis_y", "pelvis_z"]), skeleton[:, 0]) < 0.05


def test_angles_are_the_rotations(tables, walk):
    rows = [row for row in tables["angles"] if row["person"] == "1"]
    bodies = walk.person(1).bodies
    pelvis = columns(rows, [f"pelvis_{axis}" for axis in "zxy"])
    turned = Rotation.from_euler("ZXY", pelvis, degrees=True).as_matrix()
    np.testing.assert_allclose(turned, Y_UP.rotation @ bodies.global_orient[:, 0], atol=1e-5)
    knee = columns(rows, [f"left_knee_{axis}" for axis in "zxy"])
    turned = Rotation.from_euler("ZXY", knee, degrees=True).as_matrix()
    np.testing.assert_allclose(turned, bodies.body_pose[:, SMPL_NAMES.index("left_knee") - 1], atol=1e-5)


def test_flexion_is_the_angle_between_the_bones(walk, body_model):
    scene = make_scene(walk, body_model)
    motion = scene.people[0]
    motion.rotations[:, 1:] = np.eye(3)
    straight = angles(scene, motion)[0]
    motion.rotations[:, SMPL_NAMES.index("left_knee")] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    bent = angles(scene, motion)[0]
    assert straight[:2].max() < 15  # the open body's legs are not quite straight at rest
    assert bent[0] == pytest.approx(90, abs=15)
    assert bent[1] == straight[1]
