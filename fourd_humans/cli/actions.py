"""``4dhumans actions``: what each person does, from existing results."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fourd_humans.config import default_config, merge
from fourd_humans.errors import FourDHumansError, UsageError

if TYPE_CHECKING:
    from fourd_humans.actions.recognition import Recognition

MOST_ACTIONS = 6  # of a person, in the printed table
_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("results", type=_FILE)
@click.option("-o", "--output", type=_FILE, metavar="BASE",
              help="What the files' names begin with.  [default: RESULTS without .pkl, and _actions]")  # fmt: skip
@click.option("--format", "formats", default="csv,json", show_default=True, metavar="LIST",
              help="csv: actions by frame. json: segments and summary. ava: AVA's csv.")  # fmt: skip
@click.option("--checkpoint", type=_FILE, metavar="FILE",
              help="Of this project, or a released LART checkpoint.  [default: actions-lite]")  # fmt: skip
@click.option("--statistics", type=_FILE, metavar="FILE",
              help="The mean_std.npy of a released checkpoint.  [default: beside it]")  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Most actions of a person and frame.")
@click.option("--threshold", default="0.5", show_default=True, metavar="SCORE|FILE",
              help="Least score, or a YAML file of scores by action, with 'default' for the others.")  # fmt: skip
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, metavar="FRAMES",
              help="Only every so many frames of the video.")  # fmt: skip
@click.option("--average", type=click.IntRange(1), default=12, show_default=True, metavar="FRAMES",
              help="Average scores over so many frames at 30 a second; 1: do not.")  # fmt: skip
@click.option("--people", type=click.IntRange(1), metavar="COUNT",
              help="How many people the network looks at together.  [default: as it was trained]")  # fmt: skip
@click.option("--only", "ids", multiple=True, type=int, metavar="ID", help="Only this person. Repeat for more.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="FPS",
              help="Frames a second of the video.  [default: as the results say]")  # fmt: skip
@click.option("--features", type=_FILE, metavar="NPZ", help="Also save the network's vector for each person and frame.")
@click.option("--results", "with_actions", type=_FILE, metavar="PKL",
              help="Also write the results with PHALP's keys 'label' and 'ava_action'.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda, cuda:1, mps.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def actions(
    ctx: click.Context,
    results: Path,
    output: Path | None,
    formats: str,
    checkpoint: Path | None,
    statistics: Path | None,
    threshold: str,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Say what each person in RESULTS, a pickle that 'track' wrote, does over time. The video is not needed.

    RESULTS may also be a folder of LART tracklet files, of which '--format ava' makes what 'evaluate actions' reads.

    \b
    Examples:
      4dhumans actions outputs/walk.pkl
      4dhumans render outputs/walk.pkl walk.mp4 --actions outputs/walk_actions.csv
      4dhumans actions tracklets/ava_val --checkpoint run/last.ckpt --format ava -o ava_val
    """
    ctx.meta["verbose"] = verbose
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    chosen = [name.strip() for name in formats.split(",")]
    if not set(chosen) <= {"csv", "json", "ava"} or len(set(chosen)) < len(chosen):
        raise UsageError(f"--format takes some of csv, json, ava, each once, not '{formats}'")
    limit, limits = _thresholds(threshold)

    from fourd_humans import stages
    from fourd_humans.actions.checkpoint import BUILT_IN, load_action_model
    from fourd_humans.actions.recognition import output_files, recognise, save, save_features, save_results
    from fourd_humans.results import load_tracklets

    base = output or results.with_name(f"{results.name.removesuffix('.partial').removesuffix('.pkl')}_actions")
    overwrite, device = (
        options["overwrite"],
        stages.choose_device(merge(default_config(), {"device": options["device"]})),
    )
    if results.is_dir():
        _tracklet_files(results, base, chosen, options, load_action_model(checkpoint or BUILT_IN, device,
                                                                          statistics=statistics))  # fmt: skip
        return
    others = [path for path in (options["features"], options["with_actions"]) if path is not None]
    for path in [*output_files(base, chosen, overwrite=overwrite), *others]:
        if path.exists() and (not overwrite or path.resolve() == results.resolve()):
            raise UsageError(f"{path} exists; use --overwrite to replace it, or another name")
    tracklets = load_tracklets(results)
    model = load_action_model(checkpoint or BUILT_IN, device, statistics=statistics)
    recognition = recognise(
        tracklets,
        model,
        people=options["people"],
        window=options["average"],
        every=options["every"],
        ids=options["ids"] or None,
        rate=options["rate"],
        features=options["features"] is not None,
    )
    settings = {
        "results": results.name, "checkpoint": (checkpoint or BUILT_IN).name, "average": options["average"],
        "every": options["every"], "people": options["people"] or model.people,
    }  # fmt: skip
    written = save(
        recognition, base, chosen, threshold=limit, thresholds=limits, top=options["top"], overwrite=overwrite,
        settings=settings,
    )  # fmt: skip
    if options["features"] is not None:
        save_features(recognition, options["features"])
    if options["with_actions"] is not None:
        save_results(recognition, options["with_actions"], overwrite=overwrite)
    if not quiet:
        say(recognition, limit, limits)
        for path in [*written, *others]:
            print(path)


def say(recognition: Recognition, threshold: float = 0.5, thresholds: dict[str, float] | None = None) -> None:
    """Print how long each person does what."""
    from rich.console import Console
    from rich.table import Table

    from fourd_humans.actions.recognition import limits_of
    from fourd_humans.actions.timeline import summaries

    limits = limits_of(recognition.classes, threshold, thresholds)
    table = Table("person", "seconds", "actions", box=None, pad_edge=False)
    for person in recognition.people:
        parts = [
            f"{recognition.classes.names[summary.action]} {summary.seconds:.1f} s ({summary.share:.0%})"
            for summary in summaries(person, limits)[:MOST_ACTIONS]
        ]
        table.add_row(str(person.id), f"{person.duration.sum():.1f}", ", ".join(parts) or "none above the threshold")
    Console(highlight=False).print(table)


def _tracklet_files(folder: Path, base: Path, formats: list[str], options: dict[str, Any], model: Any) -> None:
    from fourd_humans.actions.ava import score_tracklet_files
    from fourd_humans.actions.formats import write_ava
    from fourd_humans.actions.recognition import output_files

    if formats != ["ava"]:
        raise UsageError(f"{folder} is a folder of tracklet files, of which only --format ava can be made")
    (path,) = output_files(base, formats, overwrite=options["overwrite"])
    rows = score_tracklet_files(model, folder, people=options["people"], window=options["average"])
    write_ava(path, rows)
    print(path)


def _thresholds(text: str) -> tuple[float, dict[str, float]]:
    """The score for all actions, and those of single ones."""
    from fourd_humans.files.text import read_yaml

    try:
        values = {"default": float(text)}
    except ValueError:
        try:
            values = {str(action): float(score) for action, score in read_yaml(text).items()}
        except (FourDHumansError, AttributeError, TypeError, ValueError) as error:
            raise UsageError(f"--threshold is neither a score nor a YAML file of scores by action: {text}") from error
    if not all(0 <= score <= 1 for score in values.values()):
        raise UsageError(f"scores lie between 0 and 1, not {text}")
    return values.pop("default", 0.5), values
