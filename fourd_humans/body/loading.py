"""Body files: SMPL's own as its users have them, the open body's, and the clean ``.npz`` that we store them as."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import EXTRA_19, SMPL_PARENTS
from fourd_humans.errors import FourDHumansError
from fourd_humans.files.npz import read_npz
from fourd_humans.files.pickles import as_array, read_pickle

OPEN_BODY = "open_body"  # names of shape spaces
SMPL = "smpl"
NUM_VERTICES = 6890
NUM_FACES = 13776
NUM_BETAS = 10
BODY_FILE = "SMPL_NEUTRAL.npz"  # what `import_smpl` calls the files it writes
EXTRA_JOINTS_FILE = "SMPL_to_J19.npz"

_SHAPES: Mapping[str, tuple[int, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, NUM_BETAS),
    "posedirs": (NUM_VERTICES, 3, 9 * 23),
    "J_regressor": (24, NUM_VERTICES),
    "weights": (NUM_VERTICES, 24),
    "f": (NUM_FACES, 3),
    "kintree_table": (2, 24),
}
_EXTRA_JOINTS_SHAPE = (len(EXTRA_19), NUM_VERTICES)
_EXTRA_JOINTS_KEY = "joint_regressor_extra"
_SHAPE_SPACE_KEY = "shape_space"  # SMPL's own files have none


@dataclass(frozen=True)
class BodyArrays:
    """The arrays of an SMPL-family body, checked.

    v_template: (6890, 3) metres. shapedirs: (6890, 3, 10). posedirs: (6890, 3, 207). J_regressor: (24, 6890).
    weights: (6890, 24), rows summing to 1. faces: (13776, 3). parents: of the 24 joints, −1 for the root.
    shape_space: whose betas the shapedirs take, `OPEN_BODY` or `SMPL`.
    """

    v_template: NDArray[np.float64]
    shapedirs: NDArray[np.float64]
    posedirs: NDArray[np.float64]
    J_regressor: NDArray[np.float64]
    weights: NDArray[np.float64]
    faces: NDArray[np.int64]
    parents: tuple[int, ...]
    shape_space: str


def read_body(path: Path | str) -> BodyArrays:
    """The body in a ``.npz`` or ``.pkl`` with SMPL's keys, be it of chumpy's objects and from Python 2.

    Nothing in the file is run. Of more than ten shape coefficients the first ten are kept.

    Raises: FourDHumansError naming the file, if it is missing, unreadable, or not such a body.
    """
    return _check_body(_read(Path(path)), path)


def read_extra_joints(folder: Path | str) -> dict[int, NDArray[np.float64]]:
    """Joint number -> (6890,) weights of the 19 extra joints, from ``SMPL_to_J19`` (``.npz`` or ``.pkl``) in `folder`.

    Empty if there is no such file.

    Raises: FourDHumansError naming the file, if it is there but cannot be used.
    """
    for path in (Path(folder) / EXTRA_JOINTS_FILE, (Path(folder) / EXTRA_JOINTS_FILE).with_suffix(".pkl")):
        if path.exists():
            return dict(zip(EXTRA_19, _check_extra_joints(_read(path), path), strict=True))
    return {}


def import_smpl(path: Path | str, destination: Path | str) -> Path:
    """Check the user's SMPL file, or ``SMPL_to_J19.pkl``, and keep what we need of it as a clean ``.npz``.

    The kind of file is recognised by its content. It is written to the folder `destination` under a fixed name, whole
    or not at all; `BodyModel.from_file` on the body finds the extra joints beside it. Returns where it is.

    Raises: FourDHumansError naming the file, if it is neither, or cannot be written.
    """
    contents = _read(Path(path))
    if isinstance(contents, Mapping) and _EXTRA_JOINTS_KEY not in contents:
        body = _check_body(contents, path)
        arrays = {name: getattr(body, name).astype(np.float32) for name in list(_SHAPES)[:5]}
        parents = np.array([body.parents, range(24)], dtype=np.int32)
        return _write(
            Path(destination) / BODY_FILE, {**arrays, "f": body.faces.astype(np.int32), "kintree_table": parents}
        )
    regressor = _check_extra_joints(contents, path).astype(np.float32)
    return _write(Path(destination) / EXTRA_JOINTS_FILE, {_EXTRA_JOINTS_KEY: regressor})


def _read(path: Path) -> Any:
    """What the file holds, by its first bytes: a zip archive of arrays, or a pickle."""
    if not path.is_file():
        raise FourDHumansError(f"there is no body model at {path}")
    if not zipfile.is_zipfile(path):
        return read_pickle(path)
    return read_npz(path, (*_SHAPES, _EXTRA_JOINTS_KEY, _SHAPE_SPACE_KEY))


def _check_body(contents: Any, path: Path | str) -> BodyArrays:
    if not isinstance(contents, Mapping):
        raise FourDHumansError(f"{path} is not a body model: it holds a {type(contents).__name__}, not named arrays")
    missing = [name for name in _SHAPES if name not in contents]
    if missing:
        raise FourDHumansError(f"{path} is not an SMPL body model: it has no {', '.join(missing)}")
    arrays = {name: _real(contents[name], name, path) for name in _SHAPES}
    arrays["shapedirs"] = arrays["shapedirs"][..., :NUM_BETAS]
    for name, shape in _SHAPES.items():
        if arrays[name].shape != shape:
            raise FourDHumansError(f"{path} is not an SMPL body model: {name} is {arrays[name].shape}, not {shape}")

    weights, regressor, faces, tree = (arrays[name] for name in ("weights", "J_regressor", "f", "kintree_table"))
    if tree[0, 1:].tolist() != list(SMPL_PARENTS[1:]) or tree[1].tolist() != list(range(24)):
        raise FourDHumansError(f"{path} is not an SMPL body model: its joints hang together in another way")
    if faces.min() < 0 or faces.max() >= NUM_VERTICES:
        raise FourDHumansError(f"{path}: some faces (f) have corners that are no vertices")
    if weights.min() < -1e-6 or abs(weights.sum(1) - 1).max() > 0.01:
        raise FourDHumansError(f"{path}: the skinning weights of some vertices are negative or do not sum to 1")
    if abs(regressor.sum(1) - 1).max() > 0.01:
        raise FourDHumansError(f"{path}: some rows of J_regressor do not sum to 1")
    return BodyArrays(
        arrays["v_template"], arrays["shapedirs"], arrays["posedirs"], regressor,
        weights / weights.sum(1, keepdims=True),  # they may be stored in half precision
        faces.astype(np.int64), SMPL_PARENTS, str(contents.get(_SHAPE_SPACE_KEY, SMPL)),
    )  # fmt: skip


def _check_extra_joints(contents: Any, path: Path | str) -> NDArray[np.float64]:
    value = contents.get(_EXTRA_JOINTS_KEY) if isinstance(contents, Mapping) else contents
    regressor = _real(value, "the regressor", path)
    if regressor.shape != _EXTRA_JOINTS_SHAPE:
        raise FourDHumansError(f"{path} is not SMPL_to_J19: its array is {regressor.shape}, not {_EXTRA_JOINTS_SHAPE}")
    if abs(regressor.sum(1) - 1).max() > 0.05:
        raise FourDHumansError(f"{path} is not SMPL_to_J19: some rows do not sum to 1")
    return regressor


def _real(value: Any, name: str, path: Path | str) -> NDArray[np.float64]:
    """Real, finite numbers."""
    try:
        array = as_array(value)
    except ValueError as error:
        raise FourDHumansError(f"{path}: {name} {error}") from error
    if array.dtype.kind not in "fiu":
        raise FourDHumansError(f"{path}: {name} holds {array.dtype} instead of numbers")
    if not np.isfinite(array).all():
        raise FourDHumansError(f"{path}: {name} holds numbers that are not finite")
    return array.astype(np.float64)


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
    """Whole or not at all: written beside its place and then moved there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
            whole = Path(folder) / path.name
            np.savez(whole, **arrays)  # type: ignore[arg-type]
            os.replace(whole, path)
    except OSError as error:
        raise FourDHumansError(f"cannot write {path}: {error.strerror}") from error
    return path
