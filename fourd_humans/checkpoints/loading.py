"""Reads weights from files that may be hostile, and puts them into modules with nothing missing and nothing left over.

Nothing in a file is ever run: PyTorch's files are read with ``weights_only=True`` and a list of inert stand-ins for the
configuration classes that Lightning writes beside the weights; plain pickles with an unpickler that knows numpy's
arrays and nothing else.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.pickles import read_pickle

SHOWN = 3  # differences named in an error


class _Inert:
    """Takes the place of a class that a checkpoint mentions and nobody needs: keeps what it is given, does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments


def _empty_dict(*_: Any) -> OrderedDict[Any, Any]:
    """Takes the place of ``defaultdict(factory)``; the entries follow in the file."""
    return OrderedDict()


# What the hyper-parameters and callbacks in a Lightning checkpoint may consist of. The classes themselves are neither
# imported nor installed. Dictionaries with attributes must be OrderedDicts for PyTorch's unpickler to fill them.
_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *(
        (_Inert, f"omegaconf.{name}")
        for name in (
            "dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata",
            "nodes.AnyNode", "nodes.BooleanNode", "nodes.FloatNode", "nodes.IntegerNode", "nodes.StringNode",
            "nodes.InterpolationResultNode",
        )
    ),
    *((_Inert, f"pathlib.{name}") for name in ("Path", "PosixPath", "WindowsPath", "_local.PosixPath")),
    (_Inert, "argparse.Namespace"),
    (_Inert, "typing.Any"),
    (_empty_dict, "collections.defaultdict"),
    *((_Inert, f"{m}.{name}") for m in ("builtins", "__builtin__") for name in ("dict", "int", "list", "str")),
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "fvcore.common.config.CfgNode"),
    (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (OrderedDict, "lightning.pytorch.utilities.parsing.AttributeDict"),
    (OrderedDict, "lightning_fabric.utilities.data.AttributeDict"),
    (OrderedDict, "lightning.fabric.utilities.data.AttributeDict"),
]  # fmt: skip


def load_state_dict(path: Path | str) -> dict[str, Tensor]:
    """The named tensors in a checkpoint, on the CPU, memory-mapped where the format allows.

    Understood: ``.safetensors``; PyTorch's own (``.ckpt``, ``.pth``, ``.pt``: Lightning's with its hyper-parameters,
    or with the weights under ``model`` or at the top); ``.pkl``, a plain pickle of numpy arrays as detectron2 writes.

    Raises: FourDHumansError, naming the file, where it is missing, cut short, holds code, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FourDHumansError(f"there is no checkpoint at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        as_arrays = path.suffix == ".pkl" and not zipfile.is_zipfile(path)
        loaded = read_pickle(path) if as_arrays else _load_torch(path)
    except pickle.UnpicklingError as error:
        unknown = _unsupported_global(str(error))
        if unknown:
            raise FourDHumansError(
                f"{path} refused: it asks for '{unknown}', which has no place in a file of weights; nothing was run"
            ) from error
        raise _unreadable(path, error) from error
    except (
        SafetensorError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise _unreadable(path, error) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise FourDHumansError(f"{path} holds no named weights")
    return {str(name): _as_tensor(value, name, path) for name, value in loaded.items()}


def load_strictly(model: nn.Module, state_dict: Mapping[str, Tensor], path: Path | str) -> None:
    """Give `model` exactly the entries of `state_dict`, in the model's own precision.

    A model built under ``torch.device("meta")`` takes the tensors over as they are, so nothing is initialised or copied
    (memory-mapped weights are then read when first used). Buffers that are not in the state_dict must not be on meta.

    Raises: FourDHumansError naming `path` and the first few entries that are missing, unknown or of the wrong shape.
    """
    wanted = model.state_dict()
    differences = [f"no '{name}'" for name in wanted if name not in state_dict]
    differences += [f"unknown '{name}'" for name in state_dict if name not in wanted]
    differences += [
        f"'{name}' is {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
        for name, tensor in state_dict.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if differences:
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise FourDHumansError(f"{path} does not fit {type(model).__name__}: {'; '.join(differences[:SHOWN])}{more}")
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    converted = {name: tensor.to(wanted[name].dtype) for name, tensor in state_dict.items()}
    model.load_state_dict(converted, assign=on_meta)


def _load_torch(path: Path) -> Any:
    with torch.serialization.safe_globals(_STAND_INS):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _unsupported_global(message: str) -> str | None:
    """What PyTorch's unpickler would not load, from its message: 'Unsupported global: GLOBAL os.system was not …'."""
    for marker in ("GLOBAL ", "unrecognized function "):
        if marker in message:
            return message.split(marker, 1)[1].split()[0]
    return None


def _unreadable(path: Path, error: Exception) -> FourDHumansError:
    # PyTorch puts general advice before and after.
    message = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
    reason = (" ".join(message.split()) or type(error).__name__)[:120]
    return FourDHumansError(f"cannot read the checkpoint {path}: it is cut short or not of its kind ({reason})")


def _as_tensor(value: Any, name: str, path: Path) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "fiub":
        return torch.from_numpy(np.asarray(value))
    raise FourDHumansError(f"{path}: the entry '{name}' is a {type(value).__name__}, not an array of numbers")
