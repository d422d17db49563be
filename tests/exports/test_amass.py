"""npz files in AMASS's layout: smplx, given the open body in SMPL's form, poses them to where our people are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from truth import farthest, posed

from fourd_humans.body.loading import read_body
from fourd_humans.body.model import DATA
from fourd_humans.exports.amass import to_amass, write
from fourd_humans.exports.job import ExportJob, ExportOptions
from fourd_humans.exports.world import Z_UP, make_scene


@pytest.fixture
def job(walk, body_model, tmp_path):
    return ExportJob(walk, body_model, tmp_path, "walk")


def test_smplx_poses_it_as_we_do(walk, body_model, job):
    smplx = pytest.importorskip("smplx")
    write(job)
    assert [path.name for path in job.written] == ["walk_person_1.npz", "walk_person_2.npz"]
    body = read_body(DATA / "open_body_neutral.npz")
    names = ("v_template", "shapedirs", "posedirs", "weights", "J_regressor")
    struct = smplx.utils.Struct(
        **{name: getattr(body, name).astype(np.float32) for name in names},
        f=body.faces, kintree_table=np.array([body.parents, range(24)]),
    )  # fmt: skip
    smpl = smplx.SMPL("", data_struct=struct, batch_size=1, vertex_ids=smplx.vertex_ids.vertex_ids["smplh"])
    for person, path in zip((1, 2), job.written, strict=True):
        with np.load(path) as stored:  # without pickles
            file = dict(stored)
        poses = torch.from_numpy(file["poses"]).float()
        output = smpl(
            betas=torch.from_numpy(file["open_body_betas"]).float()[None].expand(len(poses), -1),
            global_orient=poses[:, :3], body_pose=poses[:, 3:], transl=torch.from_numpy(file["trans"]).float(),
        )  # fmt: skip
        vertices, _, _ = posed(walk, body_model, person, Z_UP.rotation)
        assert farthest(output.vertices.numpy(), vertices) < 0.05


@pytest.mark.parametrize(("layout", "width"), [("smpl", 72), ("smplh", 156), ("smplx", 165)])
def test_layouts(walk, body_model, layout, width):
    scene = make_scene(walk, body_model, Z_UP)
    file = to_amass(scene, scene.people[1], layout)
    count = len(scene.people[1])
    assert file["poses"].shape == (count, width)
    np.testing.assert_array_equal(file["poses"][:, :66], to_amass(scene, scene.people[1])["poses"][:, :66])
    assert layout == "smpl" or not file["poses"][:, 66:].any()
    assert file["trans"].shape == (count, 3)
    assert file["betas"].shape == (10,)
    assert not file["betas"].any()  # which SMPL's readers would take for SMPL's
    assert file["open_body_betas"].any()
    assert str(file["gender"]) == "neutral"
    assert file["mocap_framerate"] == file["mocap_frame_rate"] == 10
    assert file["frames"][0] == 39
    assert all(value.dtype != object for value in file.values())


def test_layout_is_an_option(job):
    write(replace(job, options=ExportOptions(layout="smplx")))
    with np.load(job.folder / "walk_person_1.npz") as stored:
        assert stored["poses"].shape[1] == 165


@pytest.mark.parametrize(("rate", "stored"), [(30000 / 1001, 30), (60000 / 1001, 60), (12.5, 12.5)])
def test_rates_near_a_whole_number_are_rounded(walk, body_model, rate, stored):
    frames = [replace(frame, time=i / rate) for i, frame in enumerate(walk.frames)]
    scene = make_scene(replace(walk, frames=frames), body_model, Z_UP)
    file = to_amass(scene, scene.people[0])
    assert file["mocap_framerate"] == stored
    assert file["frame_rate"] == pytest.approx(rate)


def test_smpls_betas_are_smpls(walk, body_model):
    """With the body that results of SMPL need (here the open one under SMPL's name)."""
    smpl = type(body_model).open_body()
    smpl.shape_space = "smpl"
    frames = [replace(frame, bodies=replace(frame.bodies, shape_space="smpl")) for frame in walk.frames]
    scene = make_scene(replace(walk, frames=frames), smpl, Z_UP)
    file = to_amass(scene, scene.people[0])
    assert file["betas"].any()
    assert not [name for name in file if name.endswith("_betas")]
    assert "SMPL" in str(file["notice"])
