"""``4dhumans render``: a video from results that exist."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from fourd_humans.cli.track import LEVEL_HELP
from fourd_humans.config import apply_settings, default_config, load_config, merge
from fourd_humans.errors import UsageError


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("source", metavar="VIDEO", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="The video to write.  [default: RESULTS with .mp4 for its ending; .jpg for one image]",
)  # fmt: skip
@click.option("--views", metavar="LIST", help="What to show: overlay, side, top, separated by commas.")
@click.option("--alpha", type=float, metavar="SHARE", help="Opacity of the bodies, 0 to 1.")
@click.option(
    "--depth-scale", type=float, metavar="FACTOR",
    help="Factor on depths in the side and top views.  [default: as with an ordinary lens]",
)  # fmt: skip
@click.option("--level", metavar="auto|none|DEGREES", help=LEVEL_HELP)
@click.option("--actions", "actions_file", type=click.Path(path_type=Path), metavar="CSV",
              help="Write at each person what 'actions' recognised, from its csv.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a video that exists.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="Settings as YAML.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="One setting, as render.quality=18.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def render(
    ctx: click.Context,
    results: Path,
    source: Path,
    output: Path | None,
    actions_file: Path | None,
    overwrite: bool,
    config_file: Path | None,
    settings: tuple[str, ...],
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Draw the people in RESULTS, a pickle that 'track' wrote, over the VIDEO they were found in.

    VIDEO may be a folder of images or one image, too. People who were seen are drawn solid, people who were hidden and
    only predicted faint, with dashed lines.

    \b
    Examples:
      4dhumans render outputs/walk.pkl walk.mp4
      4dhumans render outputs/walk.pkl walk.mp4 --views overlay,side,top -o walk_views.mp4
      4dhumans render outputs/walk.pkl walk.mp4 --actions outputs/walk_actions.csv
    """
    ctx.meta["verbose"] = verbose
    config = default_config() if config_file is None else load_config(config_file)
    config = merge(config, {"render": {key: value for key, value in options.items() if value is not None}})
    config = apply_settings(config, settings)

    from fourd_humans.rendering.video import rendered_suffix
    from fourd_humans.video import open_source

    opened = open_source(source)
    output = output or results.with_suffix(rendered_suffix(opened))
    check_output(output, (results, source), overwrite)

    from fourd_humans import checkpoints, stages
    from fourd_humans.actions.formats import read_labels, texts_by_frame
    from fourd_humans.body.loading import SMPL
    from fourd_humans.body.model import BodyModel
    from fourd_humans.results import load_tracklets
    from fourd_humans.run import draw

    tracklets = load_tracklets(results)
    labels = {} if actions_file is None else read_labels(actions_file)
    texts = texts_by_frame(labels, (frame.index for frame in tracklets))
    shape_spaces = {frame.bodies.shape_space for frame in tracklets if len(frame)}
    smpl = checkpoints.find("smpl") if SMPL in shape_spaces else None
    body_model = BodyModel.open_body() if smpl is None else BodyModel.from_file(smpl)
    if not shape_spaces <= {body_model.shape_space}:
        click.echo("The body model of these results is not installed: poses are shown on the open body.", err=True)
    renderer = stages.make_renderer(config, body_model)
    count = draw(
        tracklets, opened, output, renderer, quality=config.render.quality, texts=texts, level=config.render.level
    )
    if not quiet:
        click.echo(f"{output}: {count} frames" + ("" if tracklets.complete else "; the results end early"))


def check_output(output: Path, inputs: Iterable[Path], overwrite: bool) -> None:
    """Raises: UsageError where the file to write is one of the inputs, or exists and may not be replaced."""
    if output.exists() and output.resolve() in [path.resolve() for path in inputs]:
        raise UsageError(f"{output} is an input; choose another file with --output")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; use --overwrite to replace it, or another --output")
