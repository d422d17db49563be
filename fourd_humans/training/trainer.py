"""The Lightning trainer that all trainings here use: its checkpoints, logs and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

CHECKPOINTS_KEPT = 3
LOGGERS = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}


def make_trainer(
    output: Path,
    *,
    logger: Literal["tensorboard", "csv"],
    interval: Literal["step", "epoch"],
    validates: bool,
    progress: bool,
    log_rate: bool = True,
    **options: Any,
) -> lightning.Trainer:
    """A trainer that writes checkpoints and logs into `output`.

    interval: what checkpoints are named by, and when the learning rate is logged. validates: whether there are held-out
    data, by whose loss the best checkpoints are kept; else the last one is. progress: whether to show a bar.
    log_rate: whether to log the learning rate; a module that logs it itself says no.
    options: further arguments of `lightning.Trainer`.
    """
    return lightning.Trainer(
        logger=LOGGERS[logger](output, name="logs"),
        callbacks=[
            ModelCheckpoint(
                output,
                f"{{{interval}}}",
                monitor="validation/loss" if validates else None,
                save_last=True,
                save_top_k=CHECKPOINTS_KEPT if validates else 1,
                save_on_train_epoch_end=True,
                enable_version_counter=False,
            ),
            *([LearningRateMonitor(interval)] if log_rate else []),
        ],
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=progress,
        enable_model_summary=False,
        **options,
    )
