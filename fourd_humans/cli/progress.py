"""What a run prints while it works and when it is done."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from numba.core import event
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from fourd_humans.people import Shot, TrackedFrame
from fourd_humans.run import TrackResult
from fourd_humans.video.source import Source

LINE_INTERVAL = 10.0  # seconds between two lines where the output is not a terminal
ESTIMATE_FROM = 10  # frames done before the time left is estimated: the first ones wait for all stages to start
SHOTS = 4  # that the summary describes
LONGEST_TRACKLETS = 8
COMPILING = "Compiling kernels, about half a minute; later runs use the compiled ones."


class CompileTimer(event.Listener):
    """Adds up the time in which numba compiles, in any thread. Kernels from its cache on disk do not count.

    on_first: called when the first compilation begins.
    """

    def __init__(self, on_first: Callable[[], None] = lambda: None) -> None:
        self._done, self._depth, self._begin = 0.0, 0, 0.0
        self._on_first: Callable[[], None] | None = on_first

    def on_start(self, event: event.Event) -> None:
        if self._depth == 0:
            self._begin = time.monotonic()
        self._depth += 1
        if self._on_first is not None:
            on_first, self._on_first = self._on_first, None
            on_first()

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._done += time.monotonic() - self._begin

    @property
    def seconds(self) -> float:
        """Of wall time so far, a compilation in progress included."""
        return self._done + (time.monotonic() - self._begin if self._depth else 0.0)

    def __enter__(self) -> CompileTimer:
        event.register("numba:compile", self)
        return self

    def __exit__(self, *exception: object) -> None:
        event.unregister("numba:compile", self)


class Progress:
    """Call it with each frame: a live bar on a terminal, a line every ten seconds elsewhere, nothing where `quiet`.

    Time in which kernels are compiled is left out of the rate and of the estimate; `compiling` is that time in seconds.
    """

    def __init__(self, source: Source, *, quiet: bool = False) -> None:
        self._total, self._name, self._quiet = source.frame_count, source.name, quiet
        self._done, self._start, self._last_line = 0, time.monotonic(), time.monotonic()
        self._compile_timer = CompileTimer(self._announce_compiling)
        self._bar: Bar | None = None
        console = Console(stderr=True)
        if console.is_terminal and not quiet:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                console=console,
            )
            self._task = self._bar.add_task(source.name, total=self._total, text="")

    @property
    def compiling(self) -> float:
        return self._compile_timer.seconds

    def __enter__(self) -> Progress:
        self._compile_timer.__enter__()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._compile_timer.__exit__(*exception)
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, frame: TrackedFrame) -> None:
        self._done += 1
        now = time.monotonic()
        elapsed = max(now - self._start - self.compiling, 1e-6)
        rate = self._done / elapsed
        people = int(frame.seen.sum())
        text = f"{people} {'person' if people == 1 else 'people'}, {rate:.1f} frames/s"
        if self._total and self._done >= ESTIMATE_FROM:
            text += f", {max(self._total - self._done, 0) / rate:.0f} s left"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, text=text)
        elif not self._quiet and now - self._last_line > LINE_INTERVAL:
            self._last_line = now
            of = f" of {self._total}" if self._total else ""
            self._print(f"{self._name}: frame {self._done}{of}, {text}")

    def _announce_compiling(self) -> None:
        if not self._quiet:
            self._print(COMPILING)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line)
        else:
            print(line, file=sys.stderr, flush=True)


def print_summary(result: TrackResult, elapsed: float, compiling: float = 0.0) -> None:
    """Print what was found, how long it took, and where it is. elapsed: seconds, `compiling` of them for kernels."""
    console = Console(highlight=False)
    table = Table(show_header=False, box=None, pad_edge=False)

    def row(name: str, value: Any) -> None:
        table.add_row(name, str(value))

    working = max(elapsed - compiling, 1e-6)
    compiled = f", and {compiling:.1f} s compiling kernels" if compiling >= 0.05 else ""
    row("Frames", f"{result.frames} in {working:.1f} s, {result.frames / working:.1f} frames/s{compiled}")
    if result.skipped:
        row("Frames skipped", f"{result.skipped}; the results give the reason for each")
    shots = [_describe(shot) for shot in result.shots[:SHOTS]]
    row("Camera", "; ".join([f"focal length {result.focal_length:.0f} pixels", *shots]))
    row("People", len(result.people))
    longest = result.people.most_common(LONGEST_TRACKLETS)
    more = f", and {len(result.people) - len(longest)} more" if len(result.people) > len(longest) else ""
    if longest:
        row("Tracklets", ", ".join(f"#{id}: {count} frames" for id, count in longest) + more)
    if result.rejected:
        reasons = ", ".join(f"{count} ({reason})" for reason, count in result.rejected.most_common())
        row("Detections rejected", reasons)
    row("Seconds", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in result.seconds.items()))
    console.print(table)
    if not result.complete:
        print("Stopped early: the results end with the last frame done.")
    for path in filter(None, (result.results, result.video)):  # never wrapped or cut, to be copied
        print(path)


def _describe(shot: Shot) -> str:
    """How the camera of a shot moves and tilts, in a few words."""
    if shot.gravity is None:
        return f"{shot.camera_motion}, tilt unknown"
    x, y, z = shot.gravity.up
    pitch, roll = math.degrees(math.atan2(-z, math.hypot(x, y))), math.degrees(math.atan2(x, -y))
    return f"{shot.camera_motion}, pitch {pitch:.0f}°, roll {roll:.0f}° (confidence {shot.gravity.confidence:.2f})"
