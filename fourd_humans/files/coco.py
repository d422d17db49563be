"""COCO's json: images with annotations, or a list of results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.boxes import AnnotatedBox, BoxFile, corners_of, number_in, warn_of_repairs, whole_in
from fourd_humans.files.text import read_json
from fourd_humans.people import Float

PERSON = 1  # of COCO's category ids
COCO_KEYPOINTS = 17
CONFIDENT = 0.3  # score of keypoints that a box is put around, where the file has none
BOX_MARGIN = 0.08  # of that box, over the longer side: heads, hands and feet reach beyond the keypoints


@dataclass(frozen=True)
class CocoFile:
    """The entries of a file as they are. images: None in a list of results, whose entries are the annotations."""

    images: list[dict[str, Any]] | None
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]


def read_coco_file(path: Path) -> CocoFile:
    """Raises: FourDHumansError naming the file, if it cannot be read or is no COCO json."""
    content = read_json(path)
    parts: list[Any] = [None, content, []]
    if isinstance(content, dict):
        parts = [content.get("images"), content.get("annotations"), content.get("categories") or []]
    if not isinstance(parts[1], list):
        raise FourDHumansError(f"{path} is no COCO json: it has neither 'annotations' nor a list of results")
    names = ("image", "result" if isinstance(content, list) else "annotation", "category")
    for name, entries in zip(names, parts, strict=True):
        if not isinstance(entries, list | None):
            raise FourDHumansError(f"{path} is no COCO json: its {name} entries are no list")
        wrong = next((n for n, entry in enumerate(entries or ()) if not isinstance(entry, dict)), None)
        if wrong is not None:
            raise FourDHumansError(f"{path}, {name} {wrong} has no fields")
    return CocoFile(parts[0], parts[1], parts[2])


def read_coco(path: Path) -> BoxFile:
    """COCO: ``images`` and ``annotations``, or a list of results. Boxes are ``[left, top, width, height]``.

    An image's frame is its ``frame_id``, or else the number that ends its file name, counted from the first image's if
    that is 0 or 1. In a list of results ``image_id`` is the frame's number from 0, or the image's file name.
    """
    file = read_coco_file(path)
    images, people = file.images, _person_categories(file.categories, path)
    boxes = BoxFile(path)
    places = _places(images, path) if images else None
    if places:
        boxes.by_name = {}
        for place in places.values():
            if place.name:
                if place.name in boxes.by_name:
                    raise FourDHumansError(f"{path} has several images called {place.name}; give a file with one video")
                boxes.by_name[place.name] = []
    repaired = clipped = 0
    for number, entry in enumerate(file.annotations):
        where = f"{path}, {'result' if images is None else 'annotation'} {number}"
        if "image_id" not in entry or not ("bbox" in entry or entry.get("keypoints")):
            raise FourDHumansError(f"{where} has no 'image_id' and 'bbox'")
        person, was_inverted, was_clipped = _coco_person(entry, people, where)
        repaired += was_inverted
        clipped += was_clipped
        place = _place(entry["image_id"], places, where)
        boxes.add(person, place.number, place.name, where)
    warn_of_repairs(path, repaired, clipped)
    return boxes


@dataclass(frozen=True)
class _Place:
    """The frame of a COCO image: its number from 0 and the name of its file, as far as known."""

    number: int | None
    name: str | None


def _places(images: Sequence[Mapping[str, Any]], path: Path) -> dict[Any, _Place]:
    """By the id of an image."""
    if not all(isinstance(image.get("id"), int | str) for image in images):
        raise FourDHumansError(f"{path} is no COCO json: its 'images' are not a list of entries with an 'id'")
    names = [PurePosixPath(str(image.get("file_name", "")).replace("\\", "/")).name for image in images]
    ending = [re.search(r"(\d{1,15})$", PurePosixPath(name).stem) for name in names]
    numbers = [None if digits is None else int(digits[1]) for digits in ending]
    first = min((number for number in numbers if number is not None), default=0)
    from_one = 1 if first == 1 else 0
    places = {}
    for image, name, number in zip(images, names, numbers, strict=True):
        if isinstance(image.get("frame_id"), int):
            places[image["id"]] = _Place(image["frame_id"], name or None)
        else:
            places[image["id"]] = _Place(None if number is None else number - from_one, name or None)
    if len(places) < len(images):
        raise FourDHumansError(f"{path} has several images with the same id")
    return places


def _place(image_id: Any, places: Mapping[Any, _Place] | None, where: str) -> _Place:
    if places is not None:
        if not isinstance(image_id, int | str) or image_id not in places:
            raise FourDHumansError(
                f"{where} belongs to image {str(image_id)[:60]}, which is not among the file's images"
            )
        return places[image_id]
    if isinstance(image_id, str):
        return _Place(None, PurePosixPath(image_id.replace("\\", "/")).name)
    number = whole_in(image_id, where, "image_id")
    if number < 0:
        raise FourDHumansError(f"{where}: there is no frame {number}")
    return _Place(number, None)


def _coco_person(entry: dict[str, Any], people: set[int], where: str) -> tuple[AnnotatedBox, bool, bool]:
    """With whether the box had to be turned round and the score to be clipped."""
    keypoints = _keypoints(entry.get("keypoints"), "score" not in entry, where)
    bbox = entry["bbox"] if "bbox" in entry else _box_of(keypoints)
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise FourDHumansError(f"{where}: its bbox is not [left, top, width, height]")
    box, was_inverted = corners_of(bbox, where)
    given = number_in(entry.get("score", 1.0), where, "score")
    score = min(max(given, 0.0), 1.0)
    refused = None
    category = whole_in(entry.get("category_id", PERSON), where, "category_id")
    if category not in people:
        refused = f"the file gives it category {category}, which is no person"
    elif entry.get("iscrowd"):
        refused = "the file marks it as a crowd"
    identity = entry.get("track_id", entry.get("instance_id"))
    person = AnnotatedBox(
        box,
        score,
        None if identity is None else whole_in(identity, where, "track_id"),
        keypoints,
        refused=refused,
    )
    return person, was_inverted, score != given


def _keypoints(values: Any, annotated: bool, where: str) -> Float | None:
    """(17, 3) of COCO's flat list. annotated: the third number is a visibility, of which all but 0 means there."""
    if not values:
        return None
    if not isinstance(values, list) or len(values) != 3 * COCO_KEYPOINTS:
        raise FourDHumansError(f"{where}: its keypoints are not {COCO_KEYPOINTS} times x, y, visibility")
    keypoints = np.array([number_in(value, where, "keypoint") for value in values], np.float32).reshape(-1, 3)
    if annotated:
        keypoints[:, 2] = keypoints[:, 2] > 0
    return keypoints if keypoints[:, 2].any() else None


def _box_of(keypoints: Float | None) -> list[float]:
    """[left, top, width, height] around keypoints, for results without boxes, which some pose estimators write; without
    area where no keypoint is confident."""
    seen = np.zeros((0, 2)) if keypoints is None else keypoints[keypoints[:, 2] >= CONFIDENT, :2].astype(float)
    if not len(seen):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = seen.min(0), seen.max(0)
    margin = BOX_MARGIN * float((high - low).max())
    return [*(low - margin).tolist(), *(high - low + 2 * margin).tolist()]


def _person_categories(categories: Sequence[Mapping[str, Any]], path: Path) -> set[int]:
    """The ids of the category called person; COCO's own where the file lists none."""
    if not categories:
        return {PERSON}
    names = {str(category.get("name", ""))[:60].lower(): category.get("id") for category in categories}
    people = [name for name in ("person", "pedestrian", "human", "people") if name in names]
    found = {whole_in(names[name], str(path), "category id") for name in people}
    if not found:
        raise FourDHumansError(f"{path} has no category called person, but {', '.join(sorted(names))[:200]}")
    return found
