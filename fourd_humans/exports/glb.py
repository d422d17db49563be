"""GLB: everybody as skinned, animated meshes in one scene of glTF 2.0, with the camera that filmed them.

y up, metres, seconds from the first frame. A person is a node ``person_N`` whose scale is 0 while they are away; below
it stand SMPL's 24 joints, in the T-pose at rest. The mesh has the person's shape baked in.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans import __version__
from fourd_humans.body.joints import SMPL_NAMES, SMPL_PARENTS
from fourd_humans.exports.job import ExportJob
from fourd_humans.exports.notices import notice
from fourd_humans.exports.skin import pose_shapes, rest_normals, skin_weights
from fourd_humans.exports.world import Y_UP, Motion, Scene
from fourd_humans.rendering.palette import linear_rgb, track_colour

NEAR = 0.1  # metres: the camera's near plane
SMALLEST_MOVE = 1e-5  # metres: what moves a vertex less is left out of a morph target
UINT8, UINT16, FLOAT32 = 5121, 5123, 5126  # glTF's types of numbers
COMPONENTS = {np.dtype(np.uint8): UINT8, np.dtype(np.uint16): UINT16, np.dtype(np.float32): FLOAT32}
VERTEX_DATA, FACES = 34962, 34963  # what a buffer view is for
CAMERA_AXES = np.diag([1.0, -1.0, -1.0])  # glTF's cameras look along −z with y up

Index = int


def write(job: ExportJob) -> None:
    data = to_glb(job.scene(Y_UP), weights=job.options.weights, shapes=job.options.pose_shapes)
    job.new_file(".glb").write_bytes(data)


def to_glb(scene: Scene, *, weights: Literal[4, 8] = 4, shapes: bool = False, hide: bool = True) -> bytes:
    """The scene as a GLB file.

    scene: in `world.Y_UP`. weights: how many joints a vertex may follow; engines and browsers take four.
    shapes: add SMPL's pose-dependent shapes as morph targets. hide: scale people to nothing while they are away.
    """
    gltf = _Gltf()
    model = scene.body_model
    faces = gltf.accessor(model.faces.astype(np.uint16).ravel(), "SCALAR", FACES)
    skin = skin_weights(model, scene.people, weights)
    shared: dict[str, Index] = {}
    for set_ in range(skin.joints.shape[1] // 4):
        part = slice(4 * set_, 4 * set_ + 4)
        shared[f"JOINTS_{set_}"] = gltf.accessor(skin.joints[:, part], "VEC4", VERTEX_DATA)
        shared[f"WEIGHTS_{set_}"] = gltf.accessor(skin.weights[:, part], "VEC4", VERTEX_DATA, normalized=True)
    morphs = pose_shapes(model, scene.people) if shapes else None
    targets = [] if morphs is None else [gltf.sparse_accessor(shape, SMALLEST_MOVE) for shape in morphs.shapes]
    roots = [_camera(gltf, scene)]
    for row, motion in enumerate(scene.people):
        own = gltf.accessor(scene.times[motion.indices].astype(np.float32), "SCALAR", bounds=True)
        group, joints = _skeleton(gltf, motion, own)
        if hide and len(motion) < len(scene.times):
            changes, there = motion.presence(len(scene.times))
            moments = scene.times[changes].astype(np.float32)
            scales = np.repeat(there[:, None], 3, axis=1).astype(np.float32)
            gltf.animate(group, "scale", gltf.accessor(moments, "SCALAR", bounds=True),
                         gltf.accessor(scales, "VEC3"), "STEP")  # fmt: skip
        geometry = {
            "attributes": {**_surface(gltf, motion, model.faces, 0.0 if morphs is None else morphs.base), **shared},
            "indices": faces,
            "targets": [{"POSITION": target} for target in targets],
        }
        mesh = _mesh(gltf, motion, geometry, joints, [] if morphs is None else morphs.neutral.tolist())
        if morphs is not None:
            values = morphs.weights[row].astype(np.float32).ravel()
            gltf.animate(mesh, "weights", own, gltf.accessor(values, "SCALAR"))
        roots += [group, mesh]
    extras = {
        "frame_rate": scene.frame_rate,
        "first_frame": int(scene.frames[0]),
        "first_time": scene.start,
        "frame_size": list(scene.camera.size),
        "focal_length": scene.camera.focal_length,
        "principal_point": list(scene.camera.principal_point),
        "shape_space": model.shape_space,
    }
    return gltf.binary(roots, extras, notice(model.shape_space))


def _camera(gltf: _Gltf, scene: Scene) -> Index:
    """The filming camera; glTF's cannot have its principal point off the middle."""
    camera = scene.camera
    height, width = camera.size
    lens = {
        "type": "perspective",
        "perspective": {
            "yfov": 2 * math.atan(height / 2 / camera.focal_length),
            "aspectRatio": width / height,
            "znear": NEAR,
        },
    }
    rotations = _quaternions(camera.rotation @ CAMERA_AXES)
    node = gltf.node(
        "camera",
        camera=gltf.add("cameras", lens),
        rotation=rotations[0].tolist(),
        translation=camera.position[0].tolist(),
    )
    for path, values, kind in (("rotation", rotations, "VEC4"), ("translation", camera.position, "VEC3")):
        changes = np.append(0, 1 + np.flatnonzero((np.diff(values, axis=0) != 0).any(1)))
        if len(changes) > 1:
            times = gltf.accessor(scene.times[changes].astype(np.float32), "SCALAR", bounds=True)
            gltf.animate(node, path, times, gltf.accessor(values[changes].astype(np.float32), kind), "STEP")
    return node


