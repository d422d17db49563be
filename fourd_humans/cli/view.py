"""``4dhumans view``: results as a page for the browser."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import webbrowser
from pathlib import Path
from urllib.parse import quote

import click

from fourd_humans.cli.export import numbers
from fourd_humans.cli.render import check_output
from fourd_humans.cli.track import LEVEL_HELP
from fourd_humans.config import default_config, merge
from fourd_humans.errors import UsageError


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.argument("source", metavar="[VIDEO]", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="The page to write.  [default: RESULTS with .html for its ending]",
)  # fmt: skip
@click.option(
    "--link-video", is_flag=True, help="Load the video from where it is, instead of making it part of the page."
)
@click.option("--serve", is_flag=True, help="Write nothing, and show the page in the browser, from this machine.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="NUMBER", help="With --serve.  [default: any]"
)
@click.option("--browser/--no-browser", default=True, help="Open the browser, with --serve.  [default: yes]")
@click.option("--people", metavar="LIST", help="Only these identities, as 1,3.")
@click.option("--start", metavar="WHEN", help="Begin at this frame (120) or time (4s, 4.5s, 1:04) of the video.")
@click.option("--end", metavar="WHEN", help="End before this frame or time.")
@click.option("--level", metavar="auto|none|DEGREES", default="auto", help=LEVEL_HELP)
@click.option("--actions", "actions_file", type=click.Path(path_type=Path), metavar="CSV",
              help="Show what 'actions' recognised, from its csv.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a page that exists.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def view(
    ctx: click.Context,
    results: Path,
    source: Path | None,
    output: Path | None,
    link_video: bool,
    serve: bool,
    port: int,
    browser: bool,
    people: str | None,
    start: str | None,
    end: str | None,
    level: str,
    actions_file: Path | None,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write a page that shows the people in RESULTS, a pickle that 'track' wrote, in 3D and over time.

    It is one file, which any browser opens without a connection. With VIDEO, the video that they were found in plays
    beside them. docs/viewer.md describes the page.

    \b
    Examples:
      4dhumans view outputs/walk.pkl walk.mp4
      4dhumans view outputs/walk.pkl walk.mp4 --serve
      4dhumans view outputs/walk.pkl --people 1,3 --start 4s -o walk.html
    """
    ctx.meta["verbose"] = verbose
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    name = results.name.removesuffix(".partial").removesuffix(".pkl")
    output = output or results.with_name(f"{name}.html")
    if link_video and (source is None or serve):
        raise UsageError("--link-video takes a VIDEO, and a page that is written")
    if serve and ctx.get_parameter_source("output") is not click.core.ParameterSource.DEFAULT:
        raise UsageError("--serve writes no page: leave out --output")
    if not serve:
        check_output(output, [path for path in (results, source, actions_file) if path is not None], overwrite)
    ids = numbers("--people", people)

    from fourd_humans.actions.formats import read_labels, texts_by_frame
    from fourd_humans.exports import body_model_of, choose_part
    from fourd_humans.results import load_tracklets
    from fourd_humans.video import open_source, parse_position
    from fourd_humans.viewer.page import make_page
    from fourd_humans.viewer.server import VIDEO_URL
    from fourd_humans.viewer.server import serve as serving
    from fourd_humans.viewer.video import convert, playable

    first, last = (None if text is None else parse_position(text) for text in (start, end))
    tracklets = choose_part(load_tracklets(results), ids, first, last)
    labels = {} if actions_file is None else read_labels(actions_file)
    with tempfile.TemporaryDirectory() as folder:
        video = link = None
        if source is not None:
            opened = open_source(source)
            video = playable(opened)
            if video is None and link_video:
                raise UsageError(f"not all browsers play {source}: leave out --link-video, and it is converted")
            video = video or convert(opened, Path(folder) / "converted.mp4")
            link = VIDEO_URL if serve else _link(source, output) if link_video else None
        page = make_page(
            tracklets,
            body_model_of(tracklets),
            name,
            video=video,
            video_link=link,
            texts=texts_by_frame(labels, (frame.index for frame in tracklets), scores=False),
            level=merge(default_config(), {"render": {"level": level}}).render.level,
        )
        if serve:
            with serving(page, video, port) as url:
                if not quiet:
                    click.echo(f"{url} (Ctrl-C stops)")
                if browser:
                    webbrowser.open(url)
                while True:
                    time.sleep(3600)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8", newline="\n")
    if not quiet:
        click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def _link(video: Path, page: Path) -> str:
    """The video's URL as seen from the page."""
    try:
        relative = os.path.relpath(video.resolve(), page.resolve().parent)
    except ValueError:  # on another drive
        return video.resolve().as_uri()
    return "./" + quote(Path(relative).as_posix())
