"""Training of the action transformer with Lightning; timm's layer decay, schedule and weight averaging."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from timm.optim import param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fourd_humans.actions.action_transformer import ActionTransformer, SceneBatch
from fourd_humans.actions.checkpoint import SETTINGS, ActionModel, describe, load_action_model, save_action_model
from fourd_humans.actions.classes import ActionClasses
from fourd_humans.actions.scenes import FRAMES
from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.errors import UsageError
from fourd_humans.training.actions.data import ActionScenes, Example, pose_statistics
from fourd_humans.training.actions.losses import ANNOTATED, PSEUDO_LABELLED, action_loss, random_mask, with_labels
from fourd_humans.training.motion.data import EpochSampler
from fourd_humans.training.trainer import make_trainer

BETAS = (0.9, 0.95)
CLIP = 2.0  # of the gradient's norm


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are the released pre-training on one GPU.

    learning_rate: with the epochs' warm-up from 0 and a cosine to 0 after it. weight_decay: AdamW's.
    layer_decay: factor on the learning rate from block to block, downwards from the heads; 1: none.
    released_groups: as the released code groups parameters, where it reaches the encoders and nothing else.
    mask_ratio: share of the detected tokens that the mask token stands for. least_label: 1: pseudo-labels count, 2:
    only annotations. average: decay of the averaged weights. head_only: train nothing but the last layer.
    """

    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    released_groups: bool = False
    mask_ratio: float = 0.4
    least_label: int = PSEUDO_LABELLED
    thinning: int = 1
    epochs: int = 30
    warm_up: int = 5
    batch_size: int = 8
    average: float = 0.9999
    head_only: bool = False


RECIPES = {
    "pretrain": Recipe(),
    "finetune": Recipe(learning_rate=7e-4, layer_decay=0.95, mask_ratio=0.0, least_label=ANNOTATED),
    "lite": Recipe(
        learning_rate=1e-3, mask_ratio=0.2, least_label=ANNOTATED, epochs=16, warm_up=1, batch_size=32, thinning=3,
        average=0.995,
    ),
}  # fmt: skip


