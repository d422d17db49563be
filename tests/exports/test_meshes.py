"""Meshes of single frames, as trimesh and a plain reader of OBJ find them."""

from dataclasses import replace

import numpy as np
import pytest
from truth import farthest, posed

from fourd_humans.errors import UsageError
from fourd_humans.exports.job import ExportJob, ExportOptions
from fourd_humans.exports.meshes import write_glb, write_obj, write_ply
from fourd_humans.exports.world import Y_UP

trimesh = pytest.importorskip("trimesh")


@pytest.fixture
def job(walk, body_model, tmp_path):
    return ExportJob(walk, body_model, tmp_path, "walk", options=ExportOptions(frames=(60,)))


@pytest.fixture
def people(walk, body_model):
    """The vertices of the two people in frame 60."""
    return [
        posed(walk, body_model, person, Y_UP.rotation)[0][walk.person(person).frames.tolist().index(60)]
        for person in (1, 2)
    ]


def test_obj_has_an_object_a_person_in_smpls_order(job, people, body_model):
    write_obj(job)
    lines = (job.folder / "walk_000060.obj").read_text().splitlines()
    assert "CC0" in lines[1]
    assert [line.split()[1] for line in lines if line.startswith("o ")] == ["person_1", "person_2"]
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
    assert farthest(vertices, np.concatenate(people)) < 0.05
    faces = np.array(
        [[part.split("/")[0] for part in line.split()[1:]] for line in lines if line.startswith("f ")], int
    )
    np.testing.assert_array_equal(faces[: len(body_model.faces)] - 1, body_model.faces)
    np.testing.assert_array_equal(faces[len(body_model.faces) :] - 1, body_model.faces + 6890)


def test_ply_has_everybody(job, people):
    write_ply(job)
    mesh = trimesh.load_mesh(job.folder / "walk_000060.ply", process=False)
    assert farthest(mesh.vertices, np.concatenate(people)) < 0.05
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) == 2


def test_static_glb_has_a_mesh_a_person(job, people):
    write_glb(job)
    scene = trimesh.load_scene(job.folder / "walk_000060.glb", process=False)
    for person, vertices in zip((1, 2), people, strict=True):
        assert farthest(scene.geometry[f"person_{person}"].vertices, vertices) < 0.05


def test_the_frame_with_most_people_is_the_default(job):
    write_obj(replace(job, options=ExportOptions()))
    assert [path.name for path in job.folder.iterdir()] == ["walk_000039.obj"]


def test_a_frame_without_people_is_refused(job):
    with pytest.raises(UsageError, match="nobody in frame 61 of walk, which has the frames 0 to 228"):
        write_obj(replace(job, options=ExportOptions(frames=(60, 61))))
    assert not list(job.folder.iterdir())
