"""Recoveries judged by action recognition (supplement S.7): the same network trained anew on each one's poses."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourd_humans.actions.ava import score_tracklet_files
from fourd_humans.actions.checkpoint import ActionModel, load_action_model
from fourd_humans.actions.classes import ActionClasses
from fourd_humans.actions.formats import ava_rows_of_results, write_ava
from fourd_humans.actions.recognition import recognise
from fourd_humans.actions.tracklet_files import NAME
from fourd_humans.errors import UsageError
from fourd_humans.evaluation.actions import ActionScores, evaluate_actions, read_boxes
from fourd_humans.evaluation.datasets.ava import AnnotatedActions
from fourd_humans.results import load_tracklets
from fourd_humans.training.actions.data import (
    Annotation,
    Example,
    read_annotated_results,
    read_tracklet_folder,
)
from fourd_humans.training.actions.training import Recipe, train_actions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecoveryPoses:
    """One recovery's poses: a folder to train on and one to measure on, each of LART tracklet files or of results."""

    name: str
    training: Path
    validation: Path


def evaluate_recovery(
    recovery: RecoveryPoses,
    truth: AnnotatedActions,
    annotations: Sequence[Annotation] | None,
    settings: Mapping[str, Any],
    recipe: Recipe,
    output: Path,
    **options: Any,
) -> ActionScores:
    """Train on the poses of `recovery` and measure on its others; weights and predictions go to `output`.

    annotations: of the training videos, where they are results. Weights that are there already are used.
    options: of `train_actions`.
    """
    weights = output / "actions.safetensors"
    if not weights.exists():
        examples = training_examples(recovery.training, truth.classes, annotations)
        train_actions(examples, [], settings, truth.classes, recipe, output, **options)
    rows = predictions(load_action_model(weights), recovery.validation)
    csv_file = output / "predictions.csv"
    write_ava(csv_file, rows)
    boxes, _ = read_boxes(csv_file, truth.classes.numbers, scored=True)
    kept = {key: found for key, found in boxes.items() if key not in truth.excluded}
    return evaluate_actions(truth.truth, kept, truth.classes.numbers, truth.classes.groups)


def training_examples(folder: Path, classes: ActionClasses, annotations: Sequence[Annotation] | None) -> list[Example]:
    """Of tracklet files, which hold their labels, or of results with `annotations`."""
    if holds_tracklet_files(folder):
        return read_tracklet_folder(folder, classes)
    if annotations is None:
        raise UsageError(f"{folder} has no tracklet files; results need annotations: give --labels CSV")
    return read_annotated_results([folder], annotations, len(classes))


def predictions(model: ActionModel, folder: Path) -> list[list[Any]]:
    """Rows of AVA's csv from tracklet files, or from results named by their video."""
    if holds_tracklet_files(folder):
        return score_tracklet_files(model, folder)
    rows: list[list[Any]] = []
    files = sorted(folder.rglob("*.pkl"))
    if not files:
        raise UsageError(f"there are no .pkl files in {folder}")
    for file in files:
        found = recognise(load_tracklets(file), model)
        rows += ava_rows_of_results(file.stem, found.tracklets.frames, found.people, model.classes)
    return rows


def holds_tracklet_files(folder: Path) -> bool:
    return any(NAME.fullmatch(path.stem) for path in folder.rglob("*.pkl"))
