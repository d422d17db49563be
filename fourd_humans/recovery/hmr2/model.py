"""HMR 2.0: from a person crop to a posed body and the camera that sees it."""

from __future__ import annotations

import inspect
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fourd_humans.body.model import SMPL, BodyModel
from fourd_humans.checkpoints.loading import check_size, load_strictly, stated_text
from fourd_humans.checkpoints.mapped import load_mapped
from fourd_humans.errors import FourDHumansError
from fourd_humans.files.budget import one_line
from fourd_humans.geometry.rotations import rotation_6d_to_matrix
from fourd_humans.recovery.hmr2.decoder import SMPLDecoder
from fourd_humans.recovery.hmr2.vit import ViT

# What a released checkpoint holds beside the network: the discriminator it was trained against and the body's buffers.
EXTRA_KEYS = ("discriminator.", "smpl.", "initialized")
SETTINGS = "hmr2"  # where a checkpoint of this project's training keeps the network's sizes and body, as JSON
MAX_SETTINGS = 1 << 16  # characters


@dataclass(frozen=True)
class HMR2Output:
    """The bodies in N crops.

    global_orient: (N, 1, 3, 3), body_pose: (N, 23, 3, 3): SMPL's joint rotations. betas: (N, 10).
    camera_crop: (N, 3) weak perspective (s, tx, ty) in the crop.
    vertices: (N, 6890, 3), joints: (N, 45, 3), metres, in the body's own position; where a body model was given.
    """

    global_orient: Tensor
    body_pose: Tensor
    betas: Tensor
    camera_crop: Tensor
    vertices: Tensor | None = None
    joints: Tensor | None = None


class HMR2(nn.Module):
    """The network of the paper, section 3: a ViT-H encoder and a transformer decoder with one query token.

    The defaults are the released weights' sizes; parameters are named as in the released checkpoint.

    >>> model = HMR2.from_checkpoint("epoch=35-step=1000000.ckpt")
    >>> result = model(crops, BodyModel.open_body())
    >>> result.body_pose, result.joints

    shape_space: of the body that its betas belong to.
    """

    shape_space = SMPL

    def __init__(
        self,
        *,
        encoder_dim: int = 1280,
        encoder_depth: int = 32,
        encoder_heads: int = 16,
        encoder_patch_size: int = 16,
        decoder_dim: int = 1024,
        decoder_depth: int = 6,
        decoder_heads: int = 8,
        decoder_dim_head: int = 64,
        decoder_mlp_dim: int = 1024,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = ViT(
            patch_size=encoder_patch_size, dim=encoder_dim, depth=encoder_depth, num_heads=encoder_heads
        )
        self.smpl_head = SMPLDecoder(
            encoder_dim, decoder_dim, decoder_depth, decoder_heads, decoder_dim_head, decoder_mlp_dim, dropout
        )

    @classmethod
    def from_checkpoint(cls, path: Path | str, **sizes: Any) -> HMR2:
        """The network with a checkpoint's weights (see `checkpoints.loading`), on the CPU, in evaluation mode.

        sizes: arguments of the constructor, where they are not the released ones. Checkpoints of this project's
        training know theirs, and whose betas they found.
        Raises: FourDHumansError naming the file, if it cannot be read or holds other entries than this network.
        """
        path = Path(path)
        stated, shape_space = _stated(path)
        with torch.device("meta"):
            model = cls(**(stated | sizes))
        model.shape_space = shape_space
        weights = {name: value for name, value in load_mapped(path).items() if not name.startswith(EXTRA_KEYS)}
        load_strictly(model, weights, path)
        return model.eval()

    def forward(self, images: Tensor, body_model: BodyModel | None = None) -> HMR2Output:
        """images: (N, 3, 256, 256) RGB crops, ImageNet-normalised (see `crops`); the middle 192 columns are used.

        Under autocast the encoder alone is in lower precision: the head is a hundredth of the work, and in bfloat16 it
        would cost twenty times as many digits of the pose as the encoder does.
        """
        tokens = self.backbone(images[..., 32:-32])
        with torch.autocast(images.device.type, enabled=False):
            pose, betas, camera_crop = self.smpl_head(tokens.float())
        rotations = rotation_6d_to_matrix(pose.unflatten(1, (-1, 6)))
        global_orient, body_pose = rotations[:, :1], rotations[:, 1:]
        if body_model is None:
            return HMR2Output(global_orient, body_pose, betas, camera_crop)
        body = body_model(global_orient, body_pose, betas)
        return HMR2Output(global_orient, body_pose, betas, camera_crop, body.vertices, body.joints)


def _stated(path: Path) -> tuple[dict[str, int], str]:
    """Sizes and shape space in a checkpoint of this project's training; those of the released ones elsewhere.

    Raises: FourDHumansError naming the file where they make no sense.
    """
    if not zipfile.is_zipfile(path) or (text := stated_text(path, SETTINGS)) is None:
        return {}, SMPL
    try:
        settings = json.loads(text[:MAX_SETTINGS])
        sizes, shape_space = settings["sizes"], settings["shape_space"]
        if not isinstance(sizes, dict) or not isinstance(shape_space, str) or not set(sizes) <= set(SIZES):
            raise ValueError("unknown sizes")
        for name, value in sizes.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is no size")
            check_size("depth" if name.endswith("depth") else name, value)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FourDHumansError(f"{path} describes no HMR 2.0 that can be built: {one_line(error)}") from error
    return sizes, shape_space


SIZES = tuple(name for name in inspect.signature(HMR2).parameters if name != "dropout")
