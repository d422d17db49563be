"""``4dhumans track``: reads the options, shows the progress, prints where the results are."""

from __future__ import annotations

import logging
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import click

from fourd_humans.batch.jobs import Job, find_jobs, parse_shard, read_list, slurm_shard
from fourd_humans.cli.batch import Board, batch_options, list_jobs, summarise
from fourd_humans.config import Config, default_config, load_config, merge, parse_settings, read_settings
from fourd_humans.errors import UsageError
from fourd_humans.settings import nested, short
from fourd_humans.video.frames import parse_position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fourd_humans.batch.work import Request
    from fourd_humans.batch.workers import Worker

MODEL_HELP = """lite: built in. paper: the published system, from '4dhumans models download'. auto: paper if its
weights are installed.  [default: lite]"""
LEVEL_HELP = """Put people upright on a floor: auto where the direction of gravity is certain, none for the camera's own
frame, or the camera's pitch, downwards, in degrees.  [default: auto]"""
STOPPING = "Stopping: finishing frames in progress and keeping the results (Ctrl-C again to quit at once)."
BOXES_HELP = "Read people's boxes from a MOT text file, a COCO json or earlier results instead of detecting them."
BODIES_HELP = "Read bodies from results (ours or PHALP's) or an npz instead of recovering them."


@click.command()
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@click.option("--render/--no-render", default=False, help="Also draw the tracked bodies into a video.  [default: no]")
@click.option("--actions/--no-actions", default=False, help="Also recognise what each person does.  [default: no]")
@click.option("--views", metavar="LIST", help="What the rendered video shows: overlay, side, top, separated by commas.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("outputs"), show_default=True, metavar="DIR",
    help="Folder for NAME.pkl and NAME.mp4 (of one image: NAME.jpg).",
)  # fmt: skip
@click.option(
    "--export", "exports", metavar="LIST", help="Also write the results in these formats, as glb,bvh: see 'export'."
)
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option("--model", type=click.Choice(["lite", "paper", "auto"]), help=MODEL_HELP)
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]")
@click.option("--boxes", type=click.Path(path_type=Path), metavar="FILE", help=BOXES_HELP)
@click.option("--bodies", type=click.Path(path_type=Path), metavar="FILE", help=BODIES_HELP)
@click.option("--start", metavar="WHEN", help="First frame (120) or time (4s, 4.5s, 1:04).")
@click.option("--end", metavar="WHEN", help="End before this frame or time.")
@click.option("--focal", type=float, metavar="PIXELS", help="Focal length of the camera.")
@click.option("--fov", type=float, metavar="DEGREES",
              help="Field of view of the camera across the longer side, instead of --focal.")  # fmt: skip
