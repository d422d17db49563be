"""Training of the pose transformer with Lightning, on one machine or many (extra ``train``)."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.motion.checkpoint import SETTINGS, load_pose_transformer, save_pose_transformer
from fourd_humans.motion.clips import Clip
from fourd_humans.motion.pose_transformer import PoseTransformer
from fourd_humans.pose_features import CAMERA
from fourd_humans.training.motion.data import EpochSampler, MotionSequences, statistics
from fourd_humans.training.motion.losses import motion_loss
from fourd_humans.training.motion.masks import distance_to_seen, draw_mask
from fourd_humans.training.trainer import make_trainer

WARM_UP = 200  # steps
LOWEST_RATE = 0.02  # of the learning rate, at the end of the cosine
KERNEL_STEPS = 150
KERNEL_RATE = 0.05
KERNEL_INDEX = 2**40  # where the kernel's data begin, out of reach of the network's


class MotionTraining(lightning.LightningModule):
    """Hides frames and asks the network for them (supplement S.4); the loss is on hidden frames alone.

    settings: the network's constructor arguments, kept in the checkpoint so that it can be built from that.
    mean, std: (229,) of the training data. lever_arms: (24,), see `motion_losses`.
    learning_rate, betas, weight_decay: AdamW's. steps: length of the schedule.
    queried: at most so many frames are queried in a step, near ones more often. In the plain layout frames that are
        left out change nothing for the others, so this saves time; None asks for all of them.
    """

    lever_arms: Tensor

    def __init__(
        self,
        settings: dict[str, Any],
        mean: Tensor,
        std: Tensor,
        lever_arms: Tensor,
        *,
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.01,
        steps: int = 100_000,
        queried: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.network = PoseTransformer(**settings)
        self.network.register_buffer("mean", mean, persistent=True)  # they belong in the checkpoint
        self.network.register_buffer("std", std, persistent=True)
        self.register_buffer("lever_arms", lever_arms, persistent=False)
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.steps, self.queried, self.seed = steps, queried, seed

    def start_from(self, network: PoseTransformer, path: Path) -> None:
        """Take over a network's weights; statistics and `TimeKernel` are those of the new data.

        Raises: FourDHumansError naming `path` where the network is of another size.
        """
        weights = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("start.")}
        kept = {n: t for n, t in self.network.state_dict().items() if n.startswith("start.") or n in ("mean", "std")}
        load_strictly(self.network, weights | kept, path)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = self.loss(batch, np.random.default_rng([self.seed, self.global_rank, self.global_step]))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = self.loss(batch, np.random.default_rng([self.seed, batch_index]))
        self.log("validation/loss", loss, prog_bar=True, sync_dist=True, batch_size=len(batch["seen"]))
        return loss

    def loss(self, batch: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
        """The loss of one batch, in which all sequences have the same frames masked."""
        poses, seen = batch["poses"], batch["seen"]
        drawn = seen.shape[1]
        masked, queried = draw_mask(rng, drawn)
        times = None
        if self.queried is not None and not self.network.has_bottleneck:
            kept = _pick(rng, masked, queried, self.queried)
            poses, seen, masked, queried = poses[:, kept], seen[:, kept], masked[kept], queried[kept]
            kept = kept + rng.integers(0, self.network.frames - drawn + 1) * rng.integers(2)  # all positions are learnt
            times = torch.from_numpy(kept).to(seen.device).expand(seen.shape)
        hidden = torch.from_numpy(masked).to(seen.device) | ~seen
        shown = poses
        if rng.random() < 0.5:  # the tracker's camera features are of another kind, and not shown
            shown = poses.clone()
            shown[..., CAMERA] = self.network.mean[CAMERA]
        predicted = self.network(shown, hidden, times)
        scored = torch.from_numpy(queried).to(seen.device) & seen
        return motion_loss(predicted.float(), poses, scored, self.network.std, self.lever_arms).total

    def configure_optimizers(self) -> Any:
        trained = [p for p in self.network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay)

        def factor(step: int) -> float:
            cosine = 0.5 * (1 + math.cos(math.pi * min(1, step / self.steps)))
            return min(1, (step + 1) / WARM_UP) * (LOWEST_RATE + (1 - LOWEST_RATE) * cosine)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[SETTINGS] = json.dumps(self.settings)


def train_motion(
    clips: Sequence[Clip],
    held_out: Sequence[Clip],
    settings: dict[str, Any],
    lever_arms: Tensor,
    output: Path,
    *,
    weights: Sequence[float] | None = None,
    sequence: int = 128,
    batch_size: int = 64,
    steps: int = 100_000,
    epoch_steps: int = 500,
    learning_rate: float = 1e-3,
    queried: int | None = None,
    precision: Any = "32-true",
    accelerator: str = "auto",
    devices: str | int = "auto",
    nodes: int = 1,
    strategy: str = "auto",
    workers: int = 0,
    logger: Literal["tensorboard", "csv"] = "csv",
    resume: Path | None = None,
    initial: Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Train, and write checkpoints, logs and at the end ``pose_transformer.safetensors`` (returned) into `output`.

    clips, weights: what is learnt from and how often each is drawn. held_out: what the validation loss is on.
    settings: of the `PoseTransformer`. epoch_steps: steps between validations and checkpoints. batch_size: of each
    device. resume: a checkpoint to go on from, with all that belongs to the run. initial: a network of the same size to
    begin a new run with.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it advertises
    lightning.seed_everything(seed, verbose=False)
    mean, std = (torch.from_numpy(values) for values in statistics(clips))
    training = MotionTraining(
        settings, mean, std, lever_arms, learning_rate=learning_rate, steps=steps, queried=queried, seed=seed
    )
    if initial is not None:
        training.start_from(load_pose_transformer(initial), initial)
    drawn = MotionSequences(clips, sequence, seed, weights)
    if training.network.start is not None:
        if resume is None:
            fit_start(training, drawn, batch_size)
        training.network.start.requires_grad_(False)
    if resume is not None:
        load_strictly(training, load_state_dict(resume), resume)  # says in one line what does not fit
    validation = MotionSequences(held_out, sequence, seed, augment=False)
    trainer = make_trainer(
        output,
        logger=logger,
        interval="step",
        validates=bool(held_out),
        progress=progress,
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,
        max_steps=steps,
        gradient_clip_val=1.0,
        log_every_n_steps=20,
    )
    sampler = EpochSampler(epoch_steps * batch_size * trainer.world_size)
    loaders = {"num_workers": workers, "pin_memory": trainer.strategy.root_device.type == "cuda"}
    trainer.fit(
        training,
        DataLoader(drawn, batch_size, sampler=sampler, drop_last=True, **loaders),  # type: ignore[arg-type]
        DataLoader(validation, batch_size, sampler=range(len(held_out)), **loaders) if held_out else None,  # type: ignore[arg-type]
        ckpt_path=resume,
        weights_only=True,
    )
    weights_file = output / "pose_transformer.safetensors"
    if trainer.is_global_zero:
        save_pose_transformer(training.network, settings, weights_file)
    return weights_file


def fit_start(training: MotionTraining, drawn: MotionSequences, batch_size: int) -> None:
    """Fit the `TimeKernel` alone, before the network learns what to correct in its blends."""
    network = training.network
    kernel = network.start
    assert kernel is not None
    optimizer = torch.optim.Adam(kernel.parameters(), lr=KERNEL_RATE)
    for step in range(KERNEL_STEPS):
        items = [drawn[KERNEL_INDEX + step * batch_size + i] for i in range(batch_size)]
        batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        rng = np.random.default_rng([training.seed, step])
        masked, queried = draw_mask(rng, drawn.frames)
        kept = _pick(rng, masked, queried, training.queried or drawn.frames)
        poses, seen = batch["poses"][:, kept], batch["seen"][:, kept]
        times = torch.from_numpy(kept).expand(seen.shape)
        blended = network.blend(poses, torch.from_numpy(masked[kept]) | ~seen, times)
        assert blended is not None
        scored = torch.from_numpy(queried[kept]) & seen
        loss = motion_loss(blended.features, poses, scored, network.std, training.lever_arms).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _pick(
    rng: np.random.Generator, masked: np.ndarray, queried: np.ndarray, count: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Indices of the frames that are not masked and of at most `count` of the queried ones, near ones preferred."""
    candidates = np.flatnonzero(queried)
    chances = 1 / distance_to_seen(masked)[candidates]
    count = min(count, len(candidates))
    kept = rng.choice(candidates, count, replace=False, p=chances / chances.sum()) if count else candidates
    return np.sort(np.concatenate([np.flatnonzero(~masked), kept]))
