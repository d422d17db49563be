"""Action transformers from files: the built-in one, this project's own checkpoints, and the released ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fourd_humans.actions.action_transformer import ActionTransformer
from fourd_humans.actions.classes import ActionClasses, ava_classes
from fourd_humans.checkpoints.loading import load_state_dict, load_strictly, stated_text
from fourd_humans.errors import FourDHumansError
from fourd_humans.motion.checkpoint import RELEASED_STATISTICS, released_statistics
from fourd_humans.pose_features import NUM_POSE_FEATURES

BUILT_IN = Path(str(files(__package__) / "data" / "actions_lite.safetensors"))
SETTINGS = "action_transformer"  # where a file keeps settings and classes, as JSON
RELEASED = "encoder."  # what names begin with in released files
AVERAGED = "average.module."  # and in this project's training checkpoints, whose averaged weights are used
RELEASED_PEOPLE = 5
LARGEST = {"depth": 64, "heads": 64, "frames": 1000, "people": 100}  # that a file may ask for
LARGEST_WIDTH = 8192
HEAD_WIDTH = 64  # of the released networks; shapes do not tell it from the number of heads


@dataclass(frozen=True)
class ActionModel:
    """A network, ready to use, and what belongs to it.

    classes: of its outputs. settings: its constructor arguments. people: of the scenes it was trained on.
    """

    network: ActionTransformer
    classes: ActionClasses
    settings: Mapping[str, Any]
    people: int


def load_action_model(
    path: Path | str = BUILT_IN, device: torch.device | str = "cpu", *, statistics: Path | None = None
) -> ActionModel:
    """A network with its statistics and classes.

    path: a ``.safetensors`` file as `save_action_model` writes it, a checkpoint of ``4dhumans train actions``, or a
        released LART checkpoint with ``mean_std.npy`` beside it.
    statistics: where that file lies instead.
    Raises: FourDHumansError naming the file where it is missing, is something else or does not fit its settings.
    """
    path = Path(path)
    state = load_state_dict(path)
    if f"{RELEASED}mask_token" in state:
        state = {name.removeprefix(RELEASED): value for name, value in state.items() if name.startswith(RELEASED)}
        settings = released_settings(state, path)
        classes, people = ava_classes(), RELEASED_PEOPLE
        state["pos_embedding"] = state["pe"]  # one tensor under two names, of which the released code loads `pe` last
        mean, std = released_statistics(statistics or path.parent / RELEASED_STATISTICS)
    else:
        settings, classes, people = _described(path)
        averaged = {n.removeprefix(AVERAGED): value for n, value in state.items() if n.startswith(AVERAGED)}
        state = averaged or state
        try:
            mean, std = state.pop("mean").float(), state.pop("std").float()
        except KeyError as error:
            raise FourDHumansError(f"{path} lacks the {error} of the poses it was trained on") from error
    try:
        _check_sizes(settings)
        network = ActionTransformer(**settings)
    except (ValueError, TypeError, IndexError, RuntimeError, ZeroDivisionError) as error:
        raise FourDHumansError(f"{path} describes no action transformer that can be built: {error}") from error
    if len(classes) != network.actions:
        raise FourDHumansError(f"{path} has {network.actions} outputs for {len(classes)} classes")
    load_strictly(network, state, path)
    if mean.shape != (NUM_POSE_FEATURES,) or std.shape != (NUM_POSE_FEATURES,):
        raise FourDHumansError(f"{path}: mean and std must have {NUM_POSE_FEATURES} values, not {len(mean)}")
    network.mean, network.std = mean, std
    return ActionModel(network.to(device).eval(), classes, settings, people)


def save_action_model(model: ActionModel, path: Path | str, *, half: bool = True) -> None:
    """Write the weights, in half precision by default, with statistics, settings and classes."""
    network = model.network
    tensors = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    tensors |= {"mean": network.mean.cpu(), "std": network.std.cpu()}
    tensors = {name: (t.half() if half else t.float()).clone().contiguous() for name, t in tensors.items()}
    save_file(tensors, path, {SETTINGS: describe(model.settings, model.classes, model.people)})


def describe(settings: Mapping[str, Any], classes: ActionClasses, people: int) -> str:
    """What a checkpoint says of the network in it, as JSON."""
    return json.dumps({"network": dict(settings), "classes": classes.to_json(), "people": people})


def released_settings(state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The constructor arguments of a released network, from the shapes of its weights.

    Raises: FourDHumansError for a network of another kind, such as PHALP's pose predictor.
    """
    if "pos_embedding_learned1" in state:
        raise FourDHumansError(f"{path} is PHALP's pose predictor, not an action transformer")
    try:
        inner = state["transformer.layers.0.0.fn.to_out.0.weight"].shape[1]
        pose = state["pose_shape_encoder.2.weight"]
        return {
            "actions": len(state["action_head_ava.0.0.weight"]),
            "width": len(pose),
            "depth": sum(name.startswith("transformer.") and name.endswith("to_qkv.weight") for name in state),
            "heads": inner // HEAD_WIDTH,
            "head_width": HEAD_WIDTH,
            "mlp_width": len(state["transformer.layers.0.1.fn.net.0.weight"]),
            "joints": _widths(state, "joint_encoder")[1:] or None,
            "appearance": _widths(state, "apperance_encoder") or None,
            "frames": state["pe"].shape[1],
            "people": state["pe"].shape[2],
            "kinetics": len(state["action_head_kinetics.4.weight"]),
        }
    except (KeyError, IndexError) as error:
        raise FourDHumansError(f"{path} is not a released action transformer: it lacks {error}") from error


def _check_sizes(settings: Mapping[str, Any]) -> None:
    """Raises: ValueError where a file asks for a network that no file of a reasonable size holds."""
    for name, value in settings.items():
        largest = LARGEST.get(name, LARGEST_WIDTH)
        numbers = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(number, int) and not 0 <= number <= largest for number in numbers):
            raise ValueError(f"{name} is {value}, beyond {largest}")


def _widths(state: Mapping[str, Tensor], encoder: str) -> list[int]:
    """Input and output widths of an encoder's linear layers; empty where there is no such encoder."""
    weights = [state[name] for name in sorted(state) if name.startswith(f"{encoder}.") and name.endswith("weight")]
    return [weights[0].shape[1], *(len(weight) for weight in weights)] if weights else []


def _described(path: Path) -> tuple[dict[str, Any], ActionClasses, int]:
    """Settings, classes and people that a file of this project states."""
    text = stated_text(path, SETTINGS)
    if text is None:
        raise FourDHumansError(f"{path} is not an action transformer of this project or a released one")
    try:
        values = json.loads(text)
        return dict(values["network"]), ActionClasses.from_json(values["classes"]), int(values["people"])
    except (ValueError, TypeError, KeyError) as error:
        raise FourDHumansError(f"{path} describes no action transformer: {error}") from error
