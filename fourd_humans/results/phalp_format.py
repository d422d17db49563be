"""Between `TrackedFrame` and one frame of the released tracker's result file.

The released layout keeps every per-person quantity as a list over the frame's people. What it cannot say is in keys of
our own beside it (`EXTRA_KEYS`), which its readers pass over; see docs/results.md for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.files.arrays import number, numbers, plain, whole_numbers
from fourd_humans.files.budget import MAX_PEOPLE
from fourd_humans.geometry.camera import released_intrinsics
from fourd_humans.geometry.crops import crop_cameras, with_crop_camera
from fourd_humans.geometry.masks import MAX_SIDE, read_rle, to_rle
from fourd_humans.people import NUM_JOINTS, Bodies, Detections, Float, Mask, Rejected, TrackedFrame
from fourd_humans.pose_features import location_features, pose_features

EXTRA_KEYS = (
    "seconds", "frame_size", "shape_space", "focal_length", "principal_point", "confidence", "detected", "dropped",
    "error",
)  # fmt: skip
CROP_ASPECT = 192 / 256  # width to height of the box that the released tracker crops around
RELEASED_RATE = 30.0  # frames a second: the released tracker writes no times, and its videos at this rate
MAX_TEXT = 1 << 12  # characters
MAX_REJECTED = 10_000


def to_entry(frame: TrackedFrame, path: str, *, textures: bool = False) -> dict[str, Any]:
    """One frame as the released layout has it.

    path: of the frame, its key in the file. textures: with `uv`, the texture maps (a megabyte a person).
    """
    found, bodies = frame.detections, with_crop_camera(frame.bodies, frame.detections.boxes)
    crops = crop_cameras(bodies)
    boxes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:].astype(float) - found.boxes[:, :2]], axis=1)
    masks = [_rle(mask, frame.size) for mask in found.masks or [None] * len(frame)]
    seen = np.flatnonzero(frame.seen)
    extra: list[dict[str, Any]] = [
        {"crop_center": center, "crop_size": float(size)} for center, size in zip(crops.center, crops.size, strict=True)
    ]
    if found.keypoints is not None:
        for data, keypoints in zip(extra, found.keypoints, strict=True):
            data["keypoints"] = keypoints
    entry: dict[str, Any] = {
        "time": frame.index,
        "shot": int(frame.is_cut),
        "frame_path": path,
        "tid": frame.ids.tolist(),
        "bbox": list(boxes),
        "tracked_ids": frame.ids[seen].tolist(),
        "tracked_bbox": list(boxes[seen]),
        "tracked_time": frame.time_since_seen.tolist(),
        "loca": list(location_features(bodies, frame.size)) if len(frame) else [],
        "pose": list(pose_features(bodies)),
        "center": list((found.boxes[:, :2].astype(float) + found.boxes[:, 2:]) / 2),
        "scale": list(_padded(boxes[:, 2:])),
        "size": [list(frame.size) for _ in range(len(frame))],
        "img_path": [path] * len(frame),
        "img_name": [PurePath(path).name] * len(frame),
        "class_name": [0] * len(frame),
        "conf": list(found.scores.astype(np.float32)),  # numpy's numbers, as readers expect
        "annotations": [_plain(each) for each in found.annotations or [[] for _ in range(len(frame))]],
        "smpl": [
            {"global_orient": bodies.global_orient[i], "body_pose": bodies.body_pose[i], "betas": bodies.betas[i]}
            for i in range(len(frame))
        ],
        "camera": list(bodies.camera),
        "camera_bbox": list(crops.camera),
        "3d_joints": list(bodies.joints_3d),
        "2d_joints": list(_to_fractions(bodies.joints_2d, frame.size).reshape(len(frame), 2 * NUM_JOINTS)),
        "mask": masks,
        "extra_data": extra,
    }
    if frame.predicted_pose is not None:
        entry["prediction_pose"] = list(frame.predicted_pose)
    if frame.predicted_location is not None:
        entry["prediction_loca"] = list(frame.predicted_location)
    if bodies.texture is not None and textures:
        entry["uv"] = list(bodies.texture)
    if bodies.confidence is not None:
        entry["confidence"] = bodies.confidence.tolist()
    if frame.camera_homography is not None:
        entry["camera_homography"] = frame.camera_homography
    return entry | {
        "seconds": float(frame.time),
        "frame_size": list(frame.size),
        "shape_space": bodies.shape_space,
        "focal_length": float(bodies.focal_length),
        "principal_point": [float(value) for value in bodies.principal_point],
        "detected": int(frame.detected),
        "dropped": [_plain(asdict(rejected)) for rejected in found.rejected],
        "error": frame.error,
    }


def from_entry(key: str, entry: Mapping[str, Any], index: int, frame_rate: float = RELEASED_RATE) -> TrackedFrame:
    """The frame of an entry, ours or the released tracker's.

    What the released layout does not say is what its code assumes: SMPL's betas, a focal length of 5000 at 256 pixels.
    index: number of the frame where the entry has none. frame_rate: frames a second, where the entry has no time.

    Raises: KeyError for a field that is missing; ValueError or FourDHumansError for a field that is wrong.
    """
    ids = whole_numbers(entry["tid"])
    count = len(ids)
    if count > MAX_PEOPLE:
        raise ValueError(f"has {count} people")
    size = _size(entry)
    camera = released_intrinsics(size)
    read = _Fields(entry, count)
    boxes_xywh = read.rows("bbox", 4, dtype=np.float64)
    extra = read.objects("extra_data")
    crops = [_crop(data, box) for data, box in zip(extra, boxes_xywh, strict=True)]
    keypoints = [_named(data, "keypoints", 17, 3) for data in extra if "keypoints" in data]
    masks = [_mask(mask) for mask in read.items("mask")]
    annotations = [plain(annotation) for annotation in read.items("annotations")]
    time = int(read.number("time", index))
    bodies = replace(
        _NOBODY,
        focal_length=read.number("focal_length", camera.focal_length),
        principal_point=_pair(entry.get("principal_point", camera.principal_point)),
        shape_space=read.text("shape_space", "smpl"),
        texture=read.optional_rows("uv", 4, 256, 256),
        confidence=read.optional_rows("confidence"),
    )
    detections = Detections(_NOBODY_THERE.boxes, _NOBODY_THERE.scores, rejected=[_rejected(e) for e in read.rejected()])
    if count:
        if "smpl" not in entry:
            raise KeyError("smpl")
        smpl = read.objects("smpl")
        bodies = replace(
            bodies,
            global_orient=np.stack([_named(body, "global_orient", 1, 3, 3) for body in smpl]),
            body_pose=np.stack([_named(body, "body_pose", 23, 3, 3) for body in smpl]),
            betas=np.stack([_named(body, "betas", 10) for body in smpl]),
            camera_crop=read.rows("camera_bbox", 3),
            crop_center=np.stack([center for center, _ in crops]).astype(np.float32),
            crop_size=np.array([side for _, side in crops], np.float32),
            camera=read.rows("camera", 3),
            joints_3d=read.rows("3d_joints", NUM_JOINTS, 3),
            joints_2d=_to_pixels(read.rows("2d_joints", NUM_JOINTS, 2), size),
        )
        detections = replace(
            detections,
            boxes=np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], 1).astype(np.float32),
            scores=read.rows("conf"),
            masks=masks if any(mask is not None for mask in masks) else None,
            keypoints=np.stack(keypoints) if len(keypoints) == count else None,
            annotations=annotations if any(_is_said(each) for each in annotations) else None,
        )
    return TrackedFrame(
        index=time,
        time=read.number("seconds", time / frame_rate),
        name=PurePath(key).name,
        size=size,
        ids=ids if count else _NO_IDS,
        time_since_seen=read.ages() if count else _NO_IDS,
        detections=detections,
        bodies=bodies,
        predicted_pose=read.optional_rows("prediction_pose", 229),
        predicted_location=read.optional_rows("prediction_loca", 99),
        is_cut=bool(read.number("shot", 0)),
        detected=int(read.number("detected", len(read.any_items("tracked_ids")))),
        error=read.text("error", None),
        camera_homography=read.matrix("camera_homography"),
    )


# What frames without people have in common, once for all of them.
_NOBODY, _NOBODY_THERE, _NO_IDS = Bodies.empty(""), Detections.empty(), np.zeros(0, np.int64)


class _Fields:
    """The fields of an entry with `count` people, each checked when it is taken."""

    def __init__(self, entry: Mapping[str, Any], count: int) -> None:
        self.entry, self.count = entry, count

    def items(self, name: str) -> list[Any]:
        """An item for each person; None where the entry has no such list."""
        items = self.any_items(name) or [None] * self.count
        if len(items) != self.count:
            raise ValueError(f"'{name}' has {len(items)} values for {self.count} people")
        return items

    def any_items(self, name: str) -> list[Any]:
        """A list of any length; empty where the entry has none."""
        items = self.entry.get(name)
        if items is not None and not isinstance(items, list | tuple):
            raise ValueError(f"'{name}' is no list")
        return list(items or ())

    def rows(self, name: str, *shape: int, dtype: Any = np.float32) -> NDArray[Any]:
        """(N, *shape) of numbers."""
        values = self.entry[name]
        if isinstance(values, np.ndarray) and values.dtype.kind != "O" and len(values) == self.count:
            values = list(values)
        if not isinstance(values, list | tuple) or len(values) != self.count:
            raise ValueError(f"'{name}' has {_length(values)} values for {self.count} people")
        try:
            rows = [numbers(value, shape, dtype) for value in values]
        except ValueError as error:
            raise ValueError(f"'{name}' {error}") from error
        return np.array(rows) if rows else np.zeros((0, *shape), dtype)

    def optional_rows(self, name: str, *shape: int) -> Float | None:
        if name not in self.entry or (self.count and not _length(self.entry[name])):
            return None
        return self.rows(name, *shape) if self.count else _none(shape)

    def objects(self, name: str) -> list[Mapping[str, Any]]:
        """A dictionary for each person."""
        return [item if isinstance(item, dict) else {} for item in self.items(name)]

    def number(self, name: str, default: float) -> float:
        value = self.entry.get(name, default)
        try:
            return number(value)
        except ValueError as error:
            raise ValueError(f"'{name}' {error}") from error

    def text(self, name: str, default: Any) -> Any:
        value = self.entry.get(name, default)
        if value is not None and not (isinstance(value, str) and len(value) <= MAX_TEXT):
            raise ValueError(f"'{name}' is no text")
        return value

    def matrix(self, name: str) -> NDArray[np.float64] | None:
        """A 3x3 matrix, or None where there is none."""
        if self.entry.get(name) is None:
            return None
        return numbers(self.entry[name], (3, 3), np.float64)

    def ages(self) -> NDArray[np.int64]:
        ages = whole_numbers(self.entry["tracked_time"])
        if len(ages) != self.count:
            raise ValueError(f"'tracked_time' has {len(ages)} values for {self.count} people")
        return ages

    def rejected(self) -> list[Any]:
        items = self.any_items("dropped")
        if len(items) > MAX_REJECTED:
            raise ValueError(f"has {len(items)} rejected detections")
        return items


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) != 0 else 0


@cache
def _none(shape: tuple[int, ...]) -> Float:
    return np.zeros((0, *shape), np.float32)


def _named(values: Mapping[str, Any], name: str, *shape: int) -> Float:
    if name not in values:
        raise ValueError(f"lacks '{name}' of a person")
    try:
        return numbers(values[name], shape)
    except ValueError as error:
        raise ValueError(f"'{name}' {error}") from error


def _rejected(value: Any) -> Rejected:
    if not isinstance(value, dict) or not isinstance(value.get("reason"), str) or len(value["reason"]) > MAX_TEXT:
        raise ValueError("'dropped' is no list of rejected detections")
    x1, y1, x2, y2 = numbers(value.get("box"), (4,), np.float64).tolist()
    return Rejected((x1, y1, x2, y2), number(value.get("score")), value["reason"])


def _to_fractions(pixels: Float, size: tuple[int, int]) -> Float:
    """Pixels of the frame as fractions of the square that it is padded to, evenly on both sides."""
    side = max(size)
    return ((pixels + np.array([side - size[1], side - size[0]]) / 2) / side).astype(np.float32)


def _to_pixels(fractions: Float, size: tuple[int, int]) -> Float:
    side = max(size)
    return (fractions * side - np.array([side - size[1], side - size[0]]) / 2).astype(np.float32)


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width); an empty frame of the released tracker does not say it."""
    sizes = entry.get("size") or [(0, 0)]
    size = entry.get("frame_size") or (sizes[0] if isinstance(sizes, list | tuple) else None)
    height, width = numbers(size, (2,), np.float64).tolist()
    if not (0 <= height <= MAX_SIDE and 0 <= width <= MAX_SIDE):
        raise ValueError(f"is {height} by {width} pixels large")
    return int(height), int(width)


