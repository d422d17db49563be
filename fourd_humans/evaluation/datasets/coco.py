"""COCO keypoints: ``annotations/person_keypoints_val2017.json`` beside the folder ``val2017`` of images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from fourd_humans.body.joints import COCO_17
from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.datasets.files import first_existing
from fourd_humans.evaluation.datasets.people import AnnotatedPeople
from fourd_humans.files.coco import PERSON, read_coco_file


def read_coco_keypoints(folder: Path, split: str = "val2017") -> AnnotatedPeople:
    """People with keypoints; those without any, and crowds, are left out and counted, as COCO's own evaluation does.

    Errors are measured in the longer side of the annotated box.
    Raises: UsageError where files are missing; FourDHumansError naming the file and entry that is wrong.
    """
    path = first_existing(folder, [f"annotations/person_keypoints_{split}.json"], "the keypoint annotations")
    content = read_coco_file(path)
    if content.images is None:
        raise FourDHumansError(f"{path} is no COCO file: it lacks a list of images")
    files = {}
    for image in content.images:
        if not isinstance(image.get("id"), int | str) or not isinstance(image.get("file_name"), str):
            raise FourDHumansError(f"{path}: an image has no id and file_name")
        files[image["id"]] = image["file_name"]
    images: list[str] = []
    boxes: list[Any] = []
    keypoints: list[Any] = []
    left_out: Counter[str] = Counter()
    for number, person in enumerate(content.annotations):
        where = f"{path}, annotation {str(person.get('id', number))[:30]}"
        try:
            if person.get("category_id", PERSON) != PERSON:
                left_out["no person"] += 1
            elif person.get("iscrowd"):
                left_out["crowd"] += 1
            elif not person.get("num_keypoints", 1):
                left_out["no keypoint annotated"] += 1
            else:
                left, top, width, height = map(float, person["bbox"])
                points = np.asarray(person["keypoints"], float).reshape(17, 3)
                if not (np.isfinite([left, top]).all() and width > 0 and height > 0 and np.isfinite(points).all()):
                    raise ValueError("its box has no size, or a number is not finite")
                images.append(files[person["image_id"]])
                boxes.append((left, top, left + width, top + height))
                keypoints.append(np.column_stack([points[:, :2], points[:, 2] > 0]))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FourDHumansError(f"{where} is no annotated person: {error!r}") from error
    corners = np.array(boxes, float).reshape(-1, 4)
    return AnnotatedPeople(
        name="coco",
        folder=folder / split if (folder / split).is_dir() else folder,
        images=images,
        boxes=corners,
        sizes=(corners[:, 2:] - corners[:, :2]).max(1, initial=0),
        points=COCO_17,
        keypoints_2d=np.array(keypoints, float).reshape(-1, 17, 3),
        left_out=left_out,
    )
