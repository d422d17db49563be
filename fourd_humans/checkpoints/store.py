"""Where model files live on this machine, what was recorded about them, and whether they are still what they were."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from platformdirs import user_cache_path

from fourd_humans.checkpoints.catalogue import ENTRIES
from fourd_humans.errors import FourDHumansError

HOME = "FOURD_HUMANS_HOME"
RECORD = "installed.json"  # beside the files of an entry: where they came from, and their sizes and checksums
SMPL = "smpl"  # the name of the user's own body model, which nobody can download
SMPL_FILE = "SMPL_NEUTRAL.npz"


def home() -> Path:
    """The folder of everything downloaded or added: ``$FOURD_HUMANS_HOME``, or in the user's cache folder."""
    return Path(os.environ[HOME]).expanduser() if os.environ.get(HOME) else user_cache_path("4dhumans", appauthor=False)


def folder_of(name: str) -> Path:
    """Where the files of a catalogue entry, or of ``smpl``, are or would be."""
    return home() / "models" / name


def downloads_of(name: str) -> Path:
    """Where what has come of an entry waits until all of it is here and installed."""
    return home() / "downloads" / name


def find(name: str) -> Path | None:
    """The file to load for a catalogue entry, or for ``smpl``; None where it is not installed."""
    path = folder_of(name) / (SMPL_FILE if name == SMPL else ENTRIES[name].main)
    return path if path.is_file() else None


def installed(name: str) -> bool:
    return find(name) is not None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_hash(path: Path) -> str:
    """The SHA-256 of a file of weights: as recorded when it was installed, if it has not been written since."""
    try:
        status, record = path.stat(), path.parent / RECORD
        recorded = json.loads(record.read_text(encoding="utf-8"))["files"][path.name]
        if recorded["bytes"] == status.st_size and record.stat().st_mtime_ns >= status.st_mtime_ns:
            return str(recorded["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return sha256(path)
    except OSError as error:
        raise FourDHumansError(f"cannot read {path}: {error.strerror or error}") from error


def record(folder: Path, origins: dict[str, dict[str, str]]) -> None:
    """Write down the sizes and checksums of the files in `folder`, and for each download its `origins`."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != RECORD
    }
    text = json.dumps({"downloads": origins, "files": files}, indent=2)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def problems(name: str) -> list[str]:
    """What is wrong with an installed entry's files, compared with what was recorded at installation; empty if nothing.

    Reads every byte, so it takes seconds for large files.
    """
    folder = folder_of(name)
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return [f"{folder} has no readable {RECORD}"]
    found = []
    for file, expected in files.items():
        path = folder / file
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != expected["bytes"]:
            found.append(f"{path} has {path.stat().st_size} bytes, not {expected['bytes']}")
        elif sha256(path) != expected["sha256"]:
            found.append(f"{path} has changed since it was installed")
    return found
