"""``4dhumans fit``: SMPL fits for pictures without 3D labels, as a data set to train on."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fourd_humans.cli.track import MODEL_HELP, configuration
from fourd_humans.errors import UsageError

if TYPE_CHECKING:
    from fourd_humans.training.pseudo_gt.making import Tally

_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PICTURES = "examples"


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", type=_PATH, required=True, metavar="DIR", help="Folder for the tars and the report.")
@click.option("--recursive", is_flag=True, help="Also look into the folders of a folder.")
@click.option("--keypoints", type=_FILE, metavar="JSON",
              help="Boxes and keypoints of ViTPose or others, in COCO's form, instead of the detector's.")  # fmt: skip
@click.option("--bodies", type=_FILE, metavar="FILE",
              help="Bodies to start from, instead of the model's: results or an npz (docs/evaluation.md).")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              help="Pictures a second of videos; the paper takes 1 of AVA and 5 of InstaVariety.")  # fmt: skip
@click.option(
    "--pose-histogram",
    "histogram",
    type=_FILE,
    metavar="NPY",
    help="Reject poses that this histogram says are improbable: the released one, or one of '4dhumans data histogram'.",
)
@click.option("--min-score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Of a detection.")
@click.option("--min-keypoints", type=click.IntRange(0, 17), default=5, show_default=True,
              help="With a confidence of 0.3 or more.")  # fmt: skip
@click.option("--min-side", type=click.FloatRange(0), default=32.0, show_default=True,
              help="Of the box's shorter side, pixels.")  # fmt: skip
@click.option("--max-beta", type=click.FloatRange(0), default=3.0, show_default=True, help="Of any beta's size.")
@click.option("--max-error", type=click.FloatRange(0), default=0.03, show_default=True,
              help="Of the fit: mean distance of joints to keypoints over the box's longer side.")  # fmt: skip
@click.option("--max-disagreement", type=click.FloatRange(0), default=0.08, show_default=True,
              help="The same of the model's body, before it is fitted.")  # fmt: skip
@click.option("--max-loss", type=click.FloatRange(0), metavar="LOSS",
              help="Of the reprojection in the units of the released fits, 31000 there.  [default: none]")  # fmt: skip
@click.option("--keep-keypoints", is_flag=True,
              help="Write people whose betas or pose are rejected with their 2D keypoints alone.")  # fmt: skip
@click.option("--examples", type=click.IntRange(0), default=8, show_default=True,
              help="Pictures in the report, for each reason.")  # fmt: skip
@click.option("--model", type=click.Choice(["lite", "paper", "auto"]), help=MODEL_HELP)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]")
@click.option("--focal", type=float, metavar="PIXELS", help="Focal length of the camera.")
@click.option("--fov", type=float, metavar="DEGREES", help="Field of view across the longer side, instead of --focal.")
@click.option("--config", "config_file", type=_PATH, metavar="FILE", help="Settings as YAML.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting. Repeat for more.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print more, and tracebacks of errors.")
@click.pass_context
def fit(
    ctx: click.Context,
    sources: tuple[str, ...],
    output: Path,
    recursive: bool,
    keypoints: Path | None,
    rate: float,
    histogram: Path | None,
    min_score: float,
    min_keypoints: int,
    min_side: float,
    max_beta: float,
    max_error: float,
    max_disagreement: float,
    max_loss: float | None,
    keep_keypoints: bool,
    examples: int,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Fit SMPL to the people in images and videos, and write what is good as a data set to train on.

    A SOURCE is an image, a folder of images, a video or a folder of videos. Everybody's fit starts from the body that
    the model recovers and follows the 2D keypoints; what fails a test is left out. OUTPUT gets 000000.tar, … in the
    layout of the released training data, report.html with counts and example pictures, report.json and report.csv.

    \b
    Examples:
      4dhumans fit photos/ -o data/photos
      4dhumans fit videos/ -o data/videos --rate 5 --pose-histogram poses.npy
      4dhumans fit photos/ -o data/photos --model paper --keypoints vitpose.json
    """
    ctx.meta["verbose"] = verbose
    try:
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UsageError("data sets are written with webdataset: pip install 'fourd-humans[train]'") from error
    logging.basicConfig(
        format="%(message)s", level=logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    )
    config = configuration(boxes=keypoints, **options)

    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from fourd_humans.batch.jobs import find_jobs
    from fourd_humans.cli.track import StopOnSignal
    from fourd_humans.config import to_yaml
    from fourd_humans.training.pose_histogram import read_pose_histogram
    from fourd_humans.training.pseudo_gt.filters import FilterSettings
    from fourd_humans.training.pseudo_gt.making import FittedFrame, PeopleFinder, fit_data_set
    from fourd_humans.training.pseudo_gt.report import ExamplePictures, write_page

    jobs = find_jobs(sources, output, recursive=recursive)
    if (keypoints or options["bodies"]) and len(jobs) > 1:
        raise UsageError("--keypoints and --bodies are of one source: give one folder of images or one video")
    filters = FilterSettings(
        min_score=min_score, min_keypoints=min_keypoints, min_side=min_side, max_beta=max_beta, max_error=max_error,
        max_disagreement=max_disagreement, max_reprojection_loss=max_loss,
    )  # fmt: skip
    poses = None if histogram is None else read_pose_histogram(histogram)
    finder = PeopleFinder(config, filters=filters, histogram=poses, rate=rate)
    pictures = ExamplePictures(finder.body_model, examples)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    stopping = StopOnSignal(quiet, "Stopping: the pictures so far are kept.")
    with stopping, Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("reading")
        frames = people = 0

        def on_frame(fitted: FittedFrame) -> None:
            nonlocal frames, people
            frames, people = frames + 1, people + fitted.reasons.count(None)
            pictures.add(fitted)
            bar.update(task, description=f"{frames} pictures, {people} people kept")

        named = [(job.name, job.source) for job in jobs]
        tally = fit_data_set(
            named, output, finder, keep_keypoints=keep_keypoints, on_frame=on_frame, stop=stopping
        )  # fmt: skip
    write_page(output / "report.html", tally, pictures.save(output / PICTURES), PICTURES)
    settings = {
        "sources": list(sources), "filters": asdict(filters), "histogram": histogram, "rate": rate,
        "keep_keypoints": keep_keypoints, "shape_space": finder.body_model.shape_space,
        "configuration": to_yaml(config),
    }  # fmt: skip
    _report(tally, settings, output, quiet, complete=not stopping())
    if stopping():
        ctx.exit(130)


def _report(tally: Tally, settings: dict[str, Any], output: Path, quiet: bool, *, complete: bool) -> None:
    from fourd_humans.evaluation.report import Report

    rows: list[dict[str, str | float | int]] = [{"people": "kept", "count": tally.kept}]
    rows += [{"people": reason, "count": count} for reason, count in tally.rejected.most_common()]
    notes = [f"{tally.frames} pictures read, {tally.unreadable} unreadable, {tally.pictures} written"]
    if tally.keypoints_only:
        notes.append(f"{tally.keypoints_only} of the rejected people are written with their keypoints alone")
    if not complete:
        notes.append("stopped before the end")
    report = Report("Pseudo ground truth", rows, settings, notes)
    report.save(output / "report")
    if not quiet:
        report.show()
        click.echo(f"written to {output}, with report.html")
