"""AVA: ``ava_val_v2.2.csv``, the list of actions that goes with it, and the timestamps that are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fourd_humans.actions.classes import ActionClasses, ava_classes, read_classes
from fourd_humans.errors import FourDHumansError
from fourd_humans.evaluation.actions import FrameKey, LabelledBox, read_boxes
from fourd_humans.evaluation.datasets.files import first_existing
from fourd_humans.files.text import read_csv

VERSIONS = ("v2.2", "v2.1")


@dataclass(frozen=True)
class AnnotatedActions:
    """truth: boxes by frame. classes: those evaluated. excluded: frames that do not count. ignored: rows of others."""

    truth: Mapping[FrameKey, list[LabelledBox]]
    classes: ActionClasses
    excluded: frozenset[FrameKey]
    ignored: int


def read_ava(
    folder: Path,
    split: str = "val",
    *,
    truth: Path | None = None,
    labels: Path | None = None,
    exclude: Path | None = None,
) -> AnnotatedActions:
    """The split's ground truth. truth, labels, exclude: files that stand in for those of the folder.

    The classes evaluated are those of the list of actions, or where the folder has none the 60 of our own list.
    Raises: UsageError where the ground truth is missing; FourDHumansError naming the file and line that is wrong.
    """
    names = [f"{place}ava_{split}_{version}.csv" for version in VERSIONS for place in ("", "annotations/")]
    truth = truth or first_existing(folder, names, f"the {split} ground truth")
    classes = ava_classes()
    labels = labels or _optional(truth.parent, "ava_action_list_*for_activitynet*.pbtxt")
    if labels is not None:
        classes = replace(read_classes(labels), groups=classes.groups)
    exclude = exclude or _optional(truth.parent, f"ava_{split}_excluded_timestamps_*.csv")
    boxes, ignored = read_boxes(truth, classes.numbers, scored=False)
    excluded = _timestamps(exclude) if exclude else frozenset()
    if not boxes:
        raise FourDHumansError(f"{truth} has no boxes of the classes that are evaluated")
    return AnnotatedActions(
        {key: found for key, found in boxes.items() if key not in excluded}, classes, excluded, ignored
    )


def _optional(folder: Path, pattern: str) -> Path | None:
    return max(folder.glob(pattern), default=None)


def _timestamps(path: Path) -> frozenset[FrameKey]:
    rows = [row for _, row in read_csv(path) if row]
    try:
        return frozenset((row[0], f"{int(row[1]):04d}") for row in rows)
    except (IndexError, ValueError) as error:
        raise FourDHumansError(f"{path} does not list videos and timestamps: {error}") from error
