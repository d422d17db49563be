"""Which jobs a command's sources are, and where the results of each go."""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fourd_humans.errors import UsageError
from fourd_humans.video.images import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm",
     ".wmv"}
)  # fmt: skip
"""Files that are taken for videos in a folder. A file that is named itself may be called anything."""


@dataclass(frozen=True)
class Job:
    """One video, one folder of images or one image, and where its results go.

    source: the file or folder. folder: where the results go. name: what they are called, without a suffix.
    """

    source: Path
    folder: Path
    name: str

    def file(self, suffix: str) -> Path:
        """One of the job's files: ``FOLDER/NAME`` and the suffix, such as ``.pkl``."""
        return self.folder / f"{self.name}{suffix}"


def find_jobs(sources: Sequence[str | Path], output: Path, *, recursive: bool = False) -> list[Job]:
    """The jobs of files, folders and patterns, in the order given, each once; what a folder holds in sorted order.

    A folder that holds videos gives a job for each of them, another one that holds images is one job. With
    `recursive`, so do its subfolders, and the results lie in folders like theirs under `output`. Patterns (``*``,
    ``?``, ``[]``, ``**``) that the shell has not expanded mirror the folders below their fixed beginning.
    Files and folders whose name begins with a dot, and `output` itself, are passed over.

    Raises: UsageError where a source does not exist or holds nothing to track, and where two jobs would write the same
    files.
    """
    jobs: dict[tuple[Path, Path, str], Job] = {}
    for source in sources:
        for job in _jobs_of(str(source), output, recursive):
            jobs.setdefault((job.source.resolve(), job.folder, job.name), job)
    found = list(jobs.values())
    _check_outputs(found)
    return found


def read_list(path: Path) -> list[str]:
    """The sources in a text file: one a line; empty lines and lines that begin with ``#`` are passed over.

    Raises: UsageError for a file that cannot be read or names nothing.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list {path}: {error}") from error
    sources = [line for line in lines if line and not line.startswith("#")]
    if not sources:
        raise UsageError(f"the list {path} names no source")
    return sources


@dataclass(frozen=True)
class Shard:
    """The part of the jobs that one of `count` machines does. number: from 1."""

    number: int
    count: int

    def of(self, jobs: Sequence[Job]) -> list[Job]:
        """Every count-th job."""
        return list(jobs[self.number - 1 :: self.count])


def parse_shard(text: str) -> Shard:
    """``2/8`` is the second of eight. Raises: UsageError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard takes NUMBER/COUNT with numbers from 1, as in 2/8, not '{text}'")
    return Shard(int(match[1]), int(match[2]))


def slurm_shard(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """The shard of a task of a SLURM job array, from the variables that SLURM sets; None outside an array."""
    try:
        task, first, count = (int(environment[f"SLURM_ARRAY_TASK_{key}"]) for key in ("ID", "MIN", "COUNT"))
        step = int(environment.get("SLURM_ARRAY_TASK_STEP", 1))
    except (KeyError, ValueError):
        return None
    number = (task - first) // max(step, 1) + 1
    return Shard(number, count) if 1 <= number <= count else None


def _jobs_of(source: str, output: Path, recursive: bool) -> Iterator[Job]:
    path = Path(source)
    if path.is_dir():
        yield from _jobs_in(path, output, recursive)
    elif path.exists():
        yield Job(path, output, path.stem)
    elif glob.has_magic(source):
        base = _fixed_beginning(path)
        matches = [Path(match) for match in sorted(glob.glob(source, recursive=True))]
        files = [match for match in matches if match.is_file()]
        if not files:
            raise UsageError(f"no file matches {source}")
        for match in files:
            yield Job(match, output / match.parent.relative_to(base), match.stem)
    else:
        raise UsageError(f"there is no file or folder {path}")


def _jobs_in(folder: Path, output: Path, recursive: bool) -> Iterator[Job]:
    found = False
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _same(here / name, output))
        visible = [Path(name) for name in sorted(names) if not name.startswith(".")]
        videos = [name for name in visible if name.suffix.lower() in VIDEO_SUFFIXES]
        inside = here.relative_to(folder)
        for video in videos:
            yield Job(here / video, output / inside, video.stem)
        if not videos and any(name.suffix.lower() in IMAGE_SUFFIXES for name in visible):
            yield Job(here, output / inside.parent, (here if inside.name else here.resolve()).name)
        found = found or bool(videos) or any(name.suffix.lower() in IMAGE_SUFFIXES for name in visible)
        if not recursive:
            if not found and folders:
                raise UsageError(f"there are no videos or images in {folder}; --recursive looks into its folders, too")
            break
    if not found:
        raise UsageError(f"there are no videos or images in the folder {folder}")


def _same(folder: Path, output: Path) -> bool:
    return folder.resolve() == output.resolve()


def _fixed_beginning(pattern: Path) -> Path:
    """The folders of a pattern before the first that has a wildcard in it."""
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def _check_outputs(jobs: Iterable[Job]) -> None:
    sources: defaultdict[Path, list[Path]] = defaultdict(list)
    for job in jobs:
        sources[job.file(".pkl")].append(job.source)
    for result, those in sources.items():
        if len(those) > 1:
            raise UsageError(
                f"{' and '.join(map(str, those[:2]))} would both be written to {result}; rename one, or run them with "
                "different --output folders"
            )
