"""Training of HMR 2.0 with Lightning, on one device or many (supplement, S.3; extra ``train``)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader

from fourd_humans.body.model import BodyModel
from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.model import HMR2, SETTINGS
from fourd_humans.rendering.renderer import Renderer
from fourd_humans.training.hmr2 import losses, validation
from fourd_humans.training.hmr2.augmentation import Augmentation
from fourd_humans.training.hmr2.datasets import DataSet
from fourd_humans.training.hmr2.filters import Filters
from fourd_humans.training.hmr2.mocap import MotionCapture
from fourd_humans.training.hmr2.network import (
    add_stochastic_depth,
    checkpoint_gradients,
    initialise_discriminator,
    initialise_readouts,
    load_encoder,
    load_mean_parameters,
)
from fourd_humans.training.hmr2.recipes import Recipe
from fourd_humans.training.hmr2.streams import TrainingCrops, ValidationCrops
from fourd_humans.training.trainer import make_trainer

REAL_BODIES = 2  # for each person of a batch, in the discriminator's loss
PICTURES = 8  # validated people that are drawn
NETWORK, DISCRIMINATOR = "network.", "discriminator."


class HMR2Training(lightning.LightningModule):
    """The network against annotations, and against a discriminator that knows how people look.

    sizes: the network's constructor arguments. body: whose joints are compared, and whose betas are learnt.
    mocap: for the discriminator; None leaves it and the adversarial loss out.
    accumulate: batches that make one step. Checkpoints have the released names, without the body's arrays.
    """

    def __init__(
        self,
        sizes: Mapping[str, Any],
        body: BodyModel,
        recipe: Recipe,
        mocap: MotionCapture | None = None,
        *,
        accumulate: int = 1,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.sizes, self.recipe, self.mocap = dict(sizes), recipe, mocap
        self.accumulate, self.seed = accumulate, seed
        self.network, self.discriminator, self.body = HMR2(**sizes), Discriminator(), body
        if recipe.readouts == "linear":
            initialise_readouts(self.network.smpl_head)  # else they are as they were made: small
        initialise_discriminator(self.discriminator)
        add_stochastic_depth(self.network.backbone, recipe.stochastic_depth)
        if gradient_checkpointing:
            checkpoint_gradients(self.network.backbone)
        if recipe.freeze_encoder:
            self.network.backbone.requires_grad_(False)
        if mocap is None:
            self.discriminator.requires_grad_(False)
        self._validated: list[validation.Rows] = []

    @property
    def step(self) -> int:
        """Steps of the network's optimiser so far; Lightning counts the discriminator's as well."""
        return self.global_step // (1 if self.mocap is None else 2)

    def train(self, mode: bool = True) -> HMR2Training:
        """A frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.recipe.freeze_encoder:
            self.network.backbone.eval()
        return self

    def configure_optimizers(self) -> Any:
        trained = [[p for p in self.network.parameters() if p.requires_grad]]
        if self.mocap is not None:
            trained.append(list(self.discriminator.parameters()))
        recipe = self.recipe
        # Fused steps take a third of the time on the CPU. Elsewhere they would unscale fp16's gradients themselves, too
        # late for their norms.
        fused = True if self.device.type == "cpu" else None
        return [
            torch.optim.AdamW(
                part, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=fused
            )
            for part in trained
        ]

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        number = batch_index % self.accumulate
        is_last = number == self.accumulate - 1
        torch.manual_seed(_seed(self.seed, self.global_rank, self.step, number))  # for stochastic depth
        total, of_discriminator, found = self.losses(batch, number)
        if not torch.isfinite(total):
            raise FourDHumansError(f"the loss of step {self.step} is not finite; a smaller --learning-rate may help")
        self._backward(total / self.accumulate, is_last)
        if of_discriminator is not None:
            self._backward(of_discriminator / self.accumulate, is_last)
        values = {f"train/{name}": value.detach() for name, value in found.items()}
        self.log_dict(values | {"train/loss": total.detach()}, batch_size=len(batch["image"]))
        if is_last:
            self._optimise()
        self.log("step", float(self.step), batch_size=1)  # the loggers' axis and the checkpoints' names

    def losses(self, batch: Mapping[str, Tensor], number: int) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """The network's loss, the discriminator's, both weighted, and each loss by itself as released.

        Under autocast the encoder alone is in lower precision. number: of the batch among those of one step.
        """
        weights, count = asdict(self.recipe.weights), len(batch["image"])
        output = self.network(losses.normalise(batch["image"], batch["colour"]))
        with torch.autocast(self.device.type, enabled=False):
            found = losses.supervised_losses(losses.predict(output, self.body), batch)
            found = {name: value * (self.recipe.people_of_a_sum / count) for name, value in found.items()}
            of_discriminator = None
            if self.mocap is not None:
                self.discriminator.requires_grad_(False)  # it learns from its own loss only
                found["adversarial"] = losses.adversarial_loss(self.discriminator, output)
                self.discriminator.requires_grad_(True)
                real = self._real_bodies(count, number)
                found["discriminator"] = losses.discriminator_loss(self.discriminator, output, *real)
                of_discriminator = weights["adversarial"] * found["discriminator"]
            total = sum(
                (weights[name] * value for name, value in found.items() if name in weights), output.betas.new_zeros(())
            )
        return total, of_discriminator, found

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Gradients are final here: averaged over processes, and not scaled."""
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        owner = "network" if optimizer is self.trainer.optimizers[0] else "discriminator"
        self.log(f"gradient_norm/{owner}", norm, batch_size=1)
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.recipe.clip, norm)

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        output = self.network(losses.normalise(batch["image"], batch["colour"]))
        with torch.autocast(self.device.type, enabled=False):
            prediction = losses.predict(output, self.body)
            found = losses.supervised_losses(prediction, batch)
        count, weights = len(batch["image"]), asdict(self.recipe.weights)
        total = sum(weights[name] * value for name, value in found.items()) * self.recipe.people_of_a_sum / count
        self.log("validation/loss", total, prog_bar=True, sync_dist=True, batch_size=count)
        self._validated.append(validation.rows_of(prediction, batch))
        if batch_index == 0 and self.global_rank == 0 and isinstance(self.logger, TensorBoardLogger):
            crops = batch["image"][:PICTURES].cpu().numpy()
            picture = validation.draw(crops, prediction, self.body, Renderer(self.body, threads=1))
            self.logger.experiment.add_image("validation", picture, self.step, dataformats="HWC")

    def on_validation_epoch_end(self) -> None:
        parts = self._validated
        self._validated = []
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, parts)
            parts = [part for own in gathered for part in own]
        for name, value in validation.figures(validation.joined(parts)).items():
            self.log(f"validation/{name}", value, prog_bar=name == "PA-MPJPE", sync_dist=True, batch_size=1)
        self.log("step", float(self.step), batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name.removeprefix(NETWORK): tensor for name, tensor in weights.items()}
        checkpoint[SETTINGS] = self.described()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = own_names(checkpoint["state_dict"])

    def described(self) -> str:
        """What `HMR2.from_checkpoint` needs to know beside the weights."""
        return json.dumps({"sizes": self.sizes, "shape_space": self.body.shape_space})

    def _backward(self, loss: Tensor, is_last: bool) -> None:
        """Gradients are averaged over processes with the last batch of a step only."""
        if is_last or not hasattr(self.trainer.strategy, "block_backward_sync"):
            self.manual_backward(loss)
            return
        with self.trainer.strategy.block_backward_sync():
            self.manual_backward(loss)

    def _optimise(self) -> None:
        optimizers = self.optimizers()
        rate = self.recipe.learning_rate * self.recipe.factor(self.step)
        self.log("learning_rate", rate, batch_size=1)
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()

    def _real_bodies(self, count: int, number: int) -> tuple[Tensor, Tensor]:
        """This batch's share of the bodies that are drawn for the step."""
        assert self.mocap is not None
        processes = self.trainer.world_size
        parts = processes * self.accumulate
        pose, betas = self.mocap.draw(
            (self.seed, 25, self.step), REAL_BODIES * count * parts, number * processes + self.global_rank, parts
        )
        return pose.to(self.device), betas.to(self.device)


