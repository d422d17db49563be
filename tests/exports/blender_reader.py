"""Run by Blender's own Python (or one with its `bpy` wheel): what Blender makes of an exported file.

    python blender_reader.py FILE OUTPUT.npz FPS FRAME [FRAME...]

Writes, for each frame, the vertices of every mesh (``mesh/NAME``: (F, V, 3)) and the heads of every armature's bones
(``bone/ARMATURE/BONE``: (F, 3)), in metres with y up, as all our files have it.
"""

import sys
from pathlib import Path

import bpy
import numpy as np

Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # Blender has z up


def read(path: Path, fps: float) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = round(fps), round(fps) / fps
    if path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path), anim_offset=0)
    elif path.suffix == ".bvh":
        bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01, frame_start=1)  # it knows no frame 0
    else:
        bpy.ops.wm.usd_import(filepath=str(path))


def main(path: Path, output: Path, fps: float, frames: list[int]) -> None:
    read(path, fps)
    scene = bpy.context.scene
    values: dict[str, list[np.ndarray]] = {}
    for frame in frames:
        scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        for item in scene.objects:
            evaluated = item.evaluated_get(graph)
            matrix = np.array(evaluated.matrix_world)
            if item.type == "MESH":
                mesh = evaluated.to_mesh()
                points = np.empty(3 * len(mesh.vertices), np.float32)
                mesh.vertices.foreach_get("co", points)
                values.setdefault(f"mesh/{item.name}", []).append(place(matrix, points.reshape(-1, 3)))
            elif item.type == "ARMATURE":
                for bone in evaluated.pose.bones:
                    head = place(matrix, np.array(bone.head)[None])[0]
                    values.setdefault(f"bone/{item.name}/{bone.name}", []).append(head)
    values["fps"] = [np.array(scene.render.fps / scene.render.fps_base)]
    np.savez(output, **{name: np.array(points) for name, points in values.items()})


def place(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (points @ matrix[:3, :3].T + matrix[:3, 3]) @ Y_UP.T


main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), [int(frame) for frame in sys.argv[4:]])
