"""``4dhumans track``: reads the options, shows the progress, prints where the results are."""

from __future__ import annotations

import logging
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import click

from fourd_humans.config import Config, default_config, load_config, merge, parse_settings, read_settings
from fourd_humans.errors import UsageError
from fourd_humans.settings import nested, short

MODEL_HELP = """lite: built in. paper: the published system, whose weights '4dhumans models' gets. auto: paper if its
weights are installed.  [default: lite]"""
BOXES_HELP = "Take the people's boxes from a MOT text file, a COCO json or earlier results, not from a detector."


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--render/--no-render", default=False, help="Also draw the tracked bodies into a video.  [default: no]")
@click.option("--views", metavar="LIST", help="What the rendered video shows: overlay, side, top, separated by commas.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("outputs"), show_default=True, metavar="DIR",
    help="Folder for NAME.pkl and NAME.mp4.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("--model", type=click.Choice(["lite", "paper", "auto"]), help=MODEL_HELP)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]")
@click.option("--boxes", type=click.Path(path_type=Path), metavar="FILE", help=BOXES_HELP)
@click.option("--start", metavar="WHEN", help="Begin at this frame (120) or time (4s, 4.5s, 1:04).")
@click.option("--end", metavar="WHEN", help="End before this frame or time.")
@click.option("--focal", type=float, metavar="PIXELS", help="Focal length of the camera.")
@click.option("--fov", type=float, metavar="DEGREES",
              help="Field of view of the camera across the longer side, instead of --focal.")  # fmt: skip
@click.option("--detect-shots/--no-detect-shots", default=None, help="Look for cuts.  [default: yes]")
@click.option("--complete/--no-complete", default=None, help="Fill in people while they are hidden.  [default: yes]")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Settings as YAML; '4dhumans config' prints them all.")  # fmt: skip
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, as tracking.max_age=60. Repeat for more.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print more, and tracebacks of errors.")
@click.pass_context
def track(
    ctx: click.Context,
    source: Path,
    render: bool,
    output: Path,
    overwrite: bool,
    start: str | None,
    end: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Find every person in SOURCE, recover each body in 3D, and track who is who.

    SOURCE is a video file, a folder of images, or one image. Results go to OUTPUT/NAME.pkl (every frame: identities,
    boxes, masks, SMPL parameters, cameras, joints), and with --render a video to OUTPUT/NAME.mp4. Ctrl-C stops early
    and keeps what was done.

    \b
    Examples:
      4dhumans track video.mp4 --render
      4dhumans track video.mp4 --render --views overlay,side,top
      4dhumans track frames/ --output results --start 100 --end 400
      4dhumans track video.mp4 --fov 60 --set tracking.max_age=90
    """
    ctx.meta["verbose"] = verbose
    config = configuration(**options)

    # Everything heavy is imported after the options have been read, so that mistakes in them are reported at once.
    from fourd_humans import stages
    from fourd_humans.cli.progress import Progress, say
    from fourd_humans.detection.precomputed import PrecomputedDetections
    from fourd_humans.pipeline import Pipeline
    from fourd_humans.run import output_paths, track
    from fourd_humans.video.frames import parse_position
    from fourd_humans.video.source import open_source

    logging.basicConfig(
        format="%(message)s", level=logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    )
    first, last = (None if text is None else parse_position(text) for text in (start, end))
    opened = open_source(source, first, last)
    stages.require_models(config)
    output_paths(opened, output, render=render, overwrite=overwrite)
    pipeline = Pipeline(config)
    if isinstance(pipeline.detect, PrecomputedDetections) and start is None and end is None:
        pipeline.detect.warn_beyond(opened.frame_count)
    stopping = _StopOnSignal(quiet)
    began = time.monotonic()
    with stopping, Progress(opened, quiet=quiet) as progress:
        result = track(
            opened, output, pipeline=pipeline, render=render, overwrite=overwrite, stop=stopping, on_frame=progress
        )
    if not quiet:
        say(result, time.monotonic() - began)
    if stopping():
        ctx.exit(130)


def configuration(
    *,
    model: Literal["lite", "paper", "auto"] | None = None,
    config_file: Path | None = None,
    settings: tuple[str, ...] = (),
    device: str | None = None,
    boxes: Path | None = None,
    views: str | None = None,
    focal: float | None = None,
    fov: float | None = None,
    detect_shots: bool | None = None,
    complete: bool | None = None,
) -> Config:
    """The settings that the options ask for: the model's defaults, then the file, then the options, then --set.

    Raises: UsageError for settings that do not exist, wrong values, and two different models.
    """
    if focal is not None and fov is not None:
        raise UsageError("give --focal or --fov, not both")
    from_file = {} if config_file is None else read_settings(config_file)
    from_set = parse_settings(settings)
    config = default_config(
        _model({"--model": model, "--set model": from_set.get("model"), str(config_file): from_file.get("model")})
    )
    if config_file is not None:
        config = load_config(config_file, config)
    for option, key, value in (
        ("--device", "device", device),
        ("--views", "render.views", views),
        ("--focal", "camera.focal_length", focal),
        ("--fov", "camera.field_of_view", fov),
        ("--detect-shots", "shots.detect", detect_shots),
        ("--complete", "motion.complete", complete),
        ("--boxes", "detection", None if boxes is None else {"backend": "precomputed", "boxes": str(boxes)}),
    ):
        if value is not None:
            try:
                config = merge(config, nested(key.split("."), value))
            except UsageError as error:
                raise UsageError(f"{option}: {error}") from error
    return merge(config, {key: value for key, value in from_set.items() if key != "model"})


def _model(asked_for: dict[str, Any]) -> Literal["lite", "paper"]:
    """The model that is asked for, by whom it is asked for; lite if nobody asks."""
    models = {where: name for where, name in asked_for.items() if name is not None}
    for where, name in models.items():
        if name == "auto":
            from fourd_humans.checkpoints import installed

            models[where] = "paper" if installed("hmr2b") and installed("vitdet-h") else "lite"
        elif name not in ("lite", "paper"):
            raise UsageError(f"{where}: 'model' must be one of lite, paper, auto, not '{short(name)}'")
    if len(set(models.values())) > 1:
        raise UsageError(f"choose one model: {', '.join(f'{where} says {name}' for where, name in models.items())}")
    return next(iter(models.values()), "lite")


class _StopOnSignal:
    """Turns the first Ctrl-C (or a polite kill) into a request to finish; the second one interrupts at once."""

    def __init__(self, quiet: bool) -> None:
        self._stop, self._quiet = False, quiet

    def __call__(self) -> bool:
        return self._stop

    def __enter__(self) -> _StopOnSignal:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _ask(self, which: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        if not self._quiet:
            click.echo(
                "Stopping: finishing what is under way and keeping the results (Ctrl-C again to give up).", err=True
            )
