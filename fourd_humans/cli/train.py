"""``4dhumans train``: train the networks that this project can train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fourd_humans.cli.train_actions import actions_command
from fourd_humans.cli.train_hmr2 import hmr2_command
from fourd_humans.errors import UsageError

LAYOUTS: dict[str, dict[str, Any]] = {
    "released": {},
    "plain": {"frames": 128, "bottleneck": None},
    "lite": {
        "frames": 128, "bottleneck": None, "width": 128, "depth": 3, "heads": 4, "head_width": 32, "mlp_width": 256,
        "readout_width": 256, "readout_steps": 1, "start": "seen", "dropout": 0.0, "actions": 0,
    },
}  # fmt: skip
DATA_SHARE = 0.3  # of what is drawn, where there are synthetic people as well


@click.group()
def train() -> None:
    """Train the networks."""


@train.command()
@click.option(
    "--data",
    "folders",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of result files, or one file; may be given several times.",
)
@click.option("--synthetic", default=0, show_default=True, help="So many made-up people to learn from as well.")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for checkpoints and logs.")
@click.option(
    "--layout",
    type=click.Choice(list(LAYOUTS)),
    default="plain",
    show_default=True,
    help="The released network, the supplement's plain one, or the small one of the lite model.",
)
@click.option("--steps", default=100_000, show_default=True)
@click.option("--epoch-steps", default=500, show_default=True, help="Steps between validations and checkpoints.")
@click.option("--batch-size", default=64, show_default=True, help="Sequences on each device.")
@click.option("--sequence", default=None, type=int, help="Frames of a sequence.  [default: all that the layout takes]")
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option(
    "--queries",
    "queried",
    default=None,
    type=int,
    help="Predict at most so many masked frames a step, to save time.  [default: all]",
)
@click.option("--held-out", default=0.05, show_default=True, help="Share of the tracklets for validation.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="Lightning's, such as bf16-mixed; auto: bf16-mixed on a GPU, 32-true on the CPU.",
)
@click.option("--accelerator", default="auto", show_default=True)
@click.option("--devices", default="auto", show_default=True, help="How many on each node, or their numbers.")
@click.option("--nodes", default=1, show_default=True)
@click.option("--strategy", default="auto", show_default=True, help="Lightning's, such as ddp.")
@click.option("--workers", default=0, show_default=True, help="Processes that prepare data.")
@click.option("--logger", type=click.Choice(["csv", "tensorboard"]), default="csv", show_default=True)
@click.option(
    "--resume",
    default=None,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint to go on from, such as OUTPUT/last.ckpt.",
)
@click.option(
    "--initial",
    default=None,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Begin with the weights of this network, which must be of the same size.",
)
@click.option("--seed", default=0, show_default=True)  # fmt: skip
def motion(folders: tuple[Path, ...], synthetic: int, layout: str, held_out: float, **options: Any) -> None:
    """Train the pose transformer on tracklets: `4dhumans train motion --data RESULTS/ --output RUN`.

    Reads the result files of this program and of the released one. The checkpoints go wherever motion.checkpoint goes.
    """
    try:
        import lightning  # noqa: F401
    except ImportError as error:
        raise UsageError("training needs Lightning: pip install 'fourd-humans[train]'") from error
    import torch

    from fourd_humans.body.model import BodyModel
    from fourd_humans.motion.clips import read_clips, synthetic_clips
    from fourd_humans.training.motion.data import split
    from fourd_humans.training.motion.losses import lever_arms
    from fourd_humans.training.motion.training import train_motion

    if not folders and not synthetic:
        raise UsageError("nothing to learn from: give --data FOLDER, --synthetic COUNT or both")
    seed, sequence = options["seed"], options.pop("sequence")
    frames = LAYOUTS[layout].get("frames", 125)
    if sequence is not None and not 2 <= sequence <= frames:
        raise UsageError(f"--sequence must be between 2 and {frames} for the {layout} layout, not {sequence}")
    recorded = read_clips(folders)
    made = synthetic_clips(synthetic, 160, seed)
    recorded, recorded_held_out = split(recorded, held_out, seed)
    made, made_held_out = split(made, held_out, seed)
    click.echo(f"{len(recorded)} recorded and {len(made)} synthetic tracklets to learn from")
    if options["precision"] == "auto":
        options["precision"] = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    share = DATA_SHARE if made else 1.0
    weights = [share * len(clip.seen) / sum(len(c.seen) for c in recorded) for clip in recorded]
    weights += [(1 - share if recorded else 1.0) / len(made)] * len(made)
    path = train_motion(
        [*recorded, *made], [*recorded_held_out, *made_held_out], LAYOUTS[layout], lever_arms(BodyModel.open_body()),
        options.pop("output"), weights=weights, sequence=sequence or frames, **options,
    )  # fmt: skip
    click.echo(f"wrote {path}")


train.add_command(actions_command)
train.add_command(hmr2_command)