def _padded(width_height: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) widths and heights of boxes, enlarged to the ratio that the released tracker crops at."""
    width, height = width_height[:, 0], width_height[:, 1]
    return np.stack([np.maximum(width, CROP_ASPECT * height), np.maximum(height, width / CROP_ASPECT)], 1)


def _crop(data: Mapping[str, Any], box_xywh: NDArray[np.float64]) -> tuple[NDArray[Any], float]:
    """Centre and side of the square crop: as the entry says, or the released tracker's, which is the padded box's."""
    if "crop_size" in data:
        return _named(data, "crop_center", 2), number(data["crop_size"])
    return box_xywh[:2] + box_xywh[2:] / 2, float(_padded(box_xywh[None, 2:]).max())


def _pair(values: Any) -> tuple[float, float]:
    x, y = numbers(values, (2,), np.float64).tolist()
    return x, y


def _rle(mask: Mask | None, size: tuple[int, int]) -> list[dict[str, Any]]:
    """The mask as the released tracker has it, in a list of its own; without any pixel for a person without a mask."""
    rle = to_rle(mask or Mask(np.zeros((0, 0), np.bool_), 0, 0, size))
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}]


def _mask(rle: Any) -> Mask | None:
    """The mask in an entry; None where it has no pixel. Version 0.1.0 wrote it without the list."""
    if isinstance(rle, list | tuple):
        rle = rle[0] if rle else None
    return None if rle is None else read_rle(rle)


def _is_said(annotation: Any) -> bool:
    return annotation is not None and not (isinstance(annotation, list | tuple | dict) and not annotation)


def _plain(value: Any) -> Any:
    """numpy's numbers as Python's, in whatever holds them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return [_plain(item) for item in value] if isinstance(value, list) else value
