"""``4dhumans status``: a table of the jobs whose results lie in a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from fourd_humans.errors import UsageError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def status(folder: Path) -> None:
    """Show the state of every job below FOLDER, the --output folder of 'track' with many sources.

    It may be called while the jobs are being done, and on another machine. A job that says running but has given no
    sign of life for a minute is shown as lost: the next run takes it up.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fourd_humans.batch.records import find_records
    from fourd_humans.cli.batch import figures

    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    records = find_records(folder)
    if not records:
        raise UsageError(f"there are no jobs in {folder}")
    table = Table(box=None, pad_edge=False)
    for column in ("State", "Job", "Frames", "People", "Frames/s", "Attempts", "Where", "Error"):
        table.add_column(column, justify="right" if column in ("Frames", "People", "Frames/s", "Attempts") else "left")
    states: Counter[str] = Counter()
    for path, record in records.items():
        state = "lost" if record.stale else record.state
        states[state] += 1
        name = str(path.relative_to(folder)).removesuffix(".json")
        where = f"{record.host}:{record.pid}" if state == "running" else ""
        table.add_row(state, Text(name), *figures(record), str(record.attempts), where, Text(record.error or ""))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe has no width: nothing is cut off
        console.width = 1000
    console.print(table)
    print(f"{len(records)} jobs: {', '.join(f'{count} {state}' for state, count in states.items())}")
