"""Finding a dataset's files, with errors that say what is missing and where it was looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fourd_humans.errors import UsageError


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
