"""Between `TrackedFrame` and one frame of the released tracker's result file.

The released layout keeps every per-person quantity as a list over the frame's people. What it cannot say is in keys of
our own beside it (`EXTRA_KEYS`), which its readers pass over; see docs/results.md for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.geometry.camera import released_intrinsics
from fourd_humans.geometry.masks import from_rle, to_rle
from fourd_humans.people import NUM_JOINTS, Bodies, Detections, Float, Rejected, TrackedFrame
from fourd_humans.pose_features import location_features, pose_features

Embed = Callable[[Float], Float]
"""Textures (N, 4, 256, 256) to appearance embeddings (N, 4096)."""

EXTRA_KEYS = (
    "seconds", "frame_size", "shape_space", "focal_length", "principal_point", "confidence", "detected", "dropped",
    "error",
)  # fmt: skip
CROP_ASPECT = 192 / 256  # width to height of the box that the released tracker crops around


def to_entry(frame: TrackedFrame, path: str, *, textures: bool = False, embed: Embed | None = None) -> dict[str, Any]:
    """One frame as the released layout has it.

    path: of the frame, its key in the file. textures: with `uv`, the texture maps (a megabyte a person).
    embed: with `appe`, embeddings of those maps.
    """
    found, bodies = frame.detections, frame.bodies
    boxes = np.concatenate([found.boxes[:, :2], found.boxes[:, 2:].astype(float) - found.boxes[:, :2]], axis=1)
    masks = [None if mask is None else _rle(mask) for mask in found.masks or [None] * len(frame)]
    seen = np.flatnonzero(frame.seen)
    extra: list[dict[str, Any]] = [
        {"crop_center": center, "crop_size": float(size)}
        for center, size in zip(bodies.crop_center, bodies.crop_size, strict=True)
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
        "scale": list(boxes[:, 2:]),
        "size": [list(frame.size) for _ in range(len(frame))],
        "img_path": [path] * len(frame),
        "img_name": [PurePath(path).name] * len(frame),
        "class_name": [0] * len(frame),
        "conf": found.scores.tolist(),
        "annotations": [_plain(each) for each in found.annotations or [[] for _ in range(len(frame))]],
        "smpl": [
            {"global_orient": bodies.global_orient[i], "body_pose": bodies.body_pose[i], "betas": bodies.betas[i]}
            for i in range(len(frame))
        ],
        "camera": list(bodies.camera),
        "camera_bbox": list(bodies.camera_crop),
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
    if bodies.texture is not None and embed is not None:
        entry["appe"] = list(embed(bodies.texture)) if len(frame) else []
    if bodies.confidence is not None:
        entry["confidence"] = bodies.confidence.tolist()
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


def from_entry(key: str, entry: Mapping[str, Any], index: int) -> TrackedFrame:
    """The frame of an entry, ours or the released tracker's.

    What the released layout does not say is what its code assumes: SMPL's betas, a focal length of 5000 at 256 pixels.
    index: number of the frame where the entry does not tell.

    Raises: KeyError, TypeError or ValueError for what is no such entry.
    """
    ids = np.asarray(entry["tid"], np.int64).reshape(-1)
    count = len(ids)

    def rows(name: str, *shape: int) -> Float:
        values = [np.asarray(value, np.float32).reshape(shape) for value in entry[name]]
        if len(values) != count:
            raise ValueError(f"'{name}' has {len(values)} values for {count} people")
        return np.stack(values) if values else np.zeros((0, *shape), np.float32)

    def optional_rows(name: str, *shape: int) -> Float | None:
        return rows(name, *shape) if name in entry and (count == 0 or len(entry[name])) else None

    size = _size(entry)
    camera = released_intrinsics(size)
    extra: Sequence[Any] = entry.get("extra_data") or [None] * count
    boxes_xywh = np.asarray([np.asarray(box, float).reshape(4) for box in entry["bbox"]]).reshape(count, 4)
    boxes = np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1).astype(np.float32)
    smpl = entry["smpl"]
    crops = [
        (data["crop_center"], data["crop_size"]) if isinstance(data, Mapping) and "crop_size" in data else _crop(box)
        for data, box in zip(extra, boxes_xywh, strict=True)
    ]
    keypoints = [data["keypoints"] for data in extra if isinstance(data, Mapping) and "keypoints" in data]
    masks = [_mask(mask) for mask in entry.get("mask", [])]
    bodies = Bodies(
        global_orient=_stack([body["global_orient"] for body in smpl], count, 1, 3, 3),
        body_pose=_stack([body["body_pose"] for body in smpl], count, 23, 3, 3),
        betas=_stack([body["betas"] for body in smpl], count, 10),
        camera_crop=rows("camera_bbox", 3),
        crop_center=_stack([center for center, _ in crops], count, 2),
        crop_size=_stack([side for _, side in crops], count),
        camera=rows("camera", 3),
        joints_3d=rows("3d_joints", NUM_JOINTS, 3),
        joints_2d=_to_pixels(rows("2d_joints", NUM_JOINTS, 2), size),
        focal_length=float(entry.get("focal_length", camera.focal_length)),
        principal_point=_pair(entry.get("principal_point", camera.principal_point)),
        shape_space=str(entry.get("shape_space", "smpl")),
        texture=optional_rows("uv", 4, 256, 256),
        confidence=optional_rows("confidence"),
    )
    annotations = list(entry.get("annotations", []))
    detections = Detections(
        boxes=boxes,
        scores=rows("conf"),
        masks=masks if any(mask is not None for mask in masks) else None,
        keypoints=_stack(keypoints, count, 17, 3) if keypoints and len(keypoints) == count else None,
        annotations=annotations if any(_is_said(each) for each in annotations) else None,
        rejected=[Rejected(tuple(each["box"]), each["score"], each["reason"]) for each in entry.get("dropped", [])],
    )
    return TrackedFrame(
        index=int(entry.get("time", index)),
        time=float(entry.get("seconds", index)),
        name=PurePath(key).name,
        size=size,
        ids=ids,
        time_since_seen=np.asarray(entry["tracked_time"], np.int64).reshape(count),
        detections=detections,
        bodies=bodies,
        predicted_pose=optional_rows("prediction_pose", 229),
        predicted_location=optional_rows("prediction_loca", 99),
        is_cut=bool(entry.get("shot", False)),
        detected=int(entry.get("detected", len(entry.get("tracked_ids", ())))),
        error=entry.get("error"),
    )


def _to_fractions(pixels: Float, size: tuple[int, int]) -> Float:
    """Pixels of the frame as fractions of the square that it is padded to, evenly on both sides."""
    side = max(size)
    return ((pixels + np.array([side - size[1], side - size[0]]) / 2) / side).astype(np.float32)


def _to_pixels(fractions: Float, size: tuple[int, int]) -> Float:
    side = max(size)
    return (fractions * side - np.array([side - size[1], side - size[0]]) / 2).astype(np.float32)


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width); an empty frame of the released tracker does not say it."""
    size = entry.get("frame_size") or next(iter(entry.get("size", ())), (0, 0))
    return int(size[0]), int(size[1])


def _crop(box_xywh: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centre and side of the square that the released tracker crops: the box widened to 192:256, then to a square."""
    width, height = box_xywh[2:]
    return box_xywh[:2] + box_xywh[2:] / 2, max(height, width / CROP_ASPECT)


def _stack(values: Sequence[Any], count: int, *shape: int) -> Float:
    return np.asarray(values, np.float32).reshape(count, *shape)


def _pair(values: Any) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _rle(mask: Any) -> dict[str, Any]:
    rle = to_rle(mask)
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def _mask(rle: Any) -> Any:
    """The released tracker has each mask in a list of its own."""
    if isinstance(rle, list | tuple):
        rle = rle[0] if rle else None
    return None if rle is None else from_rle(rle)


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
