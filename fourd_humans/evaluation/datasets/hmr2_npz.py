"""Datasets in the ``.npz`` files that HMR 2.0 was evaluated on: Human3.6M, 3DPW, LSP-Extended, COCO, PoseTrack.

A file has, for N people: ``imgname``, ``center`` (N, 2) and ``scale``, the box's side or sides in pixels; and of
``body_keypoints_2d`` (N, 25, 3), ``extra_keypoints_2d`` (N, 19, 3), ``body_keypoints_3d`` (N, 25, 4) and
``extra_keypoints_3d`` (N, 19, 4) those that the dataset has, in metres, each with a confidence at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.datasets.people import AnnotatedPeople
from fourd_humans.files.npz import read_npz

FILES: Mapping[str, tuple[str, ...]] = {
    "h36m-p2": ("h36m_val_p2.npz",),
    "3dpw": ("3dpw_test.npz",),
    "lsp-extended": ("hr-lspet_train.npz", "lsp_extended.npz"),
    "coco": ("coco_val.npz",),
    "posetrack": ("posetrack_2018_val.npz",),
}
CONFIDENT = 0.5  # the released evaluation takes 2D keypoints above it as annotated
_PARTS = {"keypoints_2d": 3, "keypoints_3d": 4}


def read_released(path: Path, name: str, images: Path | None = None) -> AnnotatedPeople:
    """The people of one file. images: the folder that ``imgname`` starts from; by default the file's own.

    Raises: UsageError where there is no such file; FourDHumansError naming the file and what is wrong with it.
    """
    arrays = read_npz(path)
    missing = {"imgname", "center", "scale"} - set(arrays)
    if missing:
        raise FourDHumansError(f"{path} lacks {', '.join(sorted(missing))}, which files of this layout have")
    names = [text.decode() if isinstance(text, bytes) else str(text) for text in arrays["imgname"].ravel()]
    count = len(names)
    center, scale = _rows(arrays, "center", count, path), _rows(arrays, "scale", count, path)
    if center.shape[1] != 2 or scale.shape[1] not in (1, 2):
        raise FourDHumansError(f"{path}: its center must have two numbers a person, and its scale one or two")
    for what, values in (("center", center), ("scale", scale)):
        bad = np.flatnonzero(~np.isfinite(values).all(1) | ((values <= 0).any(1) if what == "scale" else False))
        if len(bad):
            raise FourDHumansError(f"{path}: the {what} of person {bad[0]} is not valid ({len(bad)} such)")
    keypoints_2d, joints_3d = (_keypoints(arrays, kind, count, path) for kind in _PARTS)
    if keypoints_2d is None and joints_3d is None:
        raise FourDHumansError(f"{path} has neither 2D nor 3D keypoints")
    if keypoints_2d is not None:
        keypoints_2d[..., 2] *= keypoints_2d[..., 2] > CONFIDENT
    return AnnotatedPeople(
        name=name,
        folder=images or path.parent,
        images=names,
        boxes=np.concatenate([center - scale / 2, center + scale / 2], axis=1),
        sizes=scale.max(1),
        points=tuple(range(44)),
        keypoints_2d=keypoints_2d,
        joints_3d=joints_3d,
    )


def _rows(arrays: Mapping[str, NDArray[Any]], key: str, count: int, path: Path) -> NDArray[np.float64]:
    values = np.asarray(arrays[key], np.float64)
    if len(values) != count:
        raise FourDHumansError(f"{path} has {count} image names but {len(values)} rows of {key}")
    return values.reshape(count, -1)


def _keypoints(arrays: Mapping[str, NDArray[Any]], kind: str, count: int, path: Path) -> NDArray[np.float64] | None:
    """(N, 44, 3 or 4): the 25 of OpenPose and the 19 more, with no confidence where the file has none of them."""
    width = _PARTS[kind]
    parts = {f"body_{kind}": 25, f"extra_{kind}": 19}
    if not any(key in arrays for key in parts):
        return None
    joined = []
    for key, joints in parts.items():
        values = np.asarray(arrays.get(key, np.zeros((count, joints, width))), np.float64)
        if values.shape != (count, joints, width):
            raise FourDHumansError(f"{path}: its {key} are {values.shape}, not {(count, joints, width)}")
        joined.append(values)
    keypoints = np.concatenate(joined, axis=1)
    bad = (keypoints[..., -1] > 0) & ~np.isfinite(keypoints).all(-1)
    if bad.any() or not np.isfinite(keypoints[..., -1]).all():
        raise FourDHumansError(f"{path}: its {kind} of person {int(bad.any(1).argmax())} are not finite")
    return keypoints
