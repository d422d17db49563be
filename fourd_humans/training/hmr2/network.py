"""HMR 2.0 as it is trained: its initial weights, stochastic depth, gradient checkpointing."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import drop_path
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fourd_humans.checkpoints.loading import load_state_dict, load_strictly
from fourd_humans.errors import FourDHumansError
from fourd_humans.files.arrays import numbers
from fourd_humans.files.npz import read_npz
from fourd_humans.recovery.hmr2.decoder import SMPLDecoder
from fourd_humans.recovery.hmr2.discriminator import Discriminator
from fourd_humans.recovery.hmr2.vit import ViT

VITPOSE_HEADS = ("keypoint_head.", "associate_keypoint_heads.")
EXPERTS = ".mlp.experts."
MEANS = {"pose": "init_body_pose", "shape": "init_betas", "cam": "init_cam"}


def initialise_readouts(decoder: SMPLDecoder) -> None:
    """PyTorch's own initialisation, as in the released training."""
    for readout in (decoder.decpose, decoder.decshape, decoder.deccam):
        readout.reset_parameters()


def initialise_discriminator(discriminator: Discriminator) -> None:
    """Xavier-uniform weights and no biases, as in the released training."""
    for module in discriminator.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def load_mean_parameters(decoder: SMPLDecoder, path: Path) -> None:
    """The mean pose, shape and camera that the decoder starts from, of ``smpl_mean_params.npz``.

    Raises: FourDHumansError naming the file, where it has no `pose` (144), `shape` (10) and `cam` (3).
    """
    arrays = read_npz(path, MEANS)
    for name, buffer in MEANS.items():
        target: Tensor = getattr(decoder, buffer)
        try:
            values = numbers(arrays.get(name), (target.numel(),))
        except ValueError as error:
            raise FourDHumansError(f"{path}: its '{name}' {error}") from error
        if not np.isfinite(values).all():
            raise FourDHumansError(f"{path}: its '{name}' is not finite")
        target.copy_(torch.from_numpy(values).view_as(target))


def load_encoder(encoder: ViT, path: Path) -> None:
    """The weights of ViTPose's encoder: the released ``vitpose_backbone.pth``, or ViTPose's own file.

    Raises: FourDHumansError naming the file where it cannot be read, or is of another encoder.
    """
    weights = {name.removeprefix("backbone."): tensor for name, tensor in load_state_dict(path).items()}
    if any(EXPERTS in name for name in weights):
        raise FourDHumansError(f"{path} is of ViTPose+ with several experts; merge one of them into its layers first")
    weights = {
        name: tensor for name, tensor in weights.items() if not name.startswith(VITPOSE_HEADS) and name != "cls_token"
    }
    load_strictly(encoder, weights, path)


def add_stochastic_depth(encoder: ViT, rate: float) -> None:
    """In training, leave out each block's attention and MLP for some people, more often in later blocks: 0 to `rate`.

    Huang et al., "Deep Networks with Stochastic Depth", 2016. What is kept is divided by its probability.
    """

    def leave_out(probability: float, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return drop_path(output, probability, module.training)

    for block, probability in zip(encoder.blocks, torch.linspace(0, rate, len(encoder.blocks)).tolist(), strict=True):
        for branch in (block.get_submodule("attn"), block.get_submodule("mlp")):
            branch.register_forward_hook(partial(leave_out, probability))


def checkpoint_gradients(encoder: ViT) -> None:
    """Compute blocks anew in the backward pass instead of keeping activations: less memory, a third more time."""
    for block in encoder.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
