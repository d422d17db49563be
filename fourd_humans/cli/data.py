"""``4dhumans data``: data sets to train HMR 2.0 on, made and checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fourd_humans.errors import FourDHumansError, UsageError

if TYPE_CHECKING:
    from fourd_humans.training.hmr2.checking import Description

_EXISTING = click.Path(exists=True, path_type=Path)


@click.group()
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def data(ctx: click.Context, verbose: bool) -> None:
    """Make and check data sets to train HMR 2.0 on: docs/training.md."""
    ctx.meta["verbose"] = verbose


@data.command()
@click.argument("pictures", type=_EXISTING)
@click.argument("annotations", type=_EXISTING)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the tars.")
@click.option("--least-score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of a detection.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Take one picture of so many.")
@click.option("--masks", is_flag=True, help="Keep the masks of result files.")
def make(pictures: Path, annotations: Path, output: Path, least_score: float, every: int, masks: bool) -> None:
    """Make a data set of PICTURES, a folder of images or a video, and ANNOTATIONS of them.

    \b
    ANNOTATIONS is a result file of '4dhumans track PICTURES', whose bodies are learnt from, or
    COCO json, of which 2D keypoints are.
    """
    _require_webdataset()
    from fourd_humans.training.hmr2.making import make_data_set

    counts = make_data_set(pictures, annotations, output, least_score=least_score, every=every, masks=masks)
    click.echo(f"wrote {counts['people']} people in {counts['pictures']} pictures to {output}")
    for reason, count in sorted(counts.items()):
        if reason not in ("people", "pictures"):
            click.echo(f"left out: {count} {reason}")


@data.command()
@click.argument("path", type=_EXISTING)
@click.option("--pose-histogram", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="To count improbable poses.")  # fmt: skip
@click.option("--no-decode", is_flag=True, help="Do not look into pictures and masks, which takes longest.")
@click.option(
    "--picture", type=click.Path(path_type=Path), metavar="PNG", help="Draw the first people of each data set."
)
def check(path: Path, pose_histogram: Path | None, no_decode: bool, picture: Path | None) -> None:
    """Read the data sets at PATH, say what they hold and what the filters do, and name what is wrong.

    PATH is whatever '4dhumans train hmr2 --data' takes. Exit code 1 where something is wrong.
    """
    _require_webdataset()
    from fourd_humans.evaluation.report import Report
    from fourd_humans.training.hmr2.checking import describe
    from fourd_humans.training.hmr2.datasets import find_data_sets
    from fourd_humans.training.hmr2.filters import Filters
    from fourd_humans.training.pose_histogram import read_pose_histogram

    filters = Filters(histogram=None if pose_histogram is None else read_pose_histogram(pose_histogram))
    data_sets = find_data_sets(path)
    total = sum(data_set.weight for data_set in data_sets)
    found = [describe(data_set, filters, decode=not no_decode) for data_set in data_sets]
    rows = [_row(description, data_set.weight / total) for description, data_set in zip(found, data_sets, strict=True)]
    Report(f"Data sets of {path}", rows, {}, [note for description in found for note in _notes(description)]).show()
    if picture is not None:
        _draw(found, picture)
    problems = sum(sum(description.problems.values()) for description in found)
    if problems:
        raise FourDHumansError(f"{problems} problems were found in {path}")


@data.command()
@click.argument("paths", nargs=-1, required=True, type=_EXISTING, metavar="PATH...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="NPY")
@click.option("--bins", type=click.IntRange(4, 200), default=100, show_default=True, help="On each axis.")
def histogram(paths: tuple[Path, ...], output: Path, bins: int) -> None:
    """Count the poses of motion capture, so that others can be called improbable.

    PATH is an npz with AMASS's poses, or a folder of them. The result has the released histogram's layout.
    """
    import numpy as np

    from fourd_humans.training.pose_histogram import count_poses, motion_capture_files, read_poses

    files = motion_capture_files(paths)
    counts = count_poses((read_poses(file) for file in files), bins)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("wb") as file:
        np.save(file, counts)
    click.echo(f"counted {int(counts[0].sum())} poses of {len(files)} files: {output}")


def _row(found: Description, share: float) -> dict[str, str | float | int]:
    import numpy as np

    def percent(count: int) -> str:
        return f"{100 * count / max(found.people, 1):.0f} %"

    sides = found.box_sides or [0.0]
    return {
        "data set": found.name, "drawn": f"{100 * share:.0f} %", "shards": found.shards, "pictures": found.pictures,
        "people": found.people, "pose": percent(found.with_pose), "betas": percent(found.with_betas),
        "3D": percent(found.with_3d), "2D": percent(found.with_2d), "masks": percent(found.with_masks),
        "keypoints": f"{np.median(found.keypoints or [0]):.0f}",
        "box, pixels": f"{np.percentile(sides, 5):.0f}–{np.percentile(sides, 95):.0f}", "kept": percent(found.kept),
    }  # fmt: skip


def _notes(found: Description) -> list[str]:
    notes = [f"{found.name}: betas of '{space}': {count} people" for space, count in found.shape_spaces.items()]
    notes += [f"{found.name}: {reason}: {count} people" for reason, count in found.refused.items()]
    return notes + [f"{found.name}: WRONG, {count} times: {what}" for what, count in found.problems.items()]


def _draw(found: list[Description], path: Path) -> None:
    import numpy as np
    from PIL import Image

    sheets = [description.sheet for description in found if description.sheet is not None]
    if sheets:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.vstack(sheets)).save(path)
        click.echo(f"drew {path}")


def _require_webdataset() -> None:
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UsageError("data sets need WebDataset: pip install 'fourd-humans[train]'") from error