def _skeleton(gltf: _Gltf, motion: Motion, times: Index) -> tuple[Index, list[Index]]:
    """The node of a person and those of the joints below it, animated."""
    rest = motion.rest_joints
    offsets = rest - np.where(np.arange(len(rest))[:, None] == 0, 0, rest[list(SMPL_PARENTS)])
    joints: list[Index] = []
    for name, offset in zip(SMPL_NAMES, offsets, strict=True):
        joints.append(gltf.node(name, translation=offset.tolist()))
    for joint, parent in enumerate(SMPL_PARENTS[1:], start=1):
        gltf.nodes[joints[parent]].setdefault("children", []).append(joints[joint])
    for joint, node in enumerate(joints):
        turns = gltf.accessor(_quaternions(motion.rotations[:, joint]).astype(np.float32), "VEC4")
        gltf.animate(node, "rotation", times, turns)
    gltf.animate(joints[0], "translation", times, gltf.accessor(motion.pelvis.astype(np.float32), "VEC3"))
    extras = {"person": motion.id, "spans": motion.spans, "seen": _spans(motion.indices[motion.seen])}
    return gltf.node(motion.name, children=[joints[0]], extras=extras), joints


def _surface(
    gltf: _Gltf, motion: Motion, faces: NDArray[np.int64], base: NDArray[np.floating] | float
) -> dict[str, Index]:
    """Positions and normals of a person at rest. base: what the morph targets are to be added to, beside the shape."""
    positions = (motion.rest_vertices + base).astype(np.float32)
    normals = rest_normals(motion, faces)
    return {
        "POSITION": gltf.accessor(positions, "VEC3", VERTEX_DATA, bounds=True),
        "NORMAL": gltf.accessor(normals.astype(np.float32), "VEC3", VERTEX_DATA),
    }


