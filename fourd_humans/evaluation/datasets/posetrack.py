"""PoseTrack18 and PoseTrack21: one json for each sequence, such as ``annotations/val/000342_mpii_test.json``.

A file has ``images`` (``file_name``, ``id``, whether ``is_labeled``, ignore regions as polygons) and ``annotations``
(``image_id``, ``track_id``, ``bbox``, 17 keypoints). Only labelled images are evaluated. A polygon counts as the
rectangle around it. A person whose ``bbox`` is missing or has no size gets the rectangle around
the keypoints, a tenth larger on every side.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.body.joints import COCO_17, HEAD_TOP, NECK
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.evaluation.datasets.files import files_in, first_existing
from fourd_humans.evaluation.datasets.people import AnnotatedPeople, join
from fourd_humans.evaluation.datasets.sequences import TrackingSequence
from fourd_humans.evaluation.tracking import FrameBoxes
from fourd_humans.files.coco import read_coco_file

POINTS = (COCO_17[0], NECK, HEAD_TOP, *COCO_17[3:])
"""MotionFeatures of PoseTrack's 17 keypoints: COCO's, with the head's lower and upper end instead of the eyes."""
MARGIN = 0.1  # of the keypoints' extent, on every side


def read_posetrack_sequences(folder: Path, split: str = "val") -> list[TrackingSequence]:
    """The sequences under ``annotations/<split>``, ``posetrack_data/annotations/<split>``, ``<split>`` or `folder`.

    Raises: UsageError where there are none; FourDHumansError naming the file and entry that is wrong.
    """
    return [_read(path, folder)[0] for path in _files(folder, split)]


def read_posetrack_people(folder: Path, split: str = "val") -> AnnotatedPeople:
    """The people with keypoints, for 2D evaluation; errors are measured in the longer side of the box."""
    return join([_read(path, folder)[1] for path in _files(folder, split)])


def _files(folder: Path, split: str) -> list[Path]:
    candidates = [f"annotations/{split}", f"posetrack_data/annotations/{split}", split, "."]
    return files_in(first_existing(folder, candidates, "annotations"), "*.json", "annotations of sequences")


def _read(path: Path, folder: Path) -> tuple[TrackingSequence, AnnotatedPeople]:
    content = read_coco_file(path)
    if content.images is None:
        raise FourDHumansError(f"{path} is no PoseTrack file: it lacks a list of images")
    try:
        images = sorted(content.images, key=lambda image: str(image["file_name"]))
        numbers = {image["id"]: number for number, image in enumerate(images)}
        names = [str(image["file_name"]) for image in images]
    except (KeyError, TypeError) as error:
        raise FourDHumansError(f"{path}: an image has no id and file_name ({error})") from error
    if not images or len(numbers) < len(images):
        raise FourDHumansError(f"{path} has no images, or two with the same id")

    ids: dict[int, list[int]] = defaultdict(list)
    boxes: dict[int, list[Any]] = defaultdict(list)
    keypoints: dict[int, list[Any]] = defaultdict(list)
    left_out: Counter[str] = Counter()
    for index, person in enumerate(content.annotations):
        try:
            number = numbers[person["image_id"]]
            points = _keypoints(person)
            box = _box(person, points)
            if box is None:
                left_out["neither box nor keypoints"] += 1
                continue
            ids[number].append(int(person["track_id"]))
            boxes[number].append(box)
            keypoints[number].append(points)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FourDHumansError(f"{path}, annotation {index} is not valid: {error!r}") from error
    labelled = [n for n, image in enumerate(images) if image.get("is_labeled", n in ids)]
    left_out["frames not annotated"] += len(images) - len(labelled)
    frames = [
        FrameBoxes(np.array(ids[n], np.int64), np.array(boxes[n], float).reshape(-1, 4), _ignored(images[n], path))
        for n in labelled
    ]
    root = next((r for r in (folder, folder / "posetrack_data") if (r / names[0]).exists()), folder)
    tracked = TrackingSequence(
        name=path.stem,
        frames=frames,
        numbers=labelled,
        names=[PurePosixPath(names[n]).name for n in labelled],
        length=len(images),
        images=found if (found := (root / names[0]).parent).is_dir() else None,
        left_out=left_out,
    )
    rows = [(n, k) for n in labelled for k in range(len(ids[n])) if (keypoints[n][k][:, 2] > 0).any()]
    corners = np.array([boxes[n][k] for n, k in rows], float).reshape(-1, 4)
    people = AnnotatedPeople(
        name="posetrack",
        folder=root,
        images=[names[n] for n, _ in rows],
        boxes=corners,
        sizes=(corners[:, 2:] - corners[:, :2]).max(1, initial=0),
        points=POINTS,
        keypoints_2d=np.array([keypoints[n][k] for n, k in rows], float).reshape(-1, 17, 3),
        left_out=Counter({"no keypoint annotated": sum(map(len, ids.values())) - len(rows)}),
    )
    return tracked, people


def _keypoints(person: Mapping[str, Any]) -> NDArray[np.float64]:
    """(17, 3); all zero where there are none."""
    points = np.asarray(person.get("keypoints") or np.zeros(51), float).reshape(17, 3)
    if not np.isfinite(points).all():
        raise ValueError("a keypoint is not finite")
    return points


def _box(person: Mapping[str, Any], points: NDArray[np.float64]) -> list[float] | None:
    """The person's box, or around the keypoints where it has no size or is not there; None without either."""
    left, top, width, height = map(float, person.get("bbox") or (0, 0, 0, 0))
    if not np.isfinite([left, top, width, height]).all():
        raise ValueError(f"its box {person['bbox']} is not finite")
    if width > 0 and height > 0:
        return [left, top, left + width, top + height]
    seen = points[points[:, 2] > 0, :2]
    if len(seen) < 2 or not (np.ptp(seen, axis=0) > 0).all():
        return None
    low, high = seen.min(0), seen.max(0)
    margin = MARGIN * (high - low)
    return [*(low - margin), *(high + margin)]


def _ignored(image: Mapping[str, Any], path: Path) -> NDArray[np.float64]:
    """(M, 4) rectangles around the image's ignore regions, given as lists of x and of y, one for each polygon."""
    xs, ys = image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or []
    if xs and not isinstance(xs[0], list):  # a single polygon
        xs, ys = [xs], [ys]
    try:
        regions = [(min(x), min(y), max(x), max(y)) for x, y in zip(xs, ys, strict=True) if x and y]
        return np.array(regions, float).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise FourDHumansError(f"{path}: the ignore regions of {image['file_name']} are not valid: {error}") from error


def read_posetrack_results(path: Path) -> dict[str, FrameBoxes]:
    """Tracks in PoseTrack's json, by the name of the image file.

    Raises: UsageError where there is no such file; FourDHumansError for what is no such json.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    content = read_coco_file(path)
    try:
        names = {image["id"]: PurePosixPath(image["file_name"]).name for image in content.images or ()}
        rows: dict[str, list[tuple[int, list[float]]]] = {name: [] for name in names.values()}
        for person in content.annotations:
            box = _box(person, _keypoints(person))
            if box is None:
                raise ValueError("a person has neither box nor keypoints")
            rows[names[person["image_id"]]].append((int(person["track_id"]), box))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FourDHumansError(f"{path} holds no PoseTrack results: {error!r}") from error
    return {
        name: FrameBoxes(
            np.array([i for i, _ in found], np.int64), np.array([b for _, b in found], float).reshape(-1, 4)
        )
        for name, found in rows.items()
    }
