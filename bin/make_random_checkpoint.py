"""Write a checkpoint of HMR 2.0's or ViTDet-H's full size with random weights, in the layout of the released file.

With them the paper model's chain can be run and timed where the released weights cannot be had. The bodies it finds
mean nothing, and it detects nobody.

    python bin/make_random_checkpoint.py hmr2 random.ckpt
    python bin/make_random_checkpoint.py vitdet-h random.pkl
    4dhumans track VIDEO --model paper --set recovery.checkpoint=random.ckpt --boxes FILE
"""

from __future__ import annotations

import pickle
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import torch
from torch import Tensor

from fourd_humans.detection.vitdet.model import vitdet_h
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.model import HMR2


def beside_the_network() -> dict[str, Tensor]:
    """What the released file holds beside network and discriminator: the body layer's buffers, here without values."""
    shapes = {
        "betas": (1, 10), "v_template": (6890, 3), "shapedirs": (6890, 3, 10), "J_regressor": (24, 6890),
        "posedirs": (207, 20670), "lbs_weights": (6890, 24), "J_regressor_extra": (19, 6890),
    }  # fmt: skip
    buffers = {f"smpl.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    return buffers | {"smpl.faces_tensor": torch.zeros(13776, 3, dtype=torch.long), "initialized": torch.tensor(True)}


def save_as_lightning(state_dict: Mapping[str, Tensor], path: Path) -> None:
    """Save weights as Lightning does: with hyper-parameters, objects of a package that loading must not need."""
    with _omegaconf() as dict_config:
        checkpoint = {
            "epoch": 35,
            "global_step": 1_000_000,
            "pytorch-lightning_version": "1.8.1",
            "state_dict": dict(state_dict),
            "hparams_name": "kwargs",
            "hyper_parameters": {"cfg": dict_config()},
        }
        torch.save(checkpoint, path)


@contextmanager
def _omegaconf() -> Iterator[type]:
    """A class that is pickled as omegaconf's DictConfig is."""

    class DictConfig:
        def __init__(self) -> None:
            self._metadata = {"ref_type": typing.Any, "object_type": dict, "resolver_cache": defaultdict(dict)}
            self._content = {"MODEL": {"IMAGE_SIZE": 256}, "paths": {"output_dir": Path("logs")}}

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf.dictconfig", "DictConfig"
    package, module = types.ModuleType("omegaconf"), types.ModuleType("omegaconf.dictconfig")
    module.__dict__["DictConfig"] = DictConfig
    hidden = {name: sys.modules.get(name) for name in ("omegaconf", "omegaconf.dictconfig")}
    sys.modules.update({"omegaconf": package, "omegaconf.dictconfig": module})
    try:
        yield DictConfig
    finally:
        for name, original in hidden.items():
            if original is None:
                del sys.modules[name]
            else:
                sys.modules[name] = original


def write(model: str, output: Path, seed: int = 0) -> None:
    """Write the checkpoint of `model`, "hmr2" or "vitdet-h"."""
    torch.manual_seed(seed)
    if model == "hmr2":
        weights = HMR2().state_dict()
        weights |= {f"discriminator.{name}": tensor for name, tensor in Discriminator().state_dict().items()}
        save_as_lightning(weights | beside_the_network(), output)
        return
    arrays = {name: tensor.numpy() for name, tensor in vitdet_h().state_dict().items()}
    with output.open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "random"}, file, protocol=4)


@click.command(help=__doc__)
@click.argument("model", type=click.Choice(["hmr2", "vitdet-h"]))
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True)
def main(model: str, output: Path, seed: int) -> None:
    write(model, output, seed)
    click.echo(f"{output}: {output.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
