"""``4dhumans train actions``: train the action transformer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from fourd_humans.errors import UsageError

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
JOINTS = (256, 256, 128)
NETWORKS: dict[str, dict[str, Any]] = {
    "pose": {},
    "pose-512": {"width": 512},
    "pose-joints": {"joints": JOINTS},
    "full": {"joints": JOINTS},  # the encoder of appearance depends on the features
    "lite": {
        "width": 64, "depth": 4, "heads": 4, "head_width": 16, "mlp_width": 128, "frames": 125, "people": 1,
        "drop_path": 0.1, "relative_location": True, "kinetics": 0,
    },
}  # fmt: skip
APPEARANCE = (512, 512, 256)
SYNTHETIC_FRAMES = 150
HELD_OUT_SEED = 900_000  # of synthetic people


@click.command(name="actions")
@click.option("--data", "folders", multiple=True, type=click.Path(exists=True, path_type=Path), metavar="PKL|FOLDER",
              help="Result files, annotated by --labels; may be given several times.")  # fmt: skip
@click.option("--labels", type=_FILE, metavar="CSV",
              help="Who does what when, in AVA's form or with a header (see docs/actions.md).")  # fmt: skip
@click.option("--tracklets", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              metavar="FOLDER", help="LART tracklet files with their labels; may be given several times.")  # fmt: skip
@click.option("--synthetic", default=0, show_default=True, metavar="COUNT", help="Synthetic people to learn from.")
@click.option("--classes", "class_file", type=_FILE, metavar="FILE",
              help="AVA's .pbtxt, or a name a line.  [default: AVA's 60, or those of --labels]")  # fmt: skip
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Folder for checkpoints and logs.")
@click.option("--recipe", type=click.Choice(["pretrain", "finetune", "lite"]), default="pretrain", show_default=True,
              help="LART's pre-training or fine-tuning, or that of the built-in network.")  # fmt: skip
@click.option("--network", type=click.Choice(list(NETWORKS)), default="pose", show_default=True,
              help="Inputs and width; 'full' takes appearance features from the tracklet files.")  # fmt: skip
@click.option("--people", type=click.IntRange(1), default=None, help="People of a scene.  [default: 5; lite: 1]")
@click.option("--epochs", type=click.IntRange(1), default=None, help="[default: as the recipe]")
@click.option(
    "--batch-size", type=click.IntRange(1), default=None, help="Scenes on each device.  [default: as the recipe]"
)
@click.option("--learning-rate", type=float, default=None, help="[default: as the recipe]")
@click.option("--mask-ratio", type=click.FloatRange(0, 1, max_open=True), default=None, help="[default: as the recipe]")
@click.option("--layer-decay", type=click.FloatRange(0, 1, min_open=True), default=None,
              help="[default: as the recipe]")  # fmt: skip
@click.option("--released-groups", is_flag=True, help="Layer decay as the released code has it: encoders only.")
@click.option("--head-only", is_flag=True, help="Train nothing but the last layer.")
@click.option("--held-out", default=0.05, show_default=True, help="Share of the people for validation.")
@click.option("--first-frames", is_flag=True, help="Cut long tracklets to their first 125 frames, as LART does.")
@click.option("--precision", default="32-true", show_default=True, help="Lightning's, such as bf16-mixed.")
@click.option("--accelerator", default="auto", show_default=True)
@click.option("--devices", default="auto", show_default=True, help="How many on each node, or their numbers.")
@click.option("--nodes", default=1, show_default=True)
@click.option("--strategy", default="auto", show_default=True, help="Lightning's, such as ddp.")
@click.option("--workers", default=0, show_default=True, help="Processes that prepare data.")
@click.option("--logger", type=click.Choice(["csv", "tensorboard"]), default="csv", show_default=True)
@click.option("--resume", type=_FILE, help="Checkpoint to go on from, such as OUTPUT/last.ckpt.")
@click.option("--initial", type=_FILE, help="Begin with the weights of this network, of the same size.")
@click.option("--seed", default=0, show_default=True)
def actions_command(
    folders: tuple[Path, ...],
    labels: Path | None,
    tracklets: tuple[Path, ...],
    synthetic: int,
    class_file: Path | None,
    output: Path,
    recipe: str,
    network: str,
    people: int | None,
    first_frames: bool,
    held_out: float,
    **options: Any,
) -> None:
    """Train the action transformer on annotated results, LART tracklet files or synthetic movements.

    \b
    Examples:
      4dhumans train actions --tracklets kinetics/ --tracklets ava_train/ --output pretrained
      4dhumans train actions --tracklets ava_train/ --recipe finetune --initial pretrained/last.ckpt --output run
      4dhumans train actions --data results/ --labels mine.csv --recipe finetune --output run
      4dhumans train actions --synthetic 3000 --recipe lite --network lite --output run
    """  # fmt: skip
    try:
        import lightning  # noqa: F401
        import timm  # noqa: F401
    except ImportError as error:
        raise UsageError("training needs Lightning and timm: pip install 'fourd-humans[train]'") from error
    from fourd_humans.actions.classes import ava_classes, checked, read_classes
    from fourd_humans.training.actions import data
    from fourd_humans.training.actions.movements import ACTIONS
    from fourd_humans.training.actions.training import RECIPES, train_actions
    from fourd_humans.training.motion.data import split

    if sum([bool(folders), bool(tracklets), bool(synthetic)]) != 1:
        raise UsageError("give what to learn from: one of --data with --labels, --tracklets, --synthetic")
    if bool(folders) != (labels is not None):
        raise UsageError("--data needs --labels, and --labels needs --data")
    if network == "full" and not tracklets:
        raise UsageError("the full network takes appearance features, which only --tracklets have")
    classes = read_classes(class_file) if class_file else None
    validation = []
    if synthetic:
        classes = checked(ACTIONS)
        examples = data.synthetic_examples(synthetic, SYNTHETIC_FRAMES, options["seed"])
        validation = data.synthetic_examples(round(held_out * synthetic), SYNTHETIC_FRAMES, HELD_OUT_SEED)
    elif labels is not None:
        annotations, classes = data.read_annotations(labels, classes)
        examples = data.read_annotated_results(folders, annotations, len(classes))
    else:
        classes = classes or ava_classes()
        examples = [example for folder in tracklets for example in data.read_tracklet_folder(folder, classes)]
    if not synthetic:
        examples, validation = split(examples, held_out, options["seed"])
    settings = dict(NETWORKS[network])
    if network == "full":
        features = examples[0].track.appearance
        if features is None:
            raise UsageError("the tracklet files hold no appearance features: choose another --network")
        settings["appearance"] = (features.shape[1], *APPEARANCE)
    names = ("epochs", "batch_size", "learning_rate", "mask_ratio", "layer_decay", "released_groups", "head_only")
    changes = {name: options.pop(name) for name in names}
    chosen = replace(RECIPES[recipe], **{name: value for name, value in changes.items() if value is not None})
    click.echo(f"{len(examples)} people to learn from, {len(validation)} held out, {len(classes)} actions")
    path = train_actions(
        examples, validation, settings, classes, chosen, output,
        people=people or (1 if network == "lite" else 5), crop=not first_frames, **options,
    )  # fmt: skip
    click.echo(f"wrote {path}")