def _mesh(
    gltf: _Gltf, motion: Motion, geometry: dict[str, Any], joints: list[Index], morph_weights: list[float]
) -> Index:
    """The node of a person's skin. It stands at the root of the scene, for its joints alone place it."""
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    inverse[:, 3, :3] = -motion.rest_joints  # column by column
    red, green, blue = linear_rgb(track_colour(motion.id))
    surface = {"baseColorFactor": [red, green, blue, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.8}
    material = gltf.add("materials", {"name": motion.name, "pbrMetallicRoughness": surface})
    mesh: dict[str, Any] = {
        "name": f"{motion.name}_body",
        "primitives": [{key: value for key, value in geometry.items() if value != []} | {"material": material}],
    }
    if morph_weights:
        names = [f"pose_shape_{number}" for number in range(len(morph_weights))]
        mesh |= {"weights": morph_weights, "extras": {"targetNames": names}}
    skin = {
        "name": motion.name,
        "joints": joints,
        "skeleton": joints[0],
        "inverseBindMatrices": gltf.accessor(inverse.reshape(-1, 16), "MAT4"),
    }
    return gltf.node(f"{motion.name}_body", mesh=gltf.add("meshes", mesh), skin=gltf.add("skins", skin))


def _spans(indices: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last of each run of numbers that follow one another."""
    if not len(indices):
        return []
    parts = np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1)
    return [(int(part[0]), int(part[-1])) for part in parts]


def _quaternions(rotations: NDArray[np.floating]) -> NDArray[np.float64]:
    """(T, 3, 3) as (T, 4) x, y, z, w; from one to the next the short way round, whoever interpolates."""
    quaternions = Rotation.from_matrix(rotations).as_quat()
    flips = np.einsum("tc,tc->t", quaternions[1:], quaternions[:-1]) < 0
    quaternions[1:][np.cumsum(flips) % 2 == 1] *= -1
    return quaternions


class _Gltf:
    """A glTF document under construction: its JSON, and the one buffer that follows it."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self._lists: dict[str, list[Any]] = {"nodes": self.nodes}
        self._buffer = bytearray()
        self._channels: list[Any] = []
        self._samplers: list[Any] = []

    def add(self, kind: str, item: dict[str, Any]) -> Index:
        items = self._lists.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def node(self, name: str, **properties: Any) -> Index:
        return self.add("nodes", {"name": name, **properties})

    def accessor(
        self,
        array: NDArray[Any],
        kind: str,
        target: int | None = None,
        *,
        normalized: bool = False,
        bounds: bool = False,
    ) -> Index:
        """Put an array into the buffer: (N,) or (N, components). bounds: state its least and greatest values."""
        accessor: dict[str, Any] = {
            "bufferView": self._view(array, target),
            "componentType": COMPONENTS[array.dtype],
            "count": len(array),
            "type": kind,
        }
        if normalized:
            accessor["normalized"] = True
        if bounds:
            columns = array.reshape(len(array), -1)
            accessor |= {"min": columns.min(0).tolist(), "max": columns.max(0).tolist()}
        return self.add("accessors", accessor)

    def sparse_accessor(self, array: NDArray[np.floating], threshold: float) -> Index:
        """Put those rows of (N, 3) into the buffer that have a value above `threshold`; the others are zero."""
        rows = np.flatnonzero(np.abs(array).max(1) > threshold)
        rows = rows if len(rows) else np.zeros(1, int)
        values = array[rows].astype(np.float32)
        bounds = values if len(rows) == len(array) else np.vstack([values, np.zeros((1, 3), np.float32)])
        sparse = {
            "count": len(rows),
            "indices": {
                "bufferView": self._view(rows.astype(np.uint16)),
                "componentType": COMPONENTS[np.dtype(np.uint16)],
            },
            "values": {"bufferView": self._view(values)},
        }
        return self.add(
            "accessors",
            {
                "componentType": COMPONENTS[values.dtype],
                "count": len(array),
                "type": "VEC3",
                "sparse": sparse,
                "min": bounds.min(0).tolist(),
                "max": bounds.max(0).tolist(),
            },
        )

    def _view(self, array: NDArray[Any], target: int | None = None) -> Index:
        view = {"buffer": 0, "byteOffset": len(self._buffer), "byteLength": array.nbytes}
        if target is not None:
            view["target"] = target
        self._buffer += np.ascontiguousarray(array).tobytes()
        self._buffer += bytes(-len(self._buffer) % 4)
        return self.add("bufferViews", view)

    def animate(self, node: Index, path: str, times: Index, values: Index, interpolation: str = "LINEAR") -> None:
        self._channels.append({"sampler": len(self._samplers), "target": {"node": node, "path": path}})
        self._samplers.append({"input": times, "output": values, "interpolation": interpolation})

    def binary(self, roots: list[Index], extras: dict[str, Any], copyright_: str) -> bytes:
        document = {
            "asset": {"version": "2.0", "generator": f"4dhumans {__version__}", "copyright": copyright_},
            "scene": 0,
            "scenes": [{"name": "scene", "nodes": roots, "extras": extras}],
            **self._lists,
            "animations": [{"name": "motion", "channels": self._channels, "samplers": self._samplers}],
            "buffers": [{"byteLength": len(self._buffer)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self._buffer), b"BIN\0") + self._buffer
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
