"""The script that makes FBX files from GLB: what Blender reads back is ours."""

from pathlib import Path

import numpy as np
import pytest
from readers import blender, run_blender
from truth import posed

from fourd_humans.exports.glb import to_glb
from fourd_humans.exports.world import Y_UP, make_scene

SCRIPT = Path(__file__).parents[2] / "bin" / "glb_to_fbx.py"


@pytest.mark.slow
def test_fbx_has_our_people_also_those_who_come_and_go(walk, body_model, tmp_path):
    scene = make_scene(walk, body_model)
    (tmp_path / "walk.glb").write_bytes(to_glb(scene))
    run_blender(SCRIPT, tmp_path / "walk.glb", tmp_path / "walk.fbx")
    late = scene.people[1]
    frames = late.indices[[0, 20, -1]]
    read = blender(tmp_path, tmp_path / "walk.fbx", scene.frame_rate, [0, *frames])
    for motion in scene.people:
        vertices, _, _ = posed(walk, body_model, motion.id, Y_UP.rotation, pose_shapes=False)
        rows = np.searchsorted(motion.indices, frames)
        wrong = np.linalg.norm(read[f"mesh/{motion.name}_body"][1:] - vertices[rows], axis=2) * 1000
        assert wrong.mean() < 0.05
        assert wrong.max() < 4  # four weights a vertex
    away = read["mesh/person_2_body"][0]
    assert np.ptp(away[:, 1]) > 1.2  # not scaled to nothing
