"""``4dhumans evaluate motion``: how well motion is predicted ahead and filled in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fourd_humans.errors import UsageError

HELD_OUT_SEED = 1_000_000  # far from the seeds of any training run


@click.command(name="motion")
@click.option(
    "--data",
    "folders",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of result files, or one file; may be given several times.",
)
@click.option("--synthetic", default=0, show_default=True, help="So many made-up people instead or as well.")
@click.option("--checkpoint", default=None, type=click.Path(path_type=Path), help="[default: the built-in network]")
@click.option("--json", "json_file", default=None, type=click.Path(path_type=Path),
              help="Also write the table here.")  # fmt: skip
def motion_command(folders: tuple[Path, ...], synthetic: int, checkpoint: Path | None, json_file: Path | None) -> None:
    """Mean joint error (mm) of poses predicted ahead and filled in, against holding, turning on, and slerp.

    Measured on stretches of tracklets where the person was seen all the time, against what was recovered there.
    Recorded and synthetic tracklets are listed apart.
    """
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from fourd_humans.body.model import BodyModel
    from fourd_humans.evaluation.motion import evaluate_motion
    from fourd_humans.motion.checkpoint import BUILT_IN, load_pose_transformer
    from fourd_humans.motion.clips import read_clips, synthetic_clips

    if not folders and not synthetic:
        raise UsageError("nothing to measure on: give --data FOLDER, --synthetic COUNT or both")
    network, body_model = load_pose_transformer(checkpoint or BUILT_IN), BodyModel.open_body()
    sets = {"recorded": read_clips(folders), "synthetic": synthetic_clips(synthetic, 160, HELD_OUT_SEED)}
    results = {name: evaluate_motion(clips, network, body_model) for name, clips in sets.items() if clips}
    for name, rows in results.items():
        methods = list(dict.fromkeys(method for row in rows for method in row.errors))
        table = Table("task", "frames", "samples", *methods, title=f"{name}: mean joint error, mm")
        for row in rows:
            errors = [f"{row.errors[method]:.1f}" if method in row.errors else "" for method in methods]
            table.add_row(row.task, str(row.frames), str(row.samples), *errors)
        Console().print(table)
    if json_file is not None:
        rows_of = {name: [asdict(row) for row in rows] for name, rows in results.items()}
        json_file.write_text(json.dumps(rows_of, indent=2) + "\n", encoding="utf-8")
