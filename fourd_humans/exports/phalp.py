"""The released tracker's own layout and nothing else: for readers that refuse, or trip over, any other key.

A pickle as `joblib.dump` of the released code writes it. What it has and our results do not: `appe`, the appearance
embedding, is zero; every mask stands in a list of its own.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fourd_humans.body.joints import COCO_NAMES, OPENPOSE_NAMES
from fourd_humans.errors import FourDHumansError
from fourd_humans.exports.boxes import keypoints_17
from fourd_humans.exports.job import ExportJob
from fourd_humans.geometry.masks import to_rle
from fourd_humans.people import Frame, Mask, TrackedFrame
from fourd_humans.results.phalp_format import to_entry
from fourd_humans.video.frames import Source

PER_FRAME_KEYS = ("time", "shot", "frame_path", "tracked_ids", "tracked_bbox")
PER_PERSON_KEYS = (
    "tid", "bbox", "tracked_time", "appe", "loca", "pose", "center", "scale", "size", "img_path", "img_name",
    "class_name", "conf", "annotations", "smpl", "camera", "camera_bbox", "3d_joints", "2d_joints", "mask",
    "extra_data",
)  # fmt: skip
KEYS = (*PER_FRAME_KEYS, *PER_PERSON_KEYS)
"""Of every entry of the released code's files."""
APPEARANCE_SIZE = 4096
JPEG_QUALITY = 95


def write(job: ExportJob) -> None:
    path = job.new_file("_phalp.pkl")
    paths = None if job.options.pictures is None else _write_pictures(job, job.options.pictures)
    entries = {}
    for frame in job.tracklets:
        key = paths[frame.index] if paths else str(PurePath(job.tracklets.folder) / frame.name)
        entries[key] = to_released(frame, key, openpose=job.options.openpose)
    joblib.dump(entries, path, compress=3)


def to_released(frame: TrackedFrame, key: str, *, openpose: bool = False) -> dict[str, Any]:
    """The entry of a frame, with `KEYS` and no other. key: of the entry, the path of the frame's picture.

    openpose: put 2D keypoints into ``extra_data``, (25, 3) in OpenPose's order, where SLAHMR looks for them.
    """
    entry = to_entry(frame, key)
    masks = frame.detections.masks or [None] * len(frame)
    entry |= {
        "appe": [np.zeros(APPEARANCE_SIZE, np.float32) for _ in range(len(frame))],
        "mask": [[_empty_mask(frame.size) if mask is None else to_rle(mask)] for mask in masks],
        "extra_data": list(openpose_25(frame)) if openpose else [[] for _ in range(len(frame))],
    }
    return {name: entry[name] for name in KEYS}


def openpose_25(frame: TrackedFrame) -> NDArray[np.float64]:
    """(N, 25, 3) COCO's 17 keypoints at their places in OpenPose's BODY_25: x, y in pixels, score; the other 8 zero.

    Those of the detector where it finds any, else the body's own. Who was not seen has a score of 0 everywhere.
    """
    keypoints = frame.detections.keypoints
    if keypoints is None:
        points = keypoints_17(frame)
        scores = np.repeat(frame.detections.scores[:, None, None], points.shape[1], axis=1)
        keypoints = np.concatenate([points, scores], axis=2)
    places = np.zeros((len(frame), len(OPENPOSE_NAMES), 3))
    places[:, [OPENPOSE_NAMES.index(name) for name in COCO_NAMES]] = keypoints
    return places * frame.seen[:, None, None]


def _empty_mask(size: tuple[int, int]) -> dict[str, Any]:
    return to_rle(Mask(np.zeros((0, 0), bool), 0, 0, size))


def _write_pictures(job: ExportJob, source: Source) -> dict[int, str]:
    """Write the frames as ``NAME_frames/000001.jpg``, counted from 1 as the released code does; returns their paths."""
    wanted = {frame.index for frame in job.tracklets}
    first = job.new_file("_frames")
    first.mkdir(parents=True, exist_ok=True)
    paths = {}
    for frame in source:
        if isinstance(frame, Frame) and frame.index in wanted:
            path = first / f"{frame.index + 1:06d}.jpg"
            Image.fromarray(frame.image).save(path, quality=JPEG_QUALITY)
            paths[frame.index] = str(path)
            if len(paths) == len(wanted):
                break
    missing = wanted - paths.keys()
    if missing:
        raise FourDHumansError(
            f"{source.path} has no readable frame {min(missing)}, which the results have; {len(missing)} are missing"
        )
    return paths
