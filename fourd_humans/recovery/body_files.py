"""Bodies in files: our results, PHALP's, and any other system's in an npz."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fourd_humans.body.loading import SMPL
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.budget import MAX_PEOPLE
from fourd_humans.files.npz import read_npz
from fourd_humans.geometry.crops import crop_squares
from fourd_humans.people import NUM_JOINTS, Bodies, Float, Frame
from fourd_humans.results import load_tracklets

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class FramePeople:
    """The people of one frame in the file. boxes: (N, 4) xyxy pixels. bodies: theirs.

    Where the file has crop cameras alone, the bodies' focal length is 0, and their `camera` means nothing.
    """

    boxes: Float
    bodies: Bodies


@dataclass
class BodyFile:
    """The people in a file, by the number of their frame from 0 and, where it tells, by the name of their image."""

    path: Path
    by_number: dict[int, FramePeople] = field(default_factory=dict)
    by_name: dict[str, FramePeople] = field(default_factory=dict)

    def people(self, frame: Frame) -> FramePeople | None:
        """Images are looked up by name where the file has names, everything else by the frame's number."""
        if self.by_name and PurePath(frame.name).suffix:
            return self.by_name.get(frame.name)
        return self.by_number.get(frame.index)


def read_bodies(path: Path | str) -> BodyFile:
    """The bodies in a result file (.pkl, .partial), ours or PHALP's, or in an npz (see `read_body_npz`).

    Raises: UsageError where there is no such file or it is of no such kind; FourDHumansError, with the place, for what
    cannot be understood in it.
    """
    path = Path(path)
    if path.suffix.lower() not in (".pkl", ".partial", ".npz"):
        raise UsageError(f"bodies are read from a result (.pkl) or an npz, not from {path}")
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return read_body_npz(path) if path.suffix.lower() == ".npz" else read_body_results(path)


def read_body_results(path: Path) -> BodyFile:
    """The people in a result file who were seen."""
    file = BodyFile(path)
    for frame in load_tracklets(path):
        people = FramePeople(frame.detections.boxes[frame.seen], replace(frame.bodies, texture=None)[frame.seen])
        file.by_number[frame.index] = people
        if PurePosixPath(frame.name).suffix:
            file.by_name[PurePosixPath(frame.name).name] = people
    return file


