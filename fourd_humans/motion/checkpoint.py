"""Pose transformers from files: the built-in one, this project's own checkpoints, and the released one."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from fourd_humans.checkpoints.loading import build_described, load_state_dict, stated_text
from fourd_humans.errors import FourDHumansError
from fourd_humans.files.arrays import numbers
from fourd_humans.files.budget import one_line
from fourd_humans.files.npz import read_npy
from fourd_humans.files.text import read_yaml
from fourd_humans.motion.pose_transformer import PoseTransformer
from fourd_humans.motion.settings import MotionSettings
from fourd_humans.pose_features import NUM_POSE_FEATURES

BUILT_IN = Path(str(files(__package__) / "data" / "pose_transformer_lite.safetensors"))
SETTINGS = "pose_transformer"  # where a file keeps the network's constructor arguments, as JSON
OURS = "network."  # what names begin with in this project's training checkpoints
RELEASED = "encoder."  # and in the released one
RELEASED_STATISTICS = "mean_std.npy"
RELEASED_CONFIG = "config_40006.yaml"
MAX_SETTINGS = 1 << 16  # characters


def load_pose_transformer(path: Path | str = BUILT_IN, device: torch.device | str = "cpu") -> PoseTransformer:
    """A network with its statistics, ready to use.

    path: a ``.safetensors`` file as `save_pose_transformer` writes it, a checkpoint of ``4dhumans train motion``, or
    the released ``pose_predictor_40006.ckpt`` with ``mean_std.npy`` and ``config_40006.yaml`` beside it.

    Raises: FourDHumansError naming the file where it is missing, is something else or does not fit its settings.
    """
    path = Path(path)
    state = load_state_dict(path)
    if f"{RELEASED}mask_token" in state:
        state = {name.removeprefix(RELEASED): tensor for name, tensor in state.items() if name.startswith(RELEASED)}
        settings = _released_settings(state, path)
        statistics = released_statistics(path.parent / RELEASED_STATISTICS)
    else:
        settings = _settings(path)
        state = {name.removeprefix(OURS): tensor for name, tensor in state.items()}
        if "mean" not in state or "std" not in state:
            raise FourDHumansError(f"{path} lacks the mean and std of the poses it was trained on")
        statistics = state.pop("mean"), state.pop("std")
    if settings.get("bottleneck") is not None:
        settings["bottleneck"] = tuple(settings["bottleneck"])
    network = build_described("pose transformer", PoseTransformer, settings, state, path)
    if any(values.shape != (NUM_POSE_FEATURES,) for values in statistics):
        raise FourDHumansError(f"{path}: mean and std must have {NUM_POSE_FEATURES} features, not {len(statistics[0])}")
    network.mean, network.std = (values.float() for values in statistics)
    return network.to(device).eval()


def build(settings: MotionSettings, released: Path | None, device: torch.device | str) -> PoseTransformer | None:
    """The network that the settings ask for, or None where poses are held.

    released: the published network, which is used where the settings name no other; None: the built-in one instead.
    """
    if settings.predictor == "hold":
        return None
    return load_pose_transformer(settings.checkpoint or released or BUILT_IN, device)


def save_pose_transformer(network: PoseTransformer, settings: dict[str, Any], path: Path | str) -> None:
    """Write the weights in half precision, with the statistics and the constructor arguments `settings`."""
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    tensors |= {"mean": network.mean.cpu(), "std": network.std.cpu()}
    save_file({name: t.half().contiguous() for name, t in tensors.items()}, path, {SETTINGS: json.dumps(settings)})


def _settings(path: Path) -> dict[str, Any]:
    """What a file of this project says of the network in it."""
    text = stated_text(path, SETTINGS)
    if text is None:
        raise FourDHumansError(f"{path} is not a pose transformer of this project or the released one")
    try:
        settings = json.loads(text[:MAX_SETTINGS])
    except (ValueError, RecursionError) as error:
        raise FourDHumansError(f"{path} describes no pose transformer: {one_line(error)}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("bottleneck", []), list | None):
        raise FourDHumansError(f"{path} describes no pose transformer that can be built")
    return settings


def _released_settings(state: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """The constructor arguments of the released network, from the shapes of its weights and the file beside it."""
    heads, convolution = 8, {"stride": 5, "pad": 1}
    try:
        if (path.parent / RELEASED_CONFIG).is_file():
            config = read_yaml(path.parent / RELEASED_CONFIG)
            heads, convolution = (config["configs"]["transformer"][key] for key in ("heads", "conv"))
        return {
            "frames": state["pos_embedding_learned1"].shape[1],
            "width": len(state["mask_token"]),
            "depth": sum(name.startswith("transformer1.") and name.endswith("to_qkv.weight") for name in state),
            "heads": heads,
            "head_width": state["transformer1.layers.0.0.fn.to_out.0.weight"].shape[1] // heads,
            "mlp_width": len(state["transformer1.layers.0.1.fn.net.0.weight"]),
            "bottleneck": (convolution["stride"], convolution["pad"]),
            "readout_width": len(state["smpl_head.0.fc1.weight"]),
            "actions": len(state.get("action_head_ava.0.0.weight", ())),
        }
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as error:
        raise FourDHumansError(
            f"{path} is not the released pose transformer with its configuration: {one_line(error)}"
        ) from error


def released_statistics(path: Path) -> tuple[Tensor, Tensor]:
    """Mean and std (229,) from the released array of two; features that it does not cover stay as they are."""
    if not path.is_file():
        raise FourDHumansError(f"the released pose transformer needs its statistics: {path} is missing")
    loaded = read_npy(path, objects=True)
    if not isinstance(loaded, np.ndarray) or len(loaded) != 2:
        raise FourDHumansError(f"{path} is not an array of two, the mean and the std")
    try:
        mean, std = (numbers(values, (np.size(values),)) for values in loaded)
    except ValueError as error:
        raise FourDHumansError(f"{path}: a mean or std {error}") from error
    if len(mean) != len(std) or len(mean) > NUM_POSE_FEATURES:
        raise FourDHumansError(f"{path} has {len(mean)} means and {len(std)} stds, not {NUM_POSE_FEATURES}")
    missing = NUM_POSE_FEATURES - len(mean)
    return torch.from_numpy(np.pad(mean, (0, missing))), torch.from_numpy(np.pad(std, (0, missing), constant_values=1))
