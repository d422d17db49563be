"""Reads people's boxes from files: MOT text, COCO json, earlier results. Errors say where in the file they are."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fourd_humans.errors import FourDHumansError
from fourd_humans.people import Float, Mask

log = logging.getLogger(__name__)

MOT_LINES = "MOT lines are numbers: frame, id, left, top, width, height and perhaps more"
PEDESTRIAN = 1  # of MOT's classes
PERSON = 1  # of COCO's category ids
LARGEST = 1e12  # beyond any id, frame or pixel; float32 and integers hold it
COCO_KEYPOINTS = 17


@dataclass(frozen=True)
class AnnotatedBox:
    """One person as a file has it.

    box: x1, y1, x2, y2 in pixels, as written: it may leave the frame. score: in 0..1, 1 where the file says nothing.
    annotation: the identity the file gives, or None. keypoints: (17, 3) x, y, score, or None.
    refused: why the file itself says not to use it, or None.
    """

    box: tuple[float, float, float, float]
    score: float = 1.0
    annotation: int | None = None
    keypoints: Float | None = None
    mask: Mask | None = None
    refused: str | None = None


@dataclass
class BoxFile:
    """The people in a file, by the number of their frame from 0 and, where it tells, by the name of their image."""

    path: Path
    by_number: dict[int, list[AnnotatedBox]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[str, list[AnnotatedBox]] | None = None


def read_mot(path: Path) -> BoxFile:
    """MOT Challenge: ``frame, id, left, top, width, height[, confidence[, class, visibility]]``, frames from 1.

    In ground truth (nine columns) people are used whose confidence is not 0 and whose class is pedestrian.
    """
    boxes = BoxFile(path)
    repaired = clipped = 0
    for number, line in enumerate(_text(path).splitlines(), start=1):
        values = re.split(r"[,;\s]+", line.strip().rstrip(",;"))
        if values == [""] or values[0].startswith("#"):
            continue
        where = f"{path}, line {number}"
        try:
            row = [float(value) for value in values]
        except ValueError as error:
            raise FourDHumansError(f"{where} holds more than numbers; {MOT_LINES}") from error
        if len(row) < 6:
            raise FourDHumansError(f"{where} has only {len(row)} numbers; {MOT_LINES}")
        frame = _whole(row[0], where, "frame number")
        if frame < 1:
            raise FourDHumansError(f"{where}: there is no frame {frame}; MOT counts frames from 1")
        box, was_inverted = _box(row[2:6], where)
        confidence = row[6] if len(row) > 6 and row[6] != -1 else 1.0
        refused = None
        if len(row) in (8, 9) and row[7] >= 0:
            if row[6] == 0:
                refused = "the file marks it as not to be used"
            elif row[7] != PEDESTRIAN:
                refused = f"the file gives it class {row[7]:g}, which is no pedestrian"
        score = min(max(confidence, 0.0), 1.0)
        repaired += was_inverted
        clipped += score != confidence
        identity = _whole(row[1], where, "id")
        boxes.by_number[frame - 1].append(
            AnnotatedBox(box, score, identity if identity >= 0 else None, refused=refused)
        )
    _warn_of_repairs(path, repaired, clipped)
    return boxes


def read_coco(path: Path) -> BoxFile:
    """COCO: ``images`` and ``annotations``, or a list of results. Boxes are ``[left, top, width, height]``.

    An image's frame is its ``frame_id``, or else the number that ends its file name, counted from the first image's if
    that is 0 or 1. In a list of results ``image_id`` is the frame's number from 0, or the image's file name.
    """
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise FourDHumansError(f"{path} is no json: {error}") from error
    if isinstance(content, list):
        images, entries, people = None, content, {PERSON}
    elif isinstance(content, dict) and isinstance(content.get("annotations"), list):
        images, entries = content.get("images"), content["annotations"]
        people = _person_categories(content.get("categories"), path)
    else:
        raise FourDHumansError(f"{path} is no COCO json: it has neither 'annotations' nor a list of results")

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
    for number, entry in enumerate(entries):
        where = f"{path}, {'result' if images is None else 'annotation'} {number}"
        if not isinstance(entry, dict) or "image_id" not in entry or "bbox" not in entry:
            raise FourDHumansError(f"{where} has no 'image_id' and 'bbox'")
        person, was_inverted, was_clipped = _coco_person(entry, people, where)
        repaired += was_inverted
        clipped += was_clipped
        place = _place(entry["image_id"], places, where)
        if place.number is not None:
            boxes.by_number[place.number].append(person)
        if place.name:
            boxes.by_name = boxes.by_name if boxes.by_name is not None else {}
            boxes.by_name.setdefault(place.name, []).append(person)
    _warn_of_repairs(path, repaired, clipped)
    return boxes


@dataclass(frozen=True)
class _Place:
    """The frame of a COCO image: its number from 0 and the name of its file, as far as known."""

    number: int | None
    name: str | None


def _places(images: Any, path: Path) -> dict[Any, _Place]:
    """By the id of an image."""
    if not isinstance(images, list) or not all(
        isinstance(image, dict) and isinstance(image.get("id"), int | str) for image in images
    ):
        raise FourDHumansError(f"{path} is no COCO json: its 'images' are not a list of entries with an 'id'")
    names = [PurePosixPath(str(image.get("file_name", "")).replace("\\", "/")).name for image in images]
    ending = [re.search(r"(\d+)$", PurePosixPath(name).stem) for name in names]
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
            raise FourDHumansError(f"{where} belongs to image {image_id}, which is not among the file's images")
        return places[image_id]
    if isinstance(image_id, str):
        return _Place(None, PurePosixPath(image_id.replace("\\", "/")).name)
    number = _whole(image_id, where, "image_id")
    if number < 0:
        raise FourDHumansError(f"{where}: there is no frame {number}")
    return _Place(number, None)


def _coco_person(entry: dict[str, Any], people: set[int], where: str) -> tuple[AnnotatedBox, bool, bool]:
    """With whether the box had to be turned round and the score to be clipped."""
    bbox = entry["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise FourDHumansError(f"{where}: its bbox is not [left, top, width, height]")
    box, was_inverted = _box(bbox, where)
    given = _number(entry.get("score", 1.0), where, "score")
    score = min(max(given, 0.0), 1.0)
    refused = None
    category = _whole(entry.get("category_id", PERSON), where, "category_id")
    if category not in people:
        refused = f"the file gives it category {category}, which is no person"
    elif entry.get("iscrowd"):
        refused = "the file marks it as a crowd"
    identity = entry.get("track_id", entry.get("instance_id"))
    person = AnnotatedBox(
        box,
        score,
        None if identity is None else _whole(identity, where, "track_id"),
        _keypoints(entry.get("keypoints"), "score" not in entry, where),
        refused=refused,
    )
    return person, was_inverted, score != given


def _keypoints(values: Any, annotated: bool, where: str) -> Float | None:
    """(17, 3) of COCO's flat list. annotated: the third number is a visibility, of which all but 0 means there."""
    if not values:
        return None
    if not isinstance(values, list) or len(values) != 3 * COCO_KEYPOINTS:
        raise FourDHumansError(f"{where}: its keypoints are not {COCO_KEYPOINTS} times x, y, visibility")
    keypoints = np.array([_number(value, where, "keypoint") for value in values], np.float32).reshape(-1, 3)
    if annotated:
        keypoints[:, 2] = keypoints[:, 2] > 0
    return keypoints if keypoints[:, 2].any() else None