@click.option("--level", metavar="auto|none|DEGREES", help=LEVEL_HELP)
@click.option("--detect-shots/--no-detect-shots", default=None, help="Look for cuts.  [default: yes]")
@click.option("--complete/--no-complete", default=None, help="Fill in people while they are hidden.  [default: yes]")
@click.option("--refine/--no-refine", default=None,
              help="Refine movements and shapes over time.  [default: yes with lite, no with paper]")  # fmt: skip
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Settings as YAML; '4dhumans config' prints them all.")  # fmt: skip
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One setting, as tracking.max_age=60. Repeat for more.",
)
@batch_options
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print more, and tracebacks of errors.")
@click.pass_context
def track(
    ctx: click.Context,
    sources: tuple[str, ...],
    render: bool,
    actions: bool,
    output: Path,
    exports: str | None,
    overwrite: bool,
    start: str | None,
    end: str | None,
    list_file: Path | None,
    recursive: bool,
    dry_run: bool,
    jobs: int | None,
    devices: str | None,
    ray: str | None,
    shard: str | None,
    resume: bool,
    retry_failed: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Find every person in each SOURCE, recover each body in 3D, and track who is who.

    A SOURCE is a video file, a folder of images, one image, a folder of videos, or a pattern in quotes. Results go to
    OUTPUT/NAME.pkl (every frame: identities, boxes, masks, SMPL parameters, cameras, joints), with --render a video to
    OUTPUT/NAME.mp4, and what became of it to OUTPUT/NAME.json. Ctrl-C stops early and keeps what was done.

    Of many sources, those that are done are skipped, and one that fails costs only itself. Exit codes: 0 all done,
    1 some failed, 2 wrong options, 130 interrupted.

    \b
    Examples:
      4dhumans track video.mp4 --render
      4dhumans track video.mp4 --render --views overlay,side,top
      4dhumans track video.mp4 --export glb
      4dhumans track frames/ --output results --start 100 --end 400
      4dhumans track video.mp4 --fov 60 --set tracking.max_age=90
      4dhumans track videos/ --recursive --jobs 4 --devices cuda:0,cuda:1
    """
    ctx.meta["verbose"] = verbose
    config = configuration(**options)

    first, last = (None if text is None else parse_position(text) for text in (start, end))
    found = find_jobs([*sources, *(read_list(list_file) if list_file else ())], output, recursive=recursive)
    if not found:
        raise UsageError("nothing to track: name a video, a folder or an image, or give --list FILE")
    is_one = len(found) == len(sources) == 1 and found[0].source == Path(sources[0])
    part = parse_shard(shard) if shard else None if is_one else slurm_shard()
    if part is not None:
        found = part.of(found)
    if dry_run:
        list_jobs(found)
        return
    logging.basicConfig(
        format="%(message)s", level=logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING
    )

    # Everything heavy is imported after the options have been read, so that mistakes in them are reported at once.
    from fourd_humans.batch.work import Request
    from fourd_humans.exports import check_formats

    formats = tuple(name.strip() for name in (exports or "").split(",") if name.strip())
    check_formats(formats)
    request = Request(
        config, render, first, last, overwrite, retry_failed, actions=actions, exports=formats, resume=resume
    )
    given = devices.split(",") if devices else None
    splits = (jobs or len(given or [])) > 1 or ray is not None
    if is_one and given and not splits:
        request = replace(request, config=merge(config, {"device": given[0]}))
    if is_one:
        _track_one(ctx, found[0], request, quiet, _workers(config, jobs, given, ray) if splits else [])
        return
    if part is not None and not quiet:
        click.echo(f"Shard {part.number} of {part.count}: {len(found)} jobs", err=True)
    _track_many(ctx, found, request, output, _workers(config, jobs, given, ray), quiet)


def _workers(config: Config, count: int | None, devices: list[str] | None, ray: str | None) -> Sequence[Worker]:
    """Those that the options ask for."""
    for device in devices or ():
        try:
            merge(config, {"device": device})
        except UsageError as error:
            raise UsageError(f"--devices: {error}") from error
    if ray is not None:
        from fourd_humans.batch.cluster import ray_workers

        return ray_workers(ray, count, devices)
    from fourd_humans.batch.workers import local_workers

    return local_workers(count or len(devices or [""]), devices, logging.getLogger().level)


def _track_one(ctx: click.Context, job: Job, request: Request, quiet: bool, workers: Sequence[Worker]) -> None:
    """One source, in this process or, but for the tracking, split among workers; with its own bar and figures."""
    from fourd_humans import saved_run, weights
    from fourd_humans.batch.split import Part, SplitObserver
    from fourd_humans.batch.work import is_done, track_one
    from fourd_humans.cli.actions import say as say_actions
    from fourd_humans.cli.progress import Progress, print_summary
    from fourd_humans.detection.precomputed import PrecomputedDetections
    from fourd_humans.exports import check_formats
    from fourd_humans.pipeline import Pipeline
    from fourd_humans.run import Observe, output_paths
    from fourd_humans.video.source import open_source

    opened = open_source(job.source, request.start, request.end, hwaccel=request.config.video.hwaccel)
    weights.require_models(request.config)
    if request.resume and is_done(job, request):
        if not quiet:
            print(f"{job.file('.pkl')} is complete: there is nothing to go on with.")
        return
    overwrite = request.overwrite or (request.resume and saved_run.is_unfinished(job.file(".pkl")))
    output_paths(opened, job.folder, render=request.render, overwrite=overwrite)
    check_formats(request.exports, job.folder, job.name, overwrite)
    pipeline = Pipeline(request.config, observing=not workers)
    observe: Observe = Pipeline.observe
    if workers:
        observe = SplitObserver(workers, Part(job.source, request.start, request.end), request.config)
    elif isinstance(pipeline.detect, PrecomputedDetections) and request.start is None and request.end is None:
        pipeline.detect.warn_beyond(opened.frame_count)
    stopping = StopOnSignal(quiet)
    began = time.monotonic()
    with stopping, Progress(opened, quiet=quiet) as progress:
        result = track_one(job, request, opened, pipeline, stop=stopping, on_frame=progress, observe=observe)
    if not quiet:
        print_summary(result, time.monotonic() - began, progress.compiling)
        if result.actions is not None:
            say_actions(result.actions)
            for path in result.action_files:
                print(path)
        for path in result.exports:
            click.echo(path)
    if stopping():
        ctx.exit(130)


def _track_many(
    ctx: click.Context,
    jobs: list[Job],
    request: Request,
    output: Path,
    workers: Sequence[Worker],
    quiet: bool,
) -> None:
    """Many sources, on worker processes."""
    from fourd_humans import weights
    from fourd_humans.batch.scheduling import run_jobs
    from fourd_humans.batch.work import check_unchanged

    weights.require_models(request.config)
    check_unchanged(jobs, request)
    output.mkdir(parents=True, exist_ok=True)
    stopping = StopOnSignal(quiet, "Stopping: what is under way is interrupted; the same command goes on with it.")
    with stopping, Board(len(jobs), quiet=quiet) as board:
        outcomes = run_jobs(jobs, request, workers, stop=stopping, on_tick=board)
    code = summarise(outcomes, len(jobs), output, quiet=quiet)
    ctx.exit(130 if stopping() else code)


def configuration(
    *,
    model: Literal["lite", "paper", "auto"] | None = None,
    config_file: Path | None = None,
    settings: tuple[str, ...] = (),
    device: str | None = None,
    boxes: Path | None = None,
    bodies: Path | None = None,
    views: str | None = None,
    focal: float | None = None,
    fov: float | None = None,
    level: str | None = None,
    detect_shots: bool | None = None,
    complete: bool | None = None,
    refine: bool | None = None,
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
        ("--level", "render.level", level),
        ("--detect-shots", "shots.detect", detect_shots),
        ("--complete", "motion.complete", complete),
        ("--refine", "motion.refine", refine),
        ("--boxes", "detection", None if boxes is None else {"backend": "precomputed", "boxes": str(boxes)}),
        ("--bodies", "recovery", None if bodies is None else {"backend": "precomputed", "bodies": str(bodies)}),
    ):
        if value is not None:
            try:
                config = merge(config, nested(key.split("."), value))
            except UsageError as error:
                raise UsageError(f"{option}: {error}") from error
    return merge(config, {key: value for key, value in from_set.items() if key != "model"})


def _model(asked_for: dict[str, Any]) -> Literal["lite", "paper"]:
    """The model that the options, --set and the file ask for (None: not at all); lite if none does."""
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


class StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a request to finish; the second one interrupts at once."""

    def __init__(self, quiet: bool, message: str = STOPPING) -> None:
        self._stop, self._quiet, self._message = False, quiet, message

    def __call__(self) -> bool:
        return self._stop

    def __enter__(self) -> StopOnSignal:
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
            click.echo(self._message, err=True)
