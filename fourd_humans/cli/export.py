"""``4dhumans export``: results as files for other programs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

import click

from fourd_humans.cli.track import LEVEL_HELP
from fourd_humans.config import default_config, merge
from fourd_humans.errors import UsageError


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--to", "formats", required=True, metavar="LIST",
    help="Formats, separated by commas: glb, usd, bvh, npz, trc, c3d, mot, coco, csv, obj, ply, glb-static, phalp.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help="[default: the folder of RESULTS]")
@click.option("--people", metavar="LIST", help="Only these identities, as 1,3.")
@click.option("--start", metavar="WHEN", help="Begin at this frame (120) or time (4s, 4.5s, 1:04) of the video.")
@click.option("--end", metavar="WHEN", help="End before this frame or time.")
@click.option("--seen", "seen_only", is_flag=True, help="Leave out people where they were hidden and only predicted.")
@click.option("--fps", type=click.FloatRange(0, 1000, min_open=True), metavar="RATE",
              help="Resample motion to this frame rate.  [default: the video's]")  # fmt: skip
@click.option(
    "--depth-scale", type=float, metavar="FACTOR",
    help="Factor on distances from the camera, in its own frame.  [default: as an ordinary lens would have them]",
)  # fmt: skip
@click.option("--level", metavar="auto|none|DEGREES", default="auto", help=LEVEL_HELP)
@click.option("--weights", type=click.Choice(["4", "8"]), default="4", show_default=True,
              help="glb: how many joints a vertex may follow. Engines and browsers take 4.")  # fmt: skip
@click.option("--pose-shapes", is_flag=True, help="glb, usd: with pose-dependent shapes, as morph targets.")
@click.option("--layout", type=click.Choice(["smpl", "smplh", "smplx"]), default="smpl", show_default=True,
              help="npz: whose poses.")  # fmt: skip
@click.option("--frames", metavar="LIST", help="obj, ply, glb-static: which frames, as 30,60.  [default: the fullest]")
@click.option("--pictures", type=click.Path(path_type=Path), metavar="VIDEO",
              help="phalp: write the video's frames as JPEG, too, and name the entries after them.")  # fmt: skip
@click.option("--openpose", is_flag=True, help="phalp: 2D keypoints in OpenPose's order, as SLAHMR reads them.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def export(
    ctx: click.Context,
    results: Path,
    formats: str,
    output: Path | None,
    people: str | None,
    start: str | None,
    end: str | None,
    seen_only: bool,
    fps: float | None,
    depth_scale: float | None,
    level: str,
    weights: str,
    pose_shapes: bool,
    layout: Literal["smpl", "smplh", "smplx"],
    frames: str | None,
    pictures: Path | None,
    openpose: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the people in RESULTS, a pickle that 'track' wrote, in formats that other programs read.

    docs/exports.md has each format's axes, units and frame rate, and how to open it.

    \b
    Examples:
      4dhumans export outputs/walk.pkl --to glb
      4dhumans export outputs/walk.pkl --to bvh,csv --people 1 --start 2s --end 6s
      4dhumans export outputs/walk.pkl --to obj --frames 30,60 -o meshes
    """
    ctx.meta["verbose"] = verbose
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    ids, chosen_frames = numbers("--people", people), numbers("--frames", frames)

    from fourd_humans.exports import ExportOptions
    from fourd_humans.exports import export as write
    from fourd_humans.results import load_tracklets
    from fourd_humans.video.frames import parse_position
    from fourd_humans.video.source import open_source

    first, last = (None if text is None else parse_position(text) for text in (start, end))
    tracklets = load_tracklets(results, fps)
    options = ExportOptions(
        weights=8 if weights == "8" else 4,
        pose_shapes=pose_shapes,
        layout=layout,
        frames=tuple(chosen_frames or ()),
        pictures=None if pictures is None else open_source(pictures),
        openpose=openpose,
    )
    written = write(
        tracklets,
        wanted,
        results.parent if output is None else output,
        results.name.removesuffix(".partial").removesuffix(".pkl"),
        people=ids,
        start=first,
        end=last,
        seen_only=seen_only,
        frame_rate=fps,
        depth_scale=depth_scale,
        level=merge(default_config(), {"render": {"level": level}}).render.level,
        overwrite=overwrite,
        options=options,
    )
    if not quiet:
        for path in written:
            click.echo(path)


def numbers(option: str, text: str | None) -> list[int] | None:
    """``1,3`` as [1, 3]."""
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} takes whole numbers separated by commas, as 1,3, not '{text}'") from error