def _person_categories(categories: Any, path: Path) -> set[int]:
    """The ids of the category called person; COCO's own where the file lists none."""
    if not categories:
        return {PERSON}
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        raise FourDHumansError(f"{path} is no COCO json: its 'categories' are not a list of entries")
    names = {str(category.get("name", "")).lower(): category.get("id") for category in categories}
    found = {names[name] for name in ("person", "pedestrian", "human", "people") if name in names}
    if not found:
        raise FourDHumansError(f"{path} has no category called person, but {', '.join(sorted(names))}")
    return found


def _box(values: Iterable[Any], where: str) -> tuple[tuple[float, float, float, float], bool]:
    """left, top, width, height as x1, y1, x2, y2, with whether a side was negative and the corners are exchanged."""
    left, top, width, height = (_number(value, where, "box") for value in values)
    x1, x2 = sorted((left, left + width))
    y1, y2 = sorted((top, top + height))
    return (x1, y1, x2, y2), width < 0 or height < 0


def _number(value: Any, where: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise FourDHumansError(f"{where}: {str(value)[:30]!r} in its {what} is no sensible number")
    return float(value)


def _whole(value: Any, where: str, what: str) -> int:
    number = _number(value, where, what)
    if number != round(number):
        raise FourDHumansError(f"{where}: its {what} {value} is no whole number")
    return round(number)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FourDHumansError(f"{path} is no text file") from error


def _warn_of_repairs(path: Path, repaired: int, clipped: int) -> None:
    if repaired:
        log.warning("%s: %d boxes have a negative width or height; their corners are exchanged", path, repaired)
    if clipped:
        log.warning("%s: %d scores are not between 0 and 1 and are clipped", path, clipped)


def warn_of_repeated_ids(boxes: BoxFile) -> None:
    """An identity twice in a frame is a contradiction, but boxes are what is used, so all are."""
    twice = []
    for frame, people in sorted(boxes.by_number.items()):
        ids = [person.annotation for person in people if person.annotation is not None and not person.refused]
        twice += [(frame, identity) for identity in sorted({i for i in ids if ids.count(i) > 1})]
    if twice:
        frame, identity = twice[0]
        log.warning(
            "%s: %d times an id stands twice in a frame, first id %d in frame %d (from 0); all boxes are used",
            boxes.path, len(twice), identity, frame,
        )  # fmt: skip
