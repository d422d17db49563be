"""Puts a catalogue entry's files in place, all or none: from its publisher, a mirror, or a folder on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from fourd_humans.checkpoints.catalogue import Download, Entry
from fourd_humans.checkpoints.download import Progress, fetch
from fourd_humans.checkpoints.store import downloads_of, folder_of, record, sha256
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.archives import unpack


def install(
    entry: Entry,
    *,
    mirror: str | None = None,
    local: Path | None = None,
    progress: Callable[[str], Progress] = lambda name: lambda done, total: None,
) -> Path:
    """Install `entry`, replacing what there is of it, and return its folder. Interrupted downloads are kept and go on.

    mirror: an address under which files of the same names are. local: a folder that holds the downloads, or what they
    unpack to (as the caches of the released code do). progress: called with a file's name, gives what to tell how far
    it is.
    Raises: FourDHumansError if something cannot be fetched, has a wrong checksum, or is not the archive it should be;
    UsageError if `local` lacks a file.
    """
    if local is not None:
        sources = [_in_folder(download, local) for download in entry.downloads]
    else:
        folder = downloads_of(entry.name)
        sources = [[_downloaded(download, folder, mirror, progress(download.name))] for download in entry.downloads]
    target = folder_of(entry.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=target.parent))
    try:
        origins = {}
        for download, paths in zip(entry.downloads, sources, strict=True):
            origin = str(local.resolve()) if local else _address(download, mirror)
            origins[download.name] = {"from": origin} | _put(download, paths, staging)
        record(staging, origins)
        _swap(staging, target)
    except FourDHumansError:
        if local is None:
            shutil.rmtree(folder)  # what has come is no good, and is not to be used again
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if local is None:
        shutil.rmtree(folder)
    return target


def _address(download: Download, mirror: str | None) -> str:
    return f"{mirror.rstrip('/')}/{download.name}" if mirror else download.url


def _downloaded(download: Download, folder: Path, mirror: str | None, progress: Progress) -> Path:
    path = folder / download.name
    if not path.is_file():  # else an earlier installation stopped after this one
        fetch(_address(download, mirror), path, progress)
    if download.sha256 is not None and sha256(path) != download.sha256:
        path.unlink()
        raise FourDHumansError(
            f"{_address(download, mirror)} has not the checksum that it should: it was deleted; "
            "try again, or take it from somewhere else with --mirror or --from"
        )
    return path


def _in_folder(download: Download, local: Path) -> list[Path]:
    """The published file if the folder has it, or else the files that are inside it."""
    if not local.is_dir():
        raise UsageError(f"{local} is not a folder")
    whole = _find_in(local, download.name)
    if whole is not None:
        if download.sha256 is not None and sha256(whole) != download.sha256:
            raise FourDHumansError(f"{whole} has not the checksum that it should")
        return [whole]
    found = {member: _find_in(local, member) for member in download.members}
    absent = [member for member, path in found.items() if path is None]
    if absent or not found:
        inside = f" nor all that is in it: no {', '.join(absent)}" if absent else ""
        raise UsageError(f"there is no {download.name} in {local}{inside}")
    return [path for path in found.values() if path is not None]


def _put(download: Download, paths: list[Path], folder: Path) -> dict[str, str]:
    """Bring what a download holds into `folder`; returns its checksum, if it is there as it was published."""
    published = paths[0] if paths[0].name == download.name else None
    if published is not None and download.members:
        unpack(published, download.members, folder)
    else:
        for path in paths:
            shutil.copyfile(path, folder / path.name)
    return {} if published is None else {"sha256": sha256(published)}


def _find_in(local: Path, member: str) -> Path | None:
    """A file by its path under `local`, or by its name there or one folder down."""
    name = PurePosixPath(member).name
    candidates = [local / member, local / name, *sorted(local.glob(f"*/{name}"))]
    return next((path for path in candidates if path.is_file()), None)


def _swap(staging: Path, target: Path) -> None:
    """Move a finished folder into place. What was there goes only when the new one is there."""
    staging.chmod(0o755)
    if target.exists():
        old = target.with_name(f".{target.name}-old-{os.getpid()}")
        target.rename(old)
        try:
            staging.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    else:
        staging.rename(target)
