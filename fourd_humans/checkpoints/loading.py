"""Reads weights from files that may be hostile, and puts them into modules with nothing missing and nothing left over.

Nothing in a file is ever run: see `files.torch_files` and `files.pickles`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from fourd_humans.errors import FourDHumansError
from fourd_humans.files.arrays import RefusedError
from fourd_humans.files.budget import MEGABYTE, TooLargeError, one_line
from fourd_humans.files.pickles import read_pickle, refusal
from fourd_humans.files.torch_files import check_plain, read_torch

Module = TypeVar("Module", bound=nn.Module)

SHOWN = 3  # differences named in an error
MAX_WIDTH, MAX_LAYERS = 1 << 14, 256  # of a network that a file describes
SHARED = 4  # times the file's size that its tensors may take: some share their storage


def load_state_dict(path: Path | str) -> dict[str, Tensor]:
    """The named tensors in a checkpoint, on the CPU, memory-mapped where the format allows.

    Understood: ``.safetensors``; PyTorch's own (``.ckpt``, ``.pth``, ``.pt``: Lightning's with its hyper-parameters,
    or with the weights under ``model`` or at the top); ``.pkl``, a plain pickle of numpy arrays as detectron2 writes.

    Raises: FourDHumansError, naming the file, where it is missing, cut short, asks for anything but tensors of plain
    numbers, or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FourDHumansError(f"there is no checkpoint at {path}")
    loaded = _load_safetensors(path) if path.suffix == ".safetensors" else read_checkpoint(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise FourDHumansError(f"{path} holds no named weights")
    tensors = {str(name): _as_tensor(value, str(name), path) for name, value in loaded.items()}
    if sum(tensor.nbytes for tensor in tensors.values()) > SHARED * path.stat().st_size + MEGABYTE:
        raise FourDHumansError(f"{path} refused: its tensors are far larger than the file")
    return tensors


def read_checkpoint(path: Path | str) -> Any:
    """All that a checkpoint holds that is no safetensors file: ``.ckpt``, ``.pth``, ``.pt``, ``.pkl``.

    Raises: FourDHumansError, naming the file, where it is cut short, asks for anything but arrays, or takes too much.
    """
    path = Path(path)
    if path.suffix == ".pkl" and not zipfile.is_zipfile(path):
        return read_pickle(path)
    try:
        return read_torch(path)
    except RefusedError as error:
        raise refusal(path, error, "a file of weights") from error
    except TooLargeError as error:
        raise FourDHumansError(f"{path} refused: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _unreadable(path, error) from error


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
        shown = one_line("; ".join(differences[:SHOWN]), 400)  # names come from the file
        raise FourDHumansError(f"{path} does not fit {type(model).__name__}: {shown}{more}")
    on_meta = any(tensor.is_meta for tensor in wanted.values())
    converted = {name: tensor.to(wanted[name].dtype) for name, tensor in state_dict.items()}
    model.load_state_dict(converted, assign=on_meta)


def stated_text(path: Path, key: str) -> str | None:
    """The text that one of this project's own checkpoints has under `key` beside its weights; None where it has none.

    Raises: FourDHumansError naming the file where it cannot be read.
    """
    if path.suffix != ".safetensors":
        content = read_checkpoint(path)
        text = content.get(key) if isinstance(content, Mapping) else None
    else:
        try:
            with safe_open(path, "pt") as file:
                text = (file.metadata() or {}).get(key)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
    return text if isinstance(text, str) else None


def build_described(
    what: str,
    make: Callable[..., Module],
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    path: Path | str,
) -> Module:
    """A network (`what` it is, for messages) made from the settings that a file states, with the file's weights.

    It is laid out without memory first: sizes that the weights do not have cost nothing.
    Raises: FourDHumansError naming `path`, for settings that describe no network, or one that the weights do not fit.
    """
    try:
        for name, value in settings.items():
            check_size(name, value)
        with torch.device("meta"):
            outline = make(**settings)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        raise FourDHumansError(f"{path} describes no {what} that can be built: {one_line(error)}") from error
    load_strictly(outline, weights, path)
    network = make(**settings)
    load_strictly(network, weights, path)
    return network


def check_size(name: str, value: Any) -> None:
    """Raises: ValueError for what is no plausible size of a network."""
    if isinstance(value, list | tuple) and len(value) <= MAX_LAYERS:
        for part in value:
            check_size(name, part)
    elif isinstance(value, int) and not 0 <= value <= (MAX_LAYERS if name == "depth" else MAX_WIDTH):
        raise ValueError(f"{name} is {str(value)[:20]}")
    elif (
        value is not None
        and not isinstance(value, int | float | bool)
        and not (isinstance(value, str) and len(value) < MAX_WIDTH)
    ):
        raise ValueError(f"{name} is no size")


def _unreadable(path: Path, error: Exception) -> FourDHumansError:
    return FourDHumansError(
        f"cannot read the checkpoint {path}: it is cut short or not of its kind ({one_line(error)})"
    )


def _as_tensor(value: Any, name: str, path: Path) -> Tensor:
    if isinstance(value, Tensor):
        return check_plain(name, value, path)
    if isinstance(value, np.ndarray | np.generic) and np.asarray(value).dtype.kind in "fiub":
        array = np.asarray(value)
        return check_plain(name, torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False)), path)
    raise FourDHumansError(f"{path}: the entry '{one_line(name)}' is a {type(value).__name__}, not an array of numbers")
