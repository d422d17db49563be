"""``4dhumans evaluate recoveries``: which recovery's poses tell most of what people do."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from fourd_humans.cli.train_actions import NETWORKS
from fourd_humans.errors import UsageError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
GROUPS = {"object manipulation": "OM", "person interaction": "PI", "person movement": "PM"}


@click.command(name="recoveries")
@click.argument("ava", type=_FOLDER)
@click.option("--recovery", "recoveries", multiple=True, required=True, nargs=3, metavar="NAME TRAIN VAL",
              help="A recovery's poses to train on and to measure on: folders of LART tracklet files or of results. "
                   "Repeat for each recovery.")  # fmt: skip
@click.option("--labels", type=_FILE, metavar="CSV", help="Annotations of the training videos, where they are results.")
@click.option("--truth", type=_FILE, metavar="CSV", help="Ground truth.  [default: ava_val_v2.2.csv in AVA]")
@click.option("--classes", "class_file", type=_FILE, metavar="PBTXT", help="[default: AVA's list, or our list of 60]")
@click.option("--network", type=click.Choice(["pose", "pose-512", "pose-joints", "lite"]), default="pose",
              show_default=True)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=None, help="[default: 30]")
@click.option("--people", type=click.IntRange(1), default=5, show_default=True, help="People of a scene.")
@click.option("--accelerator", default="auto", show_default=True)
@click.option("--devices", default="auto", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("outputs/evaluation/recoveries"),
              show_default=True, metavar="DIR", help="Folder for the table and the weights.")  # fmt: skip
def recoveries_command(
    ava: Path,
    recoveries: tuple[tuple[str, str, str], ...],
    labels: Path | None,
    truth: Path | None,
    class_file: Path | None,
    network: str,
    epochs: int | None,
    people: int,
    output: Path,
    **options: Any,
) -> None:
    """Judge recoveries by action recognition, as the supplement's section S.7 does.

    Trains the same pose-only network on the poses of each recovery, and lists the mAP on AVA of object manipulation,
    person interaction, person movement and all. AVA is the folder of its annotations. A recovery whose folder in
    --output has weights is not trained again.
    """
    try:
        import lightning  # noqa: F401
        import timm  # noqa: F401
    except ImportError as error:
        raise UsageError("training needs Lightning and timm: pip install 'fourd-humans[train]'") from error
    from fourd_humans.evaluation.datasets.ava import read_ava
    from fourd_humans.evaluation.report import Report
    from fourd_humans.training.actions.comparison import RecoveryPoses, evaluate_recovery
    from fourd_humans.training.actions.data import read_annotations
    from fourd_humans.training.actions.training import RECIPES

    chosen = [RecoveryPoses(name, Path(train), Path(val)) for name, train, val in recoveries]
    for recovery in chosen:
        for folder in (recovery.training, recovery.validation):
            if not folder.is_dir():
                raise UsageError(f"--recovery {recovery.name}: there is no folder {folder}")
    if len({recovery.name for recovery in chosen}) < len(chosen):
        raise UsageError("each recovery needs a name of its own")
    data = read_ava(ava, truth=truth, labels=class_file)
    annotations = read_annotations(labels, data.classes)[0] if labels is not None else None
    recipe = RECIPES["finetune"] if epochs is None else replace(RECIPES["finetune"], epochs=epochs)
    rows: list[dict[str, str | float | int]] = []
    for recovery in chosen:
        scores = evaluate_recovery(
            recovery, data, annotations, NETWORKS[network], recipe, output / recovery.name,
            people=min(people, NETWORKS[network].get("people", people)), progress=False, **options,
        )  # fmt: skip
        groups = {short: scores.groups[group] for group, short in GROUPS.items()}
        rows.append({"recovery": recovery.name, **groups, "all": scores.mean})
        click.echo(f"{recovery.name}: mAP {scores.mean:.4f}")
    settings = {
        "ava": ava, "recoveries": [list(map(str, each)) for each in recoveries], "network": network,
        "recipe": asdict(recipe), "labels": labels,
    }  # fmt: skip
    report = Report("Recoveries judged by action recognition: AVA mAP", rows, settings)
    report.show()
    written = report.save(output / "recoveries")
    click.echo(f"written to {written[0]} and {written[1].name}")
