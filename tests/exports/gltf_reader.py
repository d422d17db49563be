"""A small reader of GLB files, by the specification of glTF 2.0: nodes, animations, skins and morph targets."""

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

TYPES = {5121: np.uint8, 5123: np.uint16, 5126: np.float32}
SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    def __init__(self, source):
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        magic, version, length = struct.unpack("<4sII", data[:12])
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack("<I4s", data[12:20])
        assert kind == b"JSON"
        self.json = json.loads(data[20 : 20 + size])
        self.buffer = data[28 + size :]
        self.nodes = self.json["nodes"]
        self.channels = {}
        animation = self.json["animations"][0]
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            target = channel["target"]["node"], channel["target"]["path"]
            self.channels[target] = self.accessor(sampler["input"]), self.accessor(sampler["output"]), sampler
        self.parents = {child: i for i, node in enumerate(self.nodes) for child in node.get("children", [])}

    def _view(self, view, dtype, count):
        return np.frombuffer(self.buffer, dtype, count, self.json["bufferViews"][view].get("byteOffset", 0))

    def accessor(self, index):
        accessor = self.json["accessors"][index]
        dtype, width, count = TYPES[accessor["componentType"]], SIZES[accessor["type"]], accessor["count"]
        values = np.zeros((count, width), dtype)
        if "bufferView" in accessor:
            values = self._view(accessor["bufferView"], dtype, count * width).reshape(count, width)
        if sparse := accessor.get("sparse"):
            indices = sparse["indices"]
            rows = self._view(indices["bufferView"], TYPES[indices["componentType"]], sparse["count"])
            values = values.copy()
            values[rows] = self._view(sparse["values"]["bufferView"], dtype, sparse["count"] * width).reshape(-1, width)
        if accessor.get("normalized"):
            values = values / np.iinfo(dtype).max
        return values[:, 0] if width == 1 else values

    def node(self, name):
        return next(i for i, node in enumerate(self.nodes) if node["name"] == name)

    def value(self, node, path, time, default):
        """Of an animated property at a time: the sample whose time is nearest, or with STEP the last one before."""
        if (node, path) not in self.channels:
            return np.array(self.nodes[node].get(path, default), float)
        times, values, sampler = self.channels[node, path]
        values = values.reshape(len(times), -1)
        if sampler["interpolation"] == "STEP":
            return values[max(np.searchsorted(times, time + 1e-4) - 1, 0)]
        return values[np.abs(times - time).argmin()]

    def matrix(self, node, time):
        """Global transform of a node."""
        local = np.eye(4)
        turn = Rotation.from_quat(self.value(node, "rotation", time, [0, 0, 0, 1])).as_matrix()
        local[:3, :3] = turn * self.value(node, "scale", time, [1, 1, 1])
        local[:3, 3] = self.value(node, "translation", time, [0, 0, 0])
        return self.matrix(self.parents[node], time) @ local if node in self.parents else local

    def vertices(self, name, time):
        """(V, 3) of the skinned mesh of a node."""
        node = self.node(name)
        mesh = self.json["meshes"][self.nodes[node]["mesh"]]
        primitive, skin = mesh["primitives"][0], self.json["skins"][self.nodes[node]["skin"]]
        attributes = primitive["attributes"]
        points = self.accessor(attributes["POSITION"]).astype(float)
        for target, weight in zip(
            primitive.get("targets", []), self.value(node, "weights", time, mesh.get("weights", [])), strict=True
        ):
            points = points + weight * self.accessor(target["POSITION"])
        inverse = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        joints = np.stack([self.matrix(joint, time) for joint in skin["joints"]]) @ inverse
        placed = np.zeros_like(points)
        for set_ in range(2):
            if f"JOINTS_{set_}" in attributes:
                numbers, weights = (self.accessor(attributes[f"{key}_{set_}"]) for key in ("JOINTS", "WEIGHTS"))
                for corner in range(4):
                    matrices = joints[numbers[:, corner]]
                    moved = np.einsum("vij,vj->vi", matrices[:, :3, :3], points) + matrices[:, :3, 3]
                    placed += weights[:, corner, None] * moved
        return placed
