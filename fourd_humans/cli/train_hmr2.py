"""``4dhumans train hmr2``: train HMR 2.0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from fourd_humans.errors import UsageError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DATA = click.Path(exists=True, path_type=Path)
SYNTHETIC = "synthetic"
SYNTHETIC_BODIES = 20_000
NETWORKS: dict[str, dict[str, int]] = {
    "released": {},
    "small": {
        "encoder_dim": 192, "encoder_depth": 6, "encoder_heads": 6, "encoder_patch_size": 32, "decoder_dim": 192,
        "decoder_depth": 2, "decoder_heads": 4, "decoder_dim_head": 48, "decoder_mlp_dim": 384,
    },
}  # fmt: skip


def _sizes(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    """Of ``--size NAME=NUMBER``."""
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        if not number.isdigit() or int(number) == 0:
            raise click.BadParameter(f"'{text}' is not NAME=NUMBER")
        found[name.replace("-", "_")] = int(number)
    return found


@click.command(name="hmr2")
@click.option("--data", "folders", multiple=True, required=True, type=_DATA, metavar="PATH",
              help="Data sets: a folder of tars or of such folders, a datasets.yaml with weights, or an npz; may be "
                   "given several times.")  # fmt: skip
@click.option("--validation", "held_out", multiple=True, type=_DATA, metavar="PATH",
              help="Data sets to validate on.  [default: those of --data whose names end in -val]")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), default=Path("outputs/hmr2"), show_default=True,
              help="Folder for checkpoints and logs.")  # fmt: skip
@click.option("--preset", type=click.Choice(["2.0b", "2.0a"]), default="2.0b", show_default=True,
              help="The paper's two recipes; 2.0a keeps the encoder as it is.")  # fmt: skip
@click.option("--mocap", metavar="NPZ", help="Poses and shapes for the discriminator; 'synthetic' makes some up.  "
              "[default: cmu_mocap.npz beside the data]")  # fmt: skip
@click.option("--no-adversarial", is_flag=True, help="Train without a discriminator.")
@click.option("--encoder", type=_FILE, help="ViTPose's weights to start from.  "
              "[default: vitpose_backbone.pth beside the data]")  # fmt: skip
@click.option("--mean-params", type=_FILE, help="SMPL's mean pose and shape.  "
              "[default: smpl_mean_params.npz beside the data]")  # fmt: skip
@click.option("--body", type=click.Choice(["auto", "smpl", "open"]), default="auto", show_default=True,
              help="Whose joints and betas to learn; auto takes SMPL where it is installed.")  # fmt: skip
@click.option("--network", type=click.Choice(list(NETWORKS)), default="released", show_default=True,
              help="Sizes of the network; 'small' has four million parameters.")  # fmt: skip
@click.option("--size", "sizes", multiple=True, callback=_sizes, metavar="NAME=NUMBER",
              help="One of them, such as encoder_depth=12; may be given several times.")  # fmt: skip
@click.option("--pose-histogram", type=_FILE, help="To refuse improbable poses.  "
              "[default: amass_poses_hist100_SMPL+H_G.npy beside the data]")  # fmt: skip
@click.option("--augment", "augmentation", multiple=True, metavar="NAME=VALUE",
              help="One setting of `Augmentation`, such as widen=true; may be given several times.")  # fmt: skip
@click.option("--filter", "filter_settings", multiple=True, metavar="NAME=VALUE",
              help="One of `Filters`, such as smallest_box=32; may be given several times.")  # fmt: skip
@click.option("--loss", "loss_weights", multiple=True, metavar="NAME=WEIGHT",
              help="One of `LossWeights`, such as betas=0; may be given several times.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=None, help="Of the optimiser.  [default: 1M; 2.0a: 100K]")
@click.option("--epoch-steps", type=click.IntRange(1), default=5000, show_default=True,
              help="Steps between validations and checkpoints.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(1), default=None,
              help="People on each device at once.  [default: 48; 2.0a: 512]")  # fmt: skip
@click.option("--effective-batch", type=click.IntRange(1), default=None,
              help="People of a step, reached by accumulating gradients.  [default: 384; 2.0a: 4096]")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=None,
              help="[default: 1e-5; 2.0a: 1e-4]")  # fmt: skip
@click.option("--schedule", type=click.Choice(["constant", "cosine"]), default="constant", show_default=True)
@click.option("--warm-up", type=click.IntRange(0), default=0, show_default=True, help="Steps.")
@click.option(
    "--clip", type=click.FloatRange(0, min_open=True), default=None, help="Of the gradient's norm.  [default: none]"
)
@click.option("--readouts", type=click.Choice(["linear", "small"]), default=None,
              help="How they begin: as PyTorch's linear layers do, or small, which is at the mean pose.  "
                   "[default: linear]")  # fmt: skip
@click.option("--stochastic-depth", type=click.FloatRange(0, 1, max_open=True), default=None,
              help="In the last block.  [default: 0.55; 2.0a: 0]")  # fmt: skip
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, a third more time.")
@click.option("--validated", type=click.IntRange(1), default=1000, show_default=True,
              help="People to validate on.")  # fmt: skip
@click.option("--precision", default="auto", show_default=True,
              help="Lightning's, such as 16-mixed; auto: bf16-mixed on a GPU, 32-true on the CPU.")  # fmt: skip
@click.option("--accelerator", default="auto", show_default=True)
@click.option("--devices", default="auto", show_default=True, help="How many on each node, or their numbers.")
@click.option("--nodes", default=1, show_default=True)
@click.option("--strategy", default="auto", show_default=True, help="Lightning's, such as ddp.")
@click.option("--workers", default=0, show_default=True, help="Processes that prepare data, for each device.")
@click.option("--streams", type=click.IntRange(1), default=None,
              help="Of data: with the same number, runs on more or fewer devices draw the same.  "
                   "[default: devices times workers]")  # fmt: skip
@click.option("--logger", type=click.Choice(["tensorboard", "csv"]), default="tensorboard", show_default=True)
@click.option("--log-every", type=click.IntRange(1), default=50, show_default=True, help="Batches.")
@click.option("--resume", type=_FILE, help="Checkpoint to go on from, such as OUTPUT/last.ckpt.")
@click.option("--initial", type=_FILE, help="Begin with the weights of this checkpoint, of the same size.")
@click.option("--seed", default=0, show_default=True)
def hmr2_command(
    folders: tuple[Path, ...],
    held_out: tuple[Path, ...],
    preset: str,
    mocap: str | None,
    no_adversarial: bool,
    encoder: Path | None,
    mean_params: Path | None,
    body: str,
    network: str,
    sizes: dict[str, int],
    pose_histogram: Path | None,
    augmentation: tuple[str, ...],
    filter_settings: tuple[str, ...],
    loss_weights: tuple[str, ...],
    batch_size: int | None,
    **options: Any,
) -> None:
    """Train HMR 2.0 on tars of the released layout: docs/training.md.

    \b
    Examples:
      4dhumans train hmr2 --preset 2.0b --data hmr2_training_data
      4dhumans train hmr2 --data DATA --mocap cmu_mocap.npz --encoder vitpose_backbone.pth
      4dhumans train hmr2 --data DATA --mocap synthetic --network small --output RUN
      4dhumans train hmr2 --data DATA --output RUN --resume RUN/last.ckpt
    OUTPUT/hmr2.ckpt goes wherever recovery.checkpoint goes.
    """  # fmt: skip
    try:
        import lightning  # noqa: F401
        import timm  # noqa: F401
        import webdataset  # noqa: F401
    except ImportError as error:
        raise UsageError("training needs Lightning, timm and WebDataset: pip install 'fourd-humans[train]'") from error
    import torch

    from fourd_humans.recovery.hmr2.model import SIZES
    from fourd_humans.training.hmr2.augmentation import Augmentation
    from fourd_humans.training.hmr2.datasets import files_beside, find_data_sets, split_held_out
    from fourd_humans.training.hmr2.filters import Filters
    from fourd_humans.training.hmr2.mocap import read_mocap, synthetic_mocap
    from fourd_humans.training.hmr2.recipes import PRESETS
    from fourd_humans.training.hmr2.training import train_hmr2
    from fourd_humans.training.pose_histogram import read_pose_histogram

    beside = {what: file for folder in folders for what, file in files_beside(folder).items()}
    starts = options["initial"] is None and options["resume"] is None  # or the weights come from there
    mocap = mocap or (None if no_adversarial or "mocap" not in beside else str(beside["mocap"]))
    encoder = encoder or (beside.get("encoder") if starts and network == "released" and not sizes else None)
    mean_params = mean_params or (beside.get("mean_params") if starts else None)
    pose_histogram = pose_histogram or beside.get("pose_histogram")
    if no_adversarial == (mocap is not None):
        raise UsageError("give --mocap FILE, --mocap synthetic, or --no-adversarial")
    if unknown := set(sizes) - set(SIZES):
        raise UsageError(f"the network has no size {sorted(unknown)[0]}; it has {', '.join(SIZES)}")
    changes = {
        name: options.pop(name)
        for name in (
            "learning_rate", "steps", "effective_batch", "schedule", "warm_up", "clip", "stochastic_depth", "readouts",
        )
    }  # fmt: skip
    recipe = replace(PRESETS[preset], **{name: value for name, value in changes.items() if value is not None})
    recipe = replace(recipe, weights=with_values(recipe.weights, loss_weights))
    body_model = _body(body)
    histogram = None if pose_histogram is None else read_pose_histogram(pose_histogram)
    filters = with_values(Filters(histogram=histogram, shape_space=body_model.shape_space), filter_settings)
    bodies = None
    if mocap is not None:
        bodies = synthetic_mocap(SYNTHETIC_BODIES, options["seed"]) if mocap == SYNTHETIC else read_mocap(Path(mocap))
    data_sets, held_out_by_name = split_held_out([found for folder in folders for found in find_data_sets(folder)])
    if not data_sets:
        raise UsageError("--data holds nothing but data sets to validate on")
    validation = [data_set for folder in held_out for data_set in find_data_sets(folder)]
    total = sum(data_set.weight for data_set in data_sets)
    for data_set in data_sets:
        click.echo(
            f"{data_set.name}: {100 * data_set.weight / total:.1f} % of the people, {len(data_set.shards)} shards"
        )
    validation = validation or held_out_by_name
    used = {
        "validation": ", ".join(data_set.name for data_set in validation), "motion capture": mocap, "encoder": encoder,
        "mean parameters": mean_params, "pose histogram": pose_histogram,
    }  # fmt: skip
    for what, file in used.items():
        click.echo(f"{what}: {file or 'none'}")
    if options["precision"] == "auto":
        options["precision"] = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    path = train_hmr2(
        data_sets, validation, NETWORKS[network] | sizes, body_model, recipe, options.pop("output"), mocap=bodies,
        filters=filters, augmentation=with_values(Augmentation(), augmentation),
        batch_size=batch_size or recipe.people_of_a_sum, encoder=encoder, mean_parameters=mean_params, **options,
    )  # fmt: skip
    click.echo(f"wrote {path}")


def with_values(settings: Any, given: Sequence[str]) -> Any:
    """A dataclass with the values of NAME=VALUE texts. Raises: UsageError for a name or value that it does not take."""
    kinds = {field.name: type(getattr(settings, field.name)) for field in fields(settings)}
    known = [name for name, kind in kinds.items() if kind in (bool, int, float, str)]
    changes = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in known:
            raise UsageError(f"there is no '{name}' to set; known are {', '.join(known)}")
        changes[name] = _value(text, value, kinds[name])
    return replace(settings, **changes)


def _value(text: str, value: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        number = kind(value)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{text}: the value must be a {'true or false' if kind is bool else kind.__name__}") from error
    if kind is float and number != number:
        raise UsageError(f"{text}: the value is no number")
    return number


def _body(name: str) -> Any:
    from fourd_humans.body.model import BodyModel
    from fourd_humans.checkpoints import find

    path = None if name == "open" else find("smpl")
    if name == "smpl" and path is None:
        raise UsageError("SMPL is not installed: '4dhumans models add smpl FILE' does that, or give --body open")
    return BodyModel.open_body() if path is None else BodyModel.from_file(path)
