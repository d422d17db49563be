"""Boxes and 2D keypoints, for evaluation and annotation tools: MOT text files and COCO keypoints."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_17, COCO_NAMES
from fourd_humans.exports.job import ExportJob
from fourd_humans.geometry.masks import to_rle
from fourd_humans.people import TrackedFrame

COCO_SKELETON = [
    [16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10], [9, 11],
    [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7],
]  # fmt: skip
"""Pairs of keypoints to connect, counted from 1, as in COCO's own annotations."""
PERSON = 1  # COCO's number of the category


def write_mot(job: ExportJob) -> None:
    """MOTChallenge's format: frame (from 1), id, left, top, width, height, confidence, and three numbers not used."""
    lines = []
    for frame in job.tracklets:
        for row in range(len(frame)):
            left, top, right, bottom = frame.detections.boxes[row].tolist()
            box = f"{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f}"
            lines.append(f"{frame.index + 1},{frame.ids[row]},{box},{frame.detections.scores[row]:.4f},-1,-1,-1\n")
    job.new_file("_mot.txt").write_text("".join(lines), encoding="ascii")


def write_coco(job: ExportJob) -> None:
    path = job.new_file("_coco.json")
    path.write_text(json.dumps(to_coco(job)), encoding="utf-8")


def to_coco(job: ExportJob) -> dict[str, Any]:
    """A COCO keypoint data set: an image a frame, an annotation for each person in it, whose identity is ``track_id``.

    The 17 keypoints are the body's own, projected into the frame, all with visibility 2. Annotations have a ``score``,
    so that they can serve as results, too (``COCO.loadRes``).
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for frame in job.tracklets:
        height, width = frame.size
        images.append({"id": frame.index, "file_name": frame.name, "width": width, "height": height})
        for row in range(len(frame)):
            annotations.append({"id": len(annotations) + 1, "image_id": frame.index, **_annotation(frame, row)})
    category = {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO_NAMES),
        "skeleton": COCO_SKELETON,
    }
    info = {"description": f"People tracked in {job.name} by 4dhumans"}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": [category]}


def keypoints_17(frame: TrackedFrame) -> NDArray[np.float64]:
    """(N, 17, 2) COCO's keypoints in pixels, from the bodies."""
    return frame.bodies.joints_2d[:, COCO_17].astype(float)


def _annotation(frame: TrackedFrame, row: int) -> dict[str, Any]:
    left, top, right, bottom = (round(value, 2) for value in frame.detections.boxes[row].tolist())
    points = np.concatenate([keypoints_17(frame)[row].round(2), np.full((17, 1), 2)], axis=1)
    annotation: dict[str, Any] = {
        "category_id": PERSON,
        "track_id": int(frame.ids[row]),
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
        "area": round((right - left) * (bottom - top), 2),
        "iscrowd": 0,
        "num_keypoints": 17,
        "keypoints": points.ravel().tolist(),
        "score": round(float(frame.detections.scores[row]), 4),
        "seen": bool(frame.seen[row]),
    }
    mask = (frame.detections.masks or [None] * len(frame))[row]
    if mask is not None:
        rle = to_rle(mask)
        annotation["segmentation"] = {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}
        annotation["area"] = int(mask.pixels.sum())
    return annotation
