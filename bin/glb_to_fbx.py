"""An FBX file from an exported GLB, by Blender, which alone can write the format freely.

    blender --background --python bin/glb_to_fbx.py -- outputs/walk.glb outputs/walk.fbx
    python bin/glb_to_fbx.py outputs/walk.glb outputs/walk.fbx          # where `pip install bpy` was done

Skeletons, skins, morph targets and motion go over, with the frame rate of the video. People who are away stand still in
their nearest pose: FBX readers make nothing good of a scale of zero.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import bpy


def main(source: Path, target: Path) -> None:
    data = source.read_bytes()
    (length,) = struct.unpack("<I", data[12:16])
    document = json.loads(data[20 : 20 + length])
    frame_rate = document["scenes"][0]["extras"]["frame_rate"]

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = round(frame_rate), round(frame_rate) / frame_rate  # keys lie on frames
    bpy.ops.import_scene.gltf(filepath=str(source))
    armatures = [item for item in scene.objects if item.type == "ARMATURE"]
    for armature in armatures:
        remove_scale(armature)
    bodies = [item for item in scene.objects if item.type == "MESH" and item.find_armature() in armatures]
    for item in scene.objects:  # Blender adds shapes to draw bones with
        item.select_set(item in armatures or item in bodies or item.type == "CAMERA")
    last = max(item.animation_data.action.frame_range[1] for item in armatures)
    scene.frame_start, scene.frame_end = 0, round(last)
    bpy.ops.export_scene.fbx(
        filepath=str(target),
        use_selection=True,
        object_types={"ARMATURE", "MESH", "CAMERA"},
        add_leaf_bones=False,
        bake_anim_use_all_actions=False,
        bake_anim_use_nla_strips=False,
        bake_anim_simplify_factor=0,
    )


def remove_scale(armature: bpy.types.Object) -> None:
    """Undo the hiding of a person: the armature keeps its size in all frames."""
    for bag in channel_bags(armature.animation_data.action):
        for curve in [curve for curve in bag.fcurves if curve.data_path == "scale"]:
            bag.fcurves.remove(curve)
    armature.scale = (1, 1, 1)


def channel_bags(action: bpy.types.Action) -> list:
    """What holds an action's curves: since Blender 4.4 the channel bags of its layers, before that itself."""
    if not hasattr(action, "layers"):
        return [action]
    return [bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags]


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    if len(arguments) != 2:
        sys.exit(__doc__)
    main(Path(arguments[0]), Path(arguments[1]))
