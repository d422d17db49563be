"""What ``4dhumans track`` shows of many sources: the jobs, a live table of the workers, and what became of all."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fourd_humans.batch.jobs import Job
from fourd_humans.batch.records import Record, read_record
from fourd_humans.errors import FourDHumansError

if TYPE_CHECKING:
    from fourd_humans.batch.scheduling import Progress
    from fourd_humans.batch.work import Outcome

FAILED_FILE = "failed.txt"
BATCH_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--list", "list_file", type=click.Path(path_type=Path), metavar="FILE",
                 help="More sources, one a line."),
    click.option("--recursive", is_flag=True, help="Look into the subfolders of folders, too."),
    click.option("--dry-run", is_flag=True, help="List the jobs, and do nothing."),
    click.option("--jobs", type=click.IntRange(min=1), metavar="N",
                 help="Worker processes; one source is split among them.  [default: as many as --devices, or 1]"),
    click.option("--ray", is_flag=False, flag_value="auto", metavar="[ADDRESS]",
                 help="Work on a Ray cluster: auto (where this runs), local (a new one here), or its address."),
    click.option("--devices", metavar="LIST", help="Devices that the workers use in turn, as cuda:0,cuda:1."),
    click.option("--shard", metavar="I/N",
                 help="Do the I-th of N parts of the jobs.  [default: the task's of a SLURM job array]"),
    click.option("--resume", is_flag=True,
                 help="Go on with a run that was interrupted or killed; many sources always do."),
    click.option("--retry-failed", is_flag=True, help="Do jobs that have failed before again."),
)  # fmt: skip


def batch_options(command: Any) -> Any:
    """The options of many sources."""
    for option in reversed(BATCH_OPTIONS):
        command = option(command)
    return command


def list_jobs(jobs: Sequence[Job]) -> None:
    """Every job: its source, where its results go, and what its record says."""
    for job in jobs:
        record = _record(job)
        print(f"{job.source} -> {job.file('.pkl')}{f' ({record.state})' if record else ''}")
    print(f"{len(jobs)} jobs")


class Board:
    """Call it with the progress of a run: a live table on a terminal, a line for each finished job elsewhere."""

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self._total, self._quiet, self._begin, self._told = total, quiet, time.monotonic(), 0
        console = Console(stderr=True)
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal and not quiet else None

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        if self._live is not None:
            self._live.update(self._table(progress))
        elif not self._quiet:
            for outcome in progress.outcomes[self._told :]:
                self._told += 1
                print(f"[{self._told}/{self._total}] {_line(outcome)}", file=sys.stderr, flush=True)

    def _table(self, progress: Progress) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("Worker", "Job", "Frames", "People", "Frames/s"):
            table.add_column(column, justify="left" if column in ("Worker", "Job") else "right", no_wrap=True)
        for name, job in sorted(progress.running.items()):
            table.add_row(name, Text(str(job.source), overflow="ellipsis"), *figures(_record(job)))
        counts = Counter(outcome.state for outcome in progress.outcomes)
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        minutes, seconds = divmod(int(time.monotonic() - self._begin), 60)
        line = f"{len(progress.outcomes)} of {self._total} jobs, {minutes}:{seconds:02}"
        return Group(table, Text(f"{line}, {states}" if states else line))


def figures(record: Record | None) -> tuple[str, str, str]:
    """Frames, people and frames per second of a record."""
    if record is None or not record.frames:
        return "", "", ""
    elapsed = record.elapsed or time.time() - record.began
    of = f"/{record.total}" if record.total and record.state == "running" else ""
    return f"{record.frames}{of}", str(record.people), f"{record.frames / max(elapsed, 1e-6):.1f}"


def summarise(outcomes: Sequence[Outcome], total: int, output: Path, *, quiet: bool) -> int:
    """Print what became of all jobs, the failed ones last, and write them to ``failed.txt``; returns the exit code.

    The file can be given to ``--list``.
    """
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    path = output / FAILED_FILE
    if failed:
        lines = [f"# {outcome.error}\n{outcome.job.source}\n" for outcome in failed]
        path.write_text("".join(lines), encoding="utf-8")
    elif path.exists():
        path.unlink()
    if not quiet:
        counts: Counter[str] = Counter(outcome.state for outcome in outcomes)
        if missing := total - len(outcomes):
            counts["not begun"] = missing
        done = [outcome.record for outcome in outcomes if outcome.state == "done" and outcome.record]
        frames = sum(record.frames for record in done)
        print(f"{total} jobs: {', '.join(f'{count} {state}' for state, count in counts.items())}; {frames} frames")
        for outcome in failed:
            print(f"failed: {outcome.job.source}: {outcome.error}")
        if failed:
            print(f"The failed ones are listed in {path}; --retry-failed does them again.")
    return 1 if failed else 0


def _line(outcome: Outcome) -> str:
    record = outcome.record
    if outcome.state == "failed":
        return f"failed: {outcome.job.source}: {outcome.error}"
    if outcome.state == "done" and record:
        frames, people, rate = figures(record)
        return f"done: {outcome.job.source}: {frames or 0} frames, {people or 0} people, {rate or 0} frames/s"
    return f"{outcome.state}: {outcome.job.source}"


def _record(job: Job) -> Record | None:
    try:
        return read_record(job.file(".json"))
    except FourDHumansError:
        return None
