"""Data sets from what one has: pictures, or a video, with our own results or COCO annotations of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.coco import read_coco
from fourd_humans.geometry.rotations import matrix_to_axis_angle
from fourd_humans.people import Float, Frame, TrackedFrame
from fourd_humans.results import load_tracklets
from fourd_humans.training.hmr2.annotations import (
    NUM_KEYPOINTS,
    PersonAnnotation,
    coco_keypoints,
    from_box,
)
from fourd_humans.training.hmr2.tars import TarWriter
from fourd_humans.video import open_source

log = logging.getLogger(__name__)

KEPT_AS_THEY_ARE = (".jpg", ".jpeg", ".png")
Annotated = tuple[list[PersonAnnotation], NDArray[np.bool_] | None]


def make_data_set(
    pictures: Path,
    annotations: Path,
    output: Path,
    *,
    least_score: float = 0.5,
    every: int = 1,
    masks: bool = False,
) -> Counter[str]:
    """Write tars into `output` of the pictures in which somebody is annotated.

    pictures: a folder of images, or a video. annotations: a result file of `4dhumans track` on them, whose bodies
    become pose, shape and 3D keypoints, or COCO json. least_score: of a detection. every: take one picture of so many.
    masks: keep those of result files. Returns counts of what was written and left out.
    Raises: UsageError, FourDHumansError for files that cannot be read or do not belong together.
    """
    counts: Counter[str] = Counter()
    if annotations.suffix == ".json":
        annotated = _from_coco(annotations, least_score, counts)
    else:
        annotated = _from_results(annotations, least_score, counts, masks)
    with TarWriter(output) as writer:
        for frame in open_source(pictures):
            if frame.index % every:
                continue
            if not isinstance(frame, Frame):
                counts["pictures that cannot be read"] += 1
                log.warning("left out: %s", frame.reason)
                continue
            people, own_masks = annotated(frame)
            if not people:
                counts["pictures without people"] += 1
                continue
            writer.write(_key(frame.name), _picture(pictures, frame), people, own_masks)
            counts["pictures"] += 1
            counts["people"] += len(people)
    if not counts["people"]:
        raise FourDHumansError(f"{annotations} has nobody in the pictures of {pictures}; do they belong together?")
    return counts


def person_of(frame: TrackedFrame, index: int) -> PersonAnnotation:
    """One of a result's people as an annotation.

    2D keypoints are the detected ones where there are any, else the body's own joints; 3D keypoints are the body's.
    """
    bodies, detections = frame.bodies[index], frame.detections
    joints_3d = bodies.joints_3d[0, :NUM_KEYPOINTS]
    if detections.keypoints is not None and (detections.keypoints[index, :, 2] > 0).any():
        keypoints = coco_keypoints(detections.keypoints[index])
    else:
        keypoints = _with_confidence(bodies.joints_2d[0, :NUM_KEYPOINTS])
    rotations = np.concatenate([bodies.global_orient, bodies.body_pose], 1)[0]
    pose = matrix_to_axis_angle(torch.from_numpy(rotations.astype(np.float32))).numpy().reshape(72)
    return from_box(
        detections.boxes[index],
        keypoints_2d=keypoints,
        keypoints_3d=_with_confidence(joints_3d),
        body_pose=pose,
        betas=bodies.betas[0].astype(np.float32),
        has_body_pose=True,
        has_betas=True,
        shape_space=bodies.shape_space,
    )


def _from_results(path: Path, least_score: float, counts: Counter[str], masks: bool) -> Callable[[Frame], Annotated]:
    frames = {frame.name: frame for frame in load_tracklets(path)}

    def annotated(picture: Frame) -> Annotated:
        frame = frames.get(picture.name)
        if frame is None:
            return [], None
        people: list[PersonAnnotation] = []
        kept: list[NDArray[np.bool_]] = []
        for index in np.flatnonzero(frame.seen).tolist():
            if frame.detections.scores[index] < least_score:
                counts["people below the least score"] += 1
                continue
            mask = frame.detections.masks[index] if masks and frame.detections.masks is not None else None
            person = person_of(frame, index)
            if mask is not None:
                person = replace(person, mask=len(kept))
                kept.append(mask.full())
            people.append(person)
        return people, np.stack(kept) if kept else None

    return annotated


def _from_coco(path: Path, least_score: float, counts: Counter[str]) -> Callable[[Frame], Annotated]:
    file = read_coco(path)

    def annotated(picture: Frame) -> Annotated:
        boxes = file.by_number.get(picture.index, []) if file.by_name is None else file.by_name.get(picture.name, [])
        people = []
        for box in boxes:
            x0, y0, x1, y1 = box.box
            if box.refused is not None:
                counts["people that the file refuses"] += 1
            elif box.keypoints is None:
                counts["people without keypoints"] += 1
            elif box.score < least_score:
                counts["people below the least score"] += 1
            elif not (x1 > x0 and y1 > y0):
                counts["people whose box has no size"] += 1
            else:
                people.append(from_box(np.array(box.box), keypoints_2d=coco_keypoints(box.keypoints)))
        return people, None

    return annotated


def _with_confidence(points: NDArray[np.floating]) -> Float:
    return np.concatenate([points, np.ones((len(points), 1))], 1).astype(np.float32)


def _key(name: str) -> str:
    """Of a sample: the name of the picture, without the dots that end a key."""
    return Path(name).stem.replace(".", "_").lstrip("_") or "picture"


def _picture(pictures: Path, frame: Frame) -> NDArray[np.uint8] | Path:
    """The file itself where it is a JPEG or PNG that lies upright; else the pixels."""
    path = pictures / frame.name if pictures.is_dir() else pictures
    if path.suffix.lower() not in KEPT_AS_THEY_ARE:
        return frame.image
    try:
        with Image.open(path) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1 and image.format in ("JPEG", "PNG")
    except (OSError, ValueError, SyntaxError):
        return frame.image
    return path if upright else frame.image
