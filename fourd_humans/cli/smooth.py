"""``4dhumans smooth``: fill in hidden people, and refine movements, in existing results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fourd_humans.errors import UsageError

if TYPE_CHECKING:
    from fourd_humans.people import TrackedFrame


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[default: NAME_smooth.pkl]")
@click.option("--overwrite", is_flag=True, help="Replace results that exist.")
@click.option(
    "--sigma",
    type=click.FloatRange(min=0),
    metavar="FRAMES",
    help="Instead of refining, average everybody over time with a Gaussian of this std; 0 leaves them as they are.",
)
@click.option(
    "--refine/--no-refine",
    default=True,
    show_default=True,
    help="Refine movements and shapes over time, as track does with the built-in model.",
)
@click.option(
    "--frame-rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="FPS",
    help="Frames a second.  [default: as the results say, or 30]",
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The pose transformer that fills in.  [default: the built-in one]",
)
@click.option("-v", "--verbose", is_flag=True, help="Print tracebacks of errors.")
@click.pass_context
def smooth(
    ctx: click.Context,
    results: Path,
    output: Path | None,
    overwrite: bool,
    sigma: float | None,
    refine: bool,
    frame_rate: float | None,
    checkpoint: Path | None,
    verbose: bool,
) -> None:
    """Fill in everybody in RESULTS.pkl where they were hidden between two observations, refine everybody's movement
    and shape over time, and write NAME_smooth.pkl.

    Takes the results of this program and of the released one. People who were filled in have a tracked_time of -1.
    Those expected after their last observation are left out.
    """  # fmt: skip
    ctx.meta["verbose"] = verbose

    from fourd_humans import checkpoints
    from fourd_humans.body.loading import SMPL
    from fourd_humans.body.model import BodyModel
    from fourd_humans.motion.checkpoint import BUILT_IN, load_pose_transformer
    from fourd_humans.motion.postprocessing import complete_tracklets
    from fourd_humans.motion.refinement import Refinement
    from fourd_humans.motion.refinement_buffer import refine_frames
    from fourd_humans.pipeline import one_thread_in_libraries
    from fourd_humans.results import load_tracklets

    tracklets = load_tracklets(results)
    output = output or results.with_name(f"{results.name.removesuffix('.partial').removesuffix('.pkl')}_smooth.pkl")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; use --overwrite to replace it, or --output")
    body_model = BodyModel.open_body()
    if any(frame.bodies.shape_space == SMPL for frame in tracklets if len(frame)):
        smpl = checkpoints.find("smpl")
        if smpl is None:
            raise UsageError(f"{results} holds SMPL bodies; add SMPL first: 4dhumans models add-smpl FILE")
        body_model = BodyModel.from_file(smpl)
    network = load_pose_transformer(checkpoint or BUILT_IN)
    frames = complete_tracklets(tracklets.frames, body_model, network, sigma or 0.0)
    if refine and sigma is None:
        with one_thread_in_libraries():
            frames = refine_frames(frames, Refinement(body_model), frame_rate or _frame_rate(frames))
    replace(tracklets, frames=frames).save(output, overwrite)
    filled = sum(int((frame.time_since_seen < 0).sum()) for frame in frames)
    click.echo(f"filled in {filled} bodies in {len(frames)} frames: {output}")


def _frame_rate(frames: Sequence[TrackedFrame]) -> float:
    """Frames a second by the frames' times; 30 where these only count frames, as in released results."""
    steps = [(b.time - a.time) / max(b.index - a.index, 1) for a, b in pairwise(frames)]
    step = statistics.median(steps) if steps else 1.0
    return 30.0 if step <= 0 or step == 1.0 else 1 / step
