"""Opening a dataset's files, with errors that say what is missing or wrong, and where."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.errors import FourDHumansError, UsageError


def first_existing(folder: Path, candidates: Sequence[str], what: str) -> Path:
    """The first of the paths in `folder` that exists. Raises: UsageError listing where it was looked for."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    for candidate in candidates:
        if (folder / candidate).exists():
            return folder / candidate
    raise UsageError(f"{folder} lacks {what}: looked for {', '.join(candidates)}")


def files_in(folder: Path, pattern: str, what: str) -> list[Path]:
    """Sorted, at least one. Raises: UsageError where there are none."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise UsageError(f"there are no {what} in {folder} ({pattern})")
    return found


def read_json(path: Path) -> Any:
    """Raises: FourDHumansError naming the file where it cannot be read or is no json."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise FourDHumansError(f"{path} is no json: {error}") from error


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a file. Raises: UsageError where there is none; FourDHumansError where it holds no plain arrays."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    if not zipfile.is_zipfile(path):
        raise FourDHumansError(f"{path} is no .npz file, or is cut off")
    arrays = {}
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            try:
                arrays[key] = stored[key]
            except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise FourDHumansError(f"{path}: its {key} is no plain array, or is damaged") from error
    return arrays
