#!/usr/bin/env python
"""What the chain reaches on the demo scene: with the true boxes and bodies given, and with its own detector.

The scene has exact ground truth and nothing is tuned to it; see docs/evaluation.md for how to read the figures.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from demo_scene.measures import GroundTruthStages, SceneScores, measure, read_truth
from demo_scene.scene import make_demo_scene
from rich.console import Console
from rich.table import Table

from fourd_humans.config import default_config, merge
from fourd_humans.pipeline import Pipeline


@click.command(help=__doc__)
@click.option("--scene", type=click.Path(path_type=Path), help="Folder of a scene that was made before.")
@click.option("--width", default=960, show_default=True)
@click.option("--height", default=540, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(scene: Path | None, width: int, height: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = scene or Path(temporary)
        if scene is None or not (scene / "truth.npz").exists():
            make_demo_scene(folder, (height, width), seed=seed)
        truth = read_truth(folder / "truth.npz")
        config = merge(default_config(), {"camera": {"focal_length": truth.intrinsics.focal_length}})
        given = GroundTruthStages(truth)
        runs = {
            "true boxes and bodies": Pipeline(config, detector=given.detect, recovery=given.recover),
            "true boxes": Pipeline(config, detector=given.detect),
            "built-in detector": Pipeline(config),
        }
        found = {name: measure(pipeline.run(folder / "scene.mp4"), truth) for name, pipeline in runs.items()}
    columns = {name: _figures(scores) for name, scores in found.items()}
    table = Table("", *columns, title=f"{width}x{height}, {len(truth.in_sight)} frames, longest hidden "
                  f"{truth.longest_hidden().max() / float(truth.arrays['frame_rate']):.1f} s")  # fmt: skip
    for row in next(iter(columns.values())):
        table.add_row(row, *(column[row] for column in columns.values()))
    Console(width=140).print(table)


def _figures(scores: SceneScores) -> dict[str, str]:
    tracking = scores.tracking
    return {
        "HOTA": f"{100 * tracking.hota:.1f}",
        "MOTA": f"{100 * tracking.mota:.1f}",
        "IDF1": f"{100 * tracking.idf1:.1f}",
        "ID switches": str(tracking.switches),
        "missed / false, of people": f"{tracking.missed} / {tracking.false}, {tracking.people}",
        "identities of each person": "; ".join(",".join(map(str, ids)) or "–" for ids in scores.identities.values()),
        "hidden frames filled in": f"{scores.completed} of {scores.hidden}",
        "their MPJPE, mm": f"{scores.completion_error:.1f}",
        "  of holding the last pose": f"{scores.held_error:.1f}",
        "  distance from their place, m": f"{scores.completion_place:.2f}",
        "MPJPE seen, mm": f"{scores.pose_error:.1f}",
        "PA-MPJPE seen, mm": f"{scores.pose_error_aligned:.1f}",
    }


if __name__ == "__main__":
    main()
