"""Meshes of chosen frames, posed and not animated: OBJ, PLY and GLB, a file a frame. y up, metres."""

from __future__ import annotations

from typing import Any

import numpy as np

from fourd_humans.errors import UsageError
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.notices import notice
from fourd_humans.exports.world import Y_UP, Scene
from fourd_humans.rendering.palette import track_colour


def write_obj(job: ExportJob) -> None:
    """Each person is an object of the file, ``person_N``, with vertices in SMPL's order."""
    for frame, meshes in _frames(job):
        path = job.new_file(f"_{frame:06d}.obj")
        text = meshes.export(file_type="obj", include_color=False, include_normals=False, include_texture=False)
        header = f"# frame {frame} of {job.name}\n# {notice(job.body_model.shape_space)}\n"
        path.write_text(header + text, encoding="utf-8")


def write_ply(job: ExportJob) -> None:
    """All people in one mesh, person after person, with colours a vertex."""
    for frame, meshes in _frames(job):
        job.new_file(f"_{frame:06d}.ply").write_bytes(meshes.to_mesh().export(file_type="ply"))


def write_glb(job: ExportJob) -> None:
    for frame, meshes in _frames(job):
        job.new_file(f"_{frame:06d}.glb").write_bytes(meshes.export(file_type="glb"))


def _frames(job: ExportJob) -> list[tuple[int, Any]]:
    """For each frame that was asked for, by default the one with the most people: its number, and a trimesh scene."""
    import trimesh

    scene = job.scene(Y_UP)
    numbers = job.options.frames or (_fullest(scene),)
    posed: dict[int, Any] = {number: trimesh.Scene() for number in numbers}
    for motion in scene.people:
        rows = {int(scene.frames[index]): row for row, index in enumerate(motion.indices)}
        for number in numbers:
            if number in rows:
                vertices = scene.vertices(motion, rows[number])
                colours = np.tile(np.array([*track_colour(motion.id), 255], np.uint8), (len(vertices), 1))
                mesh = trimesh.Trimesh(vertices, scene.body_model.faces, vertex_colors=colours, process=False)
                posed[number].add_geometry(mesh, node_name=motion.name, geom_name=motion.name)
    for number, meshes in posed.items():
        if not meshes.geometry:
            known = f"{scene.frames[0]} to {scene.frames[-1]}"
            raise UsageError(f"there is nobody in frame {number} of {job.name}, which has the frames {known}")
    return list(posed.items())


def _fullest(scene: Scene) -> int:
    counts = np.zeros(len(scene.frames), int)
    for motion in scene.people:
        counts[motion.indices] += 1
    return int(scene.frames[counts.argmax()])
