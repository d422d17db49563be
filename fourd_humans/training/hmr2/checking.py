"""Reads a whole data set: what is in it, what the filters would do with it, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError
from fourd_humans.training.hmr2.annotations import PersonAnnotation
from fourd_humans.training.hmr2.augmentation import Augmentation, Draw, cut_out
from fourd_humans.training.hmr2.datasets import DataSet
from fourd_humans.training.hmr2.filters import Filters, filter_person
from fourd_humans.training.hmr2.tars import Sample

SHEET = (4, 6)  # rows and columns of people
MOST_PROBLEMS = 20  # that are kept word for word


@dataclass
class Description:
    """What a data set holds.

    shards: tars, or parts of an npz. with_…: people who have it. box_sides: the longer side of each box in pixels.
    keypoints: 2D keypoints of each person. kept: people who pass the filters; refused: what they refused, by reason.
    problems: files that cannot be read, and numbers that make no sense. sheet: people with their keypoints, to look at.
    """

    name: str
    shards: int = 0
    pictures: int = 0
    people: int = 0
    with_pose: int = 0
    with_betas: int = 0
    with_3d: int = 0
    with_2d: int = 0
    with_masks: int = 0
    kept: int = 0
    box_sides: list[float] = field(default_factory=list)
    keypoints: list[int] = field(default_factory=list)
    shape_spaces: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    sheet: NDArray[np.uint8] | None = None


def describe(data_set: DataSet, filters: Filters, *, decode: bool = True) -> Description:
    """Read all of it. decode: pictures and masks too, which takes longer."""
    found = Description(data_set.name)
    crops: list[NDArray[np.uint8]] = []
    keys: set[str] = set()
    found.shards = len(data_set.shards)
    for shard in data_set.shards:
        try:
            for sample in data_set.read(shard, masks=True):
                found.pictures += 1
                if sample.key in keys:
                    _problem(found, f"several pictures are called {sample.key}")
                keys.add(sample.key)
                image = _decoded(sample, found) if decode else None
                for person in sample.people:
                    _count(found, person, sample, filters)
                    if image is not None:
                        _check(found, person, sample, image)
                        if len(crops) < SHEET[0] * SHEET[1]:
                            crops.append(_crop(person, image))
        except FourDHumansError as error:
            _problem(found, str(error))
    if crops:
        rows = [crops[i : i + SHEET[1]] for i in range(0, len(crops), SHEET[1])]
        blank = np.zeros_like(crops[0])
        found.sheet = np.vstack([np.hstack([*row, *[blank] * (SHEET[1] - len(row))]) for row in rows])
    return found


def _decoded(sample: Sample, found: Description) -> NDArray[np.uint8] | None:
    try:
        return sample.decode_image()
    except FourDHumansError as error:
        _problem(found, str(error))
        return None


def _count(found: Description, person: PersonAnnotation, sample: Sample, filters: Filters) -> None:
    found.people += 1
    found.with_pose += person.has_body_pose
    found.with_betas += person.has_betas
    found.with_3d += bool((person.keypoints_3d[:, 3] > 0).any())
    found.with_2d += bool((person.keypoints_2d[:, 2] > 0).any())
    found.with_masks += person.mask is not None and sample.masks is not None
    found.box_sides.append(float(person.box_size.max()))
    found.keypoints.append(int((person.keypoints_2d[:, 2] > 0).sum()))
    if person.has_betas:
        found.shape_spaces[person.shape_space] += 1
    found.kept += filter_person(person, filters, found.refused) is not None


def _check(found: Description, person: PersonAnnotation, sample: Sample, image: NDArray[np.uint8]) -> None:
    height, width = image.shape[:2]
    where = f"{sample.source}: {sample.key}"
    low, high = person.center - person.box_size / 2, person.center + person.box_size / 2
    if (high <= 0).any() or low[0] >= width or low[1] >= height:
        _problem(found, f"{where}: a person's box lies outside the picture")
    confident = person.keypoints_2d[person.keypoints_2d[:, 2] > 0, :2]
    margin = 2 * float(person.box_size.max())
    if len(confident) and (np.abs(confident - person.center) > margin).any():
        _problem(found, f"{where}: a person's keypoints lie far from the box")
    if sample.masks is not None and person.mask is not None:
        try:
            mask = sample.decode_mask(person)
        except FourDHumansError as error:
            _problem(found, str(error))
        else:
            if mask is None or mask.shape != (height, width):
                _problem(found, f"{where}: a person's mask is missing or not of the picture's size")


def _problem(found: Description, text: str) -> None:
    kept = len(found.problems) < MOST_PROBLEMS or text in found.problems
    found.problems[text if kept else "other problems"] += 1


def _crop(person: PersonAnnotation, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The person as cut out for the network, with a dot on each keypoint."""
    cut = cut_out(person, image, Draw(), Augmentation())
    crop = cut["image"].numpy().copy()
    for x, y, confidence in cut["keypoints_2d"].numpy():
        column, row = ((np.array([x, y]) + 0.5) * len(crop)).round().astype(int)
        if confidence > 0 and 2 <= row < len(crop) - 2 and 2 <= column < len(crop) - 2:
            crop[row - 2 : row + 3, column - 2 : column + 3] = (0, 255, 0)
    return crop
