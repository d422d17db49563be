"""What a run shows while it goes on and when it is done."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fourd_humans.people import TrackedFrame
from fourd_humans.run import TrackResult
from fourd_humans.video.source import Source

# Between two plain lines where the output is no terminal, in seconds.
LINE_EVERY = 10.0
LONGEST_TRACKLETS = 8


class Progress:
    """Call it with each frame: a live bar on a terminal, now and then a line elsewhere, nothing where `quiet`."""

    def __init__(self, source: Source, *, quiet: bool = False) -> None:
        self._total, self._name, self._quiet = source.frame_count, source.name, quiet
        self._done, self._start, self._last_line = 0, time.monotonic(), time.monotonic()
        self._bar: Bar | None = None
        console = Console(stderr=True)
        if console.is_terminal and not quiet:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[people]}"),
                TextColumn("{task.fields[rate]:.1f} frames/s"),
                TimeRemainingColumn(),
                console=console,
            )
            self._task = self._bar.add_task(source.name, total=self._total, people="", rate=0.0)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, frame: TrackedFrame) -> None:
        self._done += 1
        now = time.monotonic()
        people = f"{int(frame.seen.sum())} in view"
        rate = self._done / max(now - self._start, 1e-6)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, people=people, rate=rate)
        elif not self._quiet and now - self._last_line > LINE_EVERY:
            self._last_line = now
            left = f", {(self._total - self._done) / rate:.0f} s left" if self._total else ""
            of = f" of {self._total}" if self._total else ""
            print(
                f"{self._name}: frame {self._done}{of}, {people}, {rate:.1f} frames/s{left}",
                file=sys.stderr,
                flush=True,
            )


def say(result: TrackResult, elapsed: float) -> None:
    """Print what was found, what it took, and where it is."""
    console = Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)

    def row(name: str, value: Any) -> None:
        table.add_row(name, str(value))

    row("Frames", f"{result.frames} in {elapsed:.1f} s, {result.frames / max(elapsed, 1e-6):.1f} frames/s")
    if result.skipped:
        row("Skipped", f"{result.skipped} frames could not be used; the reason is in each one's results")
    row("People", len(result.people))
    longest = result.people.most_common(LONGEST_TRACKLETS)
    more = f", and {len(result.people) - len(longest)} more" if len(result.people) > len(longest) else ""
    if longest:
        row("Tracklets", ", ".join(f"#{id}: {count} frames" for id, count in longest) + more)
    if result.rejected:
        row("Not used", ", ".join(f"{count} detections {reason}" for reason, count in result.rejected.most_common()))
    row("Seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items()))
    console.print(table)
    if not result.complete:
        print("Stopped early: the results end with the last frame done.")
    for path in filter(None, (result.results, result.video)):  # never wrapped or cut, to be copied
        print(path)
