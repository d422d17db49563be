"""Weights that are mapped into memory instead of read, so that a model starts in a second whatever its size.

PyTorch's zip files and safetensors can be mapped as they are. Pickles (detectron2's) and PyTorch's files from before
2020 cannot: of those a safetensors copy is kept, which makes the second start as fast.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from fourd_humans.checkpoints.loading import load_state_dict
from fourd_humans.checkpoints.store import home

log = logging.getLogger(__name__)


def load_mapped(path: Path | str) -> dict[str, Tensor]:
    """What `load_state_dict` gives, memory-mapped: from the second time on for files that cannot be mapped themselves.

    The copy belongs to one file at one time: it is made anew when the file's size or date changes.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or not path.is_file() or zipfile.is_zipfile(path):
        return load_state_dict(path)
    copy, stamp = copy_of(path), _stamp(path)
    if _stamp_of_copy(copy) == stamp:
        return load_file(copy)
    weights = load_state_dict(path)
    temporary = copy.with_name(f"{copy.name}.{os.getpid()}")
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, metadata=stamp)
        temporary.replace(copy)
    except (OSError, SafetensorError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        log.warning("%s will load as slowly the next time, because no fast copy could be kept: %s", path, error)
    return weights


def copy_of(path: Path) -> Path:
    """Where the fast copy of `path` is, or would be."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    return home() / "converted" / f"{path.stem}-{place}.safetensors"


def _stamp(path: Path) -> dict[str, str]:
    status = path.stat()
    return {"source": str(path.resolve()), "size": str(status.st_size), "modified": str(status.st_mtime_ns)}


def _stamp_of_copy(copy: Path) -> dict[str, str] | None:
    """What the copy was made of; None where there is none, or a damaged one."""
    try:
        with safe_open(copy, "pt") as stored:
            return stored.metadata()
    except (OSError, SafetensorError):
        return None