class HMR2Data(lightning.LightningDataModule):
    """Streams that begin anew with each epoch, and the people to validate on."""

    def __init__(
        self, crops: TrainingCrops, held_out: ValidationCrops | None, batch_size: int, workers: int, pin_memory: bool
    ) -> None:
        super().__init__()
        self.crops, self.held_out, self.batch_size = crops, held_out, batch_size
        self.options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin_memory}

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        trainer = self.trainer
        assert trainer is not None
        self.crops.epoch, self.crops.rank, self.crops.processes = (
            trainer.current_epoch, trainer.global_rank, trainer.world_size
        )  # fmt: skip
        return DataLoader(self.crops, self.batch_size, **self.options)

    def val_dataloader(self) -> Any:
        if self.held_out is None:
            return []
        trainer = self.trainer
        assert trainer is not None
        each = -(
            -len(self.held_out) // trainer.world_size
        )  # alike in all processes, or they would wait for one another
        rows = [(i * trainer.world_size + trainer.global_rank) % len(self.held_out) for i in range(each)]
        return DataLoader(self.held_out, self.batch_size, sampler=rows, **self.options)


def train_hmr2(
    data_sets: Sequence[DataSet],
    held_out: Sequence[DataSet],
    sizes: Mapping[str, Any],
    body: BodyModel,
    recipe: Recipe,
    output: Path,
    *,
    mocap: MotionCapture | None = None,
    filters: Filters | None = None,
    augmentation: Augmentation | None = None,
    batch_size: int = 48,
    epoch_steps: int = 5000,
    streams: int | None = None,
    validated: int = 1000,
    encoder: Path | None = None,
    mean_parameters: Path | None = None,
    initial: Path | None = None,
    resume: Path | None = None,
    gradient_checkpointing: bool = False,
    precision: Any = "32-true",
    accelerator: str = "auto",
    devices: str | int = "auto",
    nodes: int = 1,
    strategy: str = "auto",
    workers: int = 0,
    logger: Literal["tensorboard", "csv"] = "tensorboard",
    log_every: int = 50,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train, and write checkpoints, logs and at the end ``hmr2.ckpt`` (returned) into `output`.

    data_sets: what is learnt from. held_out: what is validated on, at most `validated` people of it. sizes: constructor
    arguments of `HMR2`. batch_size: of each device; the recipe's effective batch is reached by accumulating batches.
    epoch_steps: steps between validations and checkpoints. streams: see `TrainingCrops`. encoder: ViTPose's weights to
    start from. mean_parameters: of SMPL, as ``smpl_mean_params.npz``. initial: a checkpoint to begin a new run with.
    resume: one to go on from, with all that belongs to the run.
    Raises: UsageError where batches, processes or epochs do not add up; FourDHumansError for files that cannot be read.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises
    lightning.seed_everything(seed, verbose=False)
    epoch_steps = min(epoch_steps, recipe.steps)
    if recipe.steps % epoch_steps:
        raise UsageError(f"{recipe.steps} steps cannot be divided into epochs of {epoch_steps}")
    filters = filters or Filters(shape_space=body.shape_space)
    validation_crops = ValidationCrops(held_out, filters, validated) if held_out else None
    training = HMR2Training(sizes, body, recipe, mocap, gradient_checkpointing=gradient_checkpointing, seed=seed)
    if encoder is not None:
        load_encoder(training.network.backbone, encoder)
    if mean_parameters is not None:
        load_mean_parameters(training.network.smpl_head, mean_parameters)
    for path in (initial, resume):
        if path is not None:
            load_strictly(training, own_names(load_state_dict(path)), path)  # says in one line what does not fit
    trainer = make_trainer(
        output,
        logger=logger,
        interval="step",
        validates=validation_crops is not None,
        progress=progress,
        log_rate=False,
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=with_unused_parameters(strategy, accelerator, devices, nodes),
        precision=precision,
        max_epochs=recipe.steps // epoch_steps,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=log_every,
        limit_train_batches=1,  # set below, when the number of processes is known
    )
    training.accumulate, rest = divmod(recipe.effective_batch, batch_size * trainer.world_size)
    if rest or not training.accumulate:
        raise UsageError(
            f"an effective batch of {recipe.effective_batch} is no multiple of {trainer.world_size} × {batch_size}; "
            "change --batch-size or --effective-batch"
        )
    trainer.limit_train_batches = epoch_steps * training.accumulate
    crops = TrainingCrops(data_sets, filters, augmentation or Augmentation(), seed=seed, streams=streams)
    data = HMR2Data(crops, validation_crops, batch_size, workers, trainer.strategy.root_device.type == "cuda")
    trainer.fit(training, datamodule=data, ckpt_path=resume, weights_only=True)
    path = output / "hmr2.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path


def own_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names that `HMR2Training` has for the entries of a checkpoint; the body's arrays are left out."""
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(("smpl.", "initialized"))}
    return {name if name.startswith(DISCRIMINATOR) else NETWORK + name: tensor for name, tensor in kept.items()}


def with_unused_parameters(strategy: str, accelerator: str, devices: str | int, nodes: int) -> str:
    """DDP that lets network and discriminator have gradients in turn; other strategies as they are."""
    if strategy == "auto":
        count = torch.cuda.device_count() if accelerator in ("auto", "gpu", "cuda") else 1
        if str(devices).strip("[]") not in ("auto", "-1"):
            numbers = str(devices).strip("[]").split(",")
            count = len(numbers) if len(numbers) > 1 else int(numbers[0])
        strategy = "ddp" if nodes * count > 1 else strategy
    return f"{strategy}_find_unused_parameters_true" if strategy in ("ddp", "ddp_spawn") else strategy


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