class ActionTraining(lightning.LightningModule):
    """Learns to name actions; part of the tokens are masked. The averaged weights are evaluated and used.

    settings: the network's constructor arguments. mean, std: (229,) of the training data. people: of the scenes.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        classes: ActionClasses,
        mean: Tensor,
        std: Tensor,
        recipe: Recipe,
        *,
        people: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.settings, self.classes, self.recipe, self.people, self.seed = settings, classes, recipe, people, seed
        self.network = ActionTransformer(**settings)
        self.network.register_buffer("mean", mean, persistent=True)  # they belong in the checkpoint
        self.network.register_buffer("std", std, persistent=True)
        self._freeze()
        self.average = ModelEmaV3(self.network, decay=recipe.average, exclude_buffers=True)
        self.average.requires_grad_(False)
        self.schedule: CosineLRScheduler | None = None

    def start_from(self, model: ActionModel, path: Path) -> None:
        """Take over a network's weights, but for statistics, and for the last layer where the classes differ.

        Raises: FourDHumansError naming `path` where the network is of another size.
        """
        own = self.network.state_dict()
        weights = dict(model.network.state_dict())
        kept = {"mean", "std"}
        if model.classes.names != self.classes.names:
            kept |= {name for name in own if name.startswith("action_head_ava.")}
        weights = {name: tensor for name, tensor in weights.items() if name not in kept}
        load_strictly(self.network, weights | {name: own[name] for name in kept}, path)
        self.average.set(self.network)

    def on_train_epoch_start(self) -> None:
        assert self.schedule is not None
        self.schedule.step(self.current_epoch + 1)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        torch.manual_seed(_seed(self.seed, self.global_rank, self.global_step))  # dropout, also after resuming

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        generator = torch.Generator().manual_seed(_seed(self.seed, self.global_rank, self.global_step, 1))
        frames = batch["detected"].shape[1]
        times = torch.randperm(frames, generator=generator)[: -(-frames // self.recipe.thinning)].sort().values
        batch = {name: values[:, times] for name, values in batch.items()}
        masked = random_mask(batch["detected"], self.recipe.mask_ratio, generator)
        logits = self.network(_scene(batch), masked, times)
        chosen = with_labels(batch["detected"], batch["source"], self.recipe.least_label)
        loss = action_loss(logits, batch["labels"], chosen)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        self.average.update(self.network)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        logits = self.average.module(_scene(batch))
        chosen = with_labels(batch["detected"], batch["source"], self.recipe.least_label)
        chosen[:, :, 1:] = False
        if not chosen.any():
            return
        right = logits[chosen].argmax(-1) == batch["labels"][chosen].argmax(-1)
        size = int(chosen.sum())
        loss = action_loss(logits, batch["labels"], chosen)
        self.log("validation/loss", loss, prog_bar=True, sync_dist=True, batch_size=size)
        self.log("validation/accuracy", right.float().mean(), prog_bar=True, sync_dist=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        groups = parameter_groups(self.network, recipe)
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS, weight_decay=recipe.weight_decay)
        self.schedule = CosineLRScheduler(
            optimizer, t_initial=max(recipe.epochs - recipe.warm_up, 1), warmup_t=recipe.warm_up, warmup_prefix=True
        )
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[SETTINGS] = describe(self.settings, self.classes, self.people)

    def model(self) -> ActionModel:
        """The averaged network."""
        return ActionModel(self.average.module, self.classes, self.settings, self.people)

    def _freeze(self) -> None:
        if self.recipe.head_only:
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_(name.startswith("action_head_ava."))


def parameter_groups(network: ActionTransformer, recipe: Recipe) -> list[dict[str, Any]]:
    """Optimiser groups. With layer decay, vectors have no weight decay; without, as in the released pre-training, all
    parameters have."""
    if recipe.layer_decay == 1:
        return [{"params": [parameter for parameter in network.parameters() if parameter.requires_grad]}]
    decay = recipe.layer_decay
    depth = len(network.transformer.layers)
    grouped = _LayerGroups(network, released=recipe.released_groups)
    if recipe.released_groups:
        decay = decay ** (depth + 1)
    return param_groups_layer_decay(grouped, recipe.weight_decay, layer_decay=decay)


class _LayerGroups(nn.Module):
    """Shows a network's parameters to timm, with the layer that each belongs to.

    released: encoders, tokens and positions are one layer, blocks and heads another.
    """

    def __init__(self, network: ActionTransformer, *, released: bool) -> None:
        super().__init__()
        self.network, self.released = network, released

    def group_matcher(self, coarse: bool = False) -> Any:
        def layer(name: str) -> int:
            parts = name.split(".")[1:]
            if parts[0] == "transformer":
                return 1 if self.released else 1 + int(parts[2])
            if parts[0].endswith("_head") or "_head_" in parts[0] or parts[0].startswith("conv_"):
                return 1 if self.released else 1 + len(self.network.transformer.layers)
            return 0

        return layer


def train_actions(
    examples: Sequence[Example],
    held_out: Sequence[Example],
    settings: Mapping[str, Any],
    classes: ActionClasses,
    recipe: Recipe,
    output: Path,
    *,
    people: int = 5,
    frames: int = FRAMES,
    crop: bool = True,
    accelerator: str = "auto",
    devices: str | int = "auto",
    nodes: int = 1,
    strategy: str = "auto",
    precision: Any = "32-true",
    workers: int = 0,
    logger: Literal["tensorboard", "csv"] = "csv",
    resume: Path | None = None,
    initial: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train, and write checkpoints, logs and at the end ``actions.safetensors`` (returned) into `output`.

    settings: of the `ActionTransformer`. people, frames: of a scene. crop: see `ActionScenes`. resume: a checkpoint to
    go on from, with all that belongs to the run. initial: a network of the same size to begin with, whose last layer is
    left out where its classes are others.
    Raises: UsageError where there is nothing to learn from.
    """
    if not examples:
        raise UsageError("there is nothing to learn from")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises
    lightning.seed_everything(seed, verbose=False)
    takes = {"joints": settings.get("joints") is not None}
    statistics = pose_statistics(examples, bool(settings.get("relative_location")))
    mean, std = (torch.from_numpy(values) for values in statistics)
    settings = {**settings, "actions": len(classes)}
    training = ActionTraining(settings, classes, mean, std, recipe, people=people, seed=seed)
    if initial is not None:
        training.start_from(load_action_model(initial), initial)
    if resume is not None:
        load_strictly(training, load_state_dict(resume), resume)  # says in one line what does not fit
    drawn = ActionScenes(examples, frames, people, seed, crop=crop, **takes)
    validation = ActionScenes(held_out, frames, people, seed, shuffle=False, **takes)
    trainer = make_trainer(
        output,
        logger=logger,
        interval="epoch",
        validates=bool(held_out),
        progress=progress,
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
        max_epochs=recipe.epochs,
        gradient_clip_val=CLIP,
        log_every_n_steps=10,
    )
    batch = min(recipe.batch_size, max(1, len(examples) // trainer.world_size))
    loaders = {"num_workers": workers, "pin_memory": trainer.strategy.root_device.type == "cuda"}
    trainer.fit(
        training,
        DataLoader(drawn, batch, sampler=EpochSampler(len(examples)), drop_last=True, **loaders),  # type: ignore[arg-type]
        DataLoader(validation, batch, sampler=range(len(held_out)), **loaders) if held_out else None,  # type: ignore[arg-type]
        ckpt_path=resume,
        weights_only=True,
    )
    weights = output / "actions.safetensors"
    if trainer.is_global_zero:
        save_action_model(training.model(), weights)
    return weights


def _scene(batch: Mapping[str, Tensor]) -> SceneBatch:
    return SceneBatch(batch["poses"], batch["detected"], batch.get("joints"), batch.get("appearance"))


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