def read_body_npz(path: Path) -> BodyFile:
    """An npz with one row for each person in each frame, R in all; ``Tracklets.to_numpy`` makes such arrays.

    ``frame`` (R,) the frame's number from 0, or ``image`` (R,) its file name, or both; ``boxes`` (R, 4) xyxy pixels;
    ``global_orient`` and ``body_pose``, as matrices (R, 1, 3, 3) and (R, 23, 3, 3) or axis-angle (R, 3) and (R, 69), or
    ``poses`` (R, 72), axis-angle. Of the camera either ``camera`` (R, 3), the translation in the frame, with
    ``focal_length`` (R,) and ``principal_point`` (R, 2); or ``camera_crop`` (R, 3), HMR's (s, tx, ty) in a square crop
    with ``crop_center`` (R, 2) and ``crop_size`` (R,), by default HMR 2.0's crop around the box.
    Optional: ``betas`` (R, 10) of the body model that ``shape_space`` names (one text; smpl where it is missing),
    ``confidence`` (R,).

    Raises: FourDHumansError naming the file and the array.
    """
    arrays = read_npz(path)
    boxes = _rows(arrays, "boxes", path, None, 4)
    count = len(boxes)
    rotations = _rotations(arrays, count, path)
    space = arrays.get("shape_space")
    bodies = Bodies(
        global_orient=rotations[:, :1],
        body_pose=rotations[:, 1:],
        betas=_rows(arrays, "betas", path, count, 10) if "betas" in arrays else np.zeros((count, 10), np.float32),
        camera=np.zeros((count, 3), np.float32),
        joints_3d=np.zeros((count, NUM_JOINTS, 3), np.float32),  # follow from the body model in use
        joints_2d=np.zeros((count, NUM_JOINTS, 2), np.float32),
        focal_length=0.0,
        principal_point=(0.0, 0.0),
        shape_space=str(space.ravel()[0]) if space is not None and space.size == 1 else SMPL,
        confidence=_rows(arrays, "confidence", path, count) if "confidence" in arrays else None,
    )
    has_camera = {"camera", "focal_length", "principal_point"} <= arrays.keys()
    if has_camera:
        bodies = replace(bodies, camera=_rows(arrays, "camera", path, count, 3))
        focal_length, principal_point = (
            _rows(arrays, "focal_length", path, count), _rows(arrays, "principal_point", path, count, 2)
        )  # fmt: skip
    elif "camera_crop" not in arrays:
        raise FourDHumansError(f"{path} lacks camera with focal_length and principal_point, and camera_crop")
    else:
        focal_length, principal_point = np.zeros(count, np.float32), np.zeros((count, 2), np.float32)
    if "camera_crop" in arrays:
        center, size = crop_squares(boxes)
        if "crop_size" in arrays:
            center = _rows(arrays, "crop_center", path, count, 2)
            size = _rows(arrays, "crop_size", path, count)
        camera_crop = _rows(arrays, "camera_crop", path, count, 3)
        bodies = replace(bodies, camera_crop=camera_crop, crop_center=center, crop_size=size)

    def people_by(keys: NDArray[Any]) -> dict[Any, FramePeople]:
        frames = {}
        order = np.argsort(keys, kind="stable")
        for rows in np.split(order, np.flatnonzero(keys[order][1:] != keys[order][:-1]) + 1):
            if len(rows) > MAX_PEOPLE:
                raise FourDHumansError(f"{path}: more than {MAX_PEOPLE} people in one frame")
            if len(rows):
                x, y = principal_point[rows[0]].tolist()
                own = replace(bodies[rows], focal_length=float(focal_length[rows[0]]), principal_point=(x, y))
                frames[keys[rows[0]].item()] = FramePeople(boxes[rows], own)
        return frames

    names, numbers = arrays.get("image"), arrays.get("frame")
    if numbers is None and names is None:
        raise FourDHumansError(f"{path} lacks frame or image, which say where each person is")
    for key, values, kinds in (("frame", numbers, "iu"), ("image", names, "US")):
        if values is not None and (values.shape != (count,) or values.dtype.kind not in kinds):
            raise FourDHumansError(f"{path}: its {key} must have one value for each of {count} people")
    return BodyFile(
        path,
        {} if numbers is None else people_by(numbers),
        {} if names is None else people_by(np.array([_file_name(name) for name in names], dtype=np.str_)),
    )


def _rotations(arrays: Arrays, count: int, path: Path) -> Float:
    """(R, 24, 3, 3) from matrices or axis-angle."""
    if "poses" in arrays:
        vectors = _rows(arrays, "poses", path, count, 72)
    elif not {"global_orient", "body_pose"} <= arrays.keys():
        raise FourDHumansError(f"{path} lacks global_orient and body_pose, or poses")
    elif arrays["global_orient"].size == 9 * count and arrays["body_pose"].size == 9 * 23 * count:
        orient, pose = (_rows(arrays, "global_orient", path, count, 9), _rows(arrays, "body_pose", path, count, 207))
        matrices = np.concatenate([orient, pose], 1).reshape(count, 24, 3, 3)
        error = np.abs(matrices @ matrices.swapaxes(2, 3) - np.eye(3)).max(initial=0)
        if error > 0.01 or (np.linalg.det(matrices) < 0).any():
            raise FourDHumansError(f"{path}: some of its global_orient and body_pose are no rotations")
        return matrices
    else:
        vectors = np.concatenate(
            [_rows(arrays, "global_orient", path, count, 3), _rows(arrays, "body_pose", path, count, 69)], 1
        )
    if not count:
        return np.zeros((0, 24, 3, 3), np.float32)
    return Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3).astype(np.float32)


def _rows(arrays: Arrays, name: str, path: Path, count: int | None, *shape: int) -> Float:
    """(R, *shape) finite numbers. count: R, where it is known."""
    if name not in arrays:
        raise FourDHumansError(f"{path} lacks {name}")
    values = arrays[name]
    wanted = int(np.prod(shape))
    rows = len(values) if values.ndim else 0
    if values.dtype.kind not in "fiu" or not values.ndim or values.size != rows * wanted or rows != (count or rows):
        raise FourDHumansError(
            f"{path}: its {name} has the shape {values.shape}, not {(count if count is not None else 'people', *shape)}"
        )
    if not np.isfinite(values).all():
        raise FourDHumansError(f"{path}: its {name} has values that are not finite")
    return values.reshape(rows, *shape).astype(np.float32)


def _file_name(name: Any) -> str:
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return PurePosixPath(text.replace("\\", "/")).name
