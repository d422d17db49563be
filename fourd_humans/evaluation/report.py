"""What an evaluation found, with what it takes to find it again: a table to read, json and csv to keep."""

from __future__ import annotations

import csv
import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

import fourd_humans
from fourd_humans.errors import UsageError

PACKAGES = ("numpy", "scipy", "torch", "torchvision", "onnxruntime", "opencv-python-headless")


@dataclass(frozen=True)
class Report:
    """title: what was measured on what. rows: one for each line of the table, with the same columns.

    settings: the options and, where a model was run, its configuration. notes: whatever was left out, and why.
    """

    title: str
    rows: Sequence[Mapping[str, str | float | int]]
    settings: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=list)

    def show(self) -> None:
        """Print the table and the notes."""
        columns = list(self.rows[0])
        table = Table(title=self.title, title_justify="left", box=None, pad_edge=False)
        for column in columns:
            justify: Literal["left", "right"] = "left" if isinstance(self.rows[0][column], str) else "right"
            table.add_column(column, justify=justify, no_wrap=justify == "right")
        for row in self.rows:
            table.add_row(*(_text(row[column]) for column in columns))
        console = Console(highlight=False)
        if not console.is_terminal:  # a file or a pipe is as wide as it needs to be
            console = Console(highlight=False, width=200)
        console.print(table)
        for note in self.notes:
            console.print(note)

    def save(self, path: Path) -> tuple[Path, Path]:
        """Write ``path.json`` and ``path.csv``, both with the settings, the revision and the versions.

        In the csv these come first, in lines that begin with #.
        Raises: UsageError where they cannot be written.
        """
        content = {**asdict(self), **provenance()}
        files = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.csv")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files[0].write_text(json.dumps(_jsonable(content), indent=2) + "\n", encoding="utf-8")
            with files[1].open("w", newline="", encoding="utf-8") as file:
                for key, value in content.items():
                    if key != "rows":
                        file.write(f"# {key}: {json.dumps(_jsonable(value))}\n")
                writer = csv.DictWriter(file, list(self.rows[0]))
                writer.writeheader()
                writer.writerows(self.rows)
        except OSError as error:
            raise UsageError(f"cannot write {error.filename or path}: {error.strerror}") from error
        return files


def provenance() -> dict[str, Any]:
    """The git revision of this code, if it is run from a checkout, and the versions in use."""
    versions = {"fourd_humans": fourd_humans.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"revision": _revision(Path(__file__).parents[2]), "versions": versions}


def _revision(folder: Path) -> str | None:
    """The commit of the checkout whose root `folder` is, with + where files are changed; None where it is none."""
    if not (folder / ".git").exists():
        return None
    try:
        commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
        commit, changes = (
            subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")


def _text(value: str | float | int) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3f}" if abs(value) < 2 else f"{value:.1f}"
    return str(value)


def _jsonable(value: Any) -> Any:
    """Paths as text and NaN as null, which json does not have."""
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
