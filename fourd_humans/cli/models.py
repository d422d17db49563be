"""``4dhumans models``: list, download, check and add model files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from fourd_humans import checkpoints
from fourd_humans.checkpoints.catalogue import ENTRIES, PAPER, Entry
from fourd_humans.checkpoints.download import Progress
from fourd_humans.checkpoints.store import SMPL, downloads_of, folder_of, home, problems
from fourd_humans.errors import FourDHumansError, UsageError

EXTRA_JOINTS = "SMPL_to_J19.pkl"  # comes with HMR 2.0b and belongs beside SMPL


@click.group()
def models() -> None:
    """List, download, check and add model files.

    The built-in model needs none of them. Files live in FOURD_HUMANS_HOME, or else in your cache folder.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_models(as_json: bool) -> None:
    """List all models with size, licence, source and status."""
    described = [_describe(entry) for entry in ENTRIES.values()] + [_describe_smpl()]
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    for entry in described:
        size = "" if entry["gigabytes"] is None else f"{entry['gigabytes']} GB"
        click.echo(f"{entry['name']:<16}  {entry['status']:<14}  {size:>6}  {entry['title']}")
        click.echo(f"{'':<16}  {entry['licence']}; {entry['source']}")
    click.echo(f"\nFiles are kept in {home()}.")


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--mirror", metavar="URL", envvar="FOURD_HUMANS_MIRROR", help="Download from this address instead.")
@click.option("--from", "local", metavar="FOLDER", type=click.Path(path_type=Path), help="Copy from a folder instead.")
@click.option("--force", is_flag=True, help="Also if it is installed.")
def download(names: tuple[str, ...], mirror: str | None, local: Path | None, force: bool) -> None:
    """Download and install model files; without NAMES, all that the paper model uses (SMPL apart).

    Interrupted downloads are resumed.

    --from takes a folder with the published files, or with what they unpack to: the caches of the released code
    (~/.cache/4DHumans, ~/.cache/phalp) will do.
    """
    from fourd_humans.checkpoints.install import install

    entries = [_entry(name) for name in names or PAPER]
    if mirror and local:
        raise UsageError("give --mirror or --from, not both")
    for entry in entries:
        if checkpoints.installed(entry.name) and not force:
            click.echo(f"{entry.name} is installed; --force installs it again")
            continue
        with _progress() as progress:
            folder = install(entry, mirror=mirror, local=local, progress=progress)
        click.echo(f"{entry.name} installed in {folder}")
        click.echo(f"licence: {entry.licence}")
    _complete_smpl()


@models.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Compare installed files (by default all) with the checksums recorded at installation."""
    chosen = [_entry(name).name for name in names] or [name for name in ENTRIES if checkpoints.installed(name)]
    if not chosen:
        click.echo("nothing is installed")
    wrong = {name: problems(name) if checkpoints.installed(name) else [f"{name} is not installed"] for name in chosen}
    for name, found in wrong.items():
        if not found:
            click.echo(f"{name} is as it was installed")
        for problem in found:
            click.echo(f"{problem}; install it again with: 4dhumans models download {name} --force", err=True)
    if any(wrong.values()):
        ctx.exit(1)


@models.command()
@click.argument("name", required=False)
def path(name: str | None) -> None:
    """Print the folder of model files, or the file of one model."""
    if name is None:
        click.echo(home())
        return
    found = checkpoints.find(name if name == SMPL else _entry(name).name)
    if found is None:
        raise FourDHumansError(f"{name} is not installed; {_how_to_get(name)}")
    click.echo(found)


@models.command("add-smpl")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
def add_smpl(files: tuple[Path, ...]) -> None:
    """Add your own copy of SMPL, and SMPL_to_J19.pkl if you have it.

    FILE is basicModel_neutral_lbs_10_207_0_v1.0.0.pkl or SMPL_NEUTRAL.pkl from its licensor, or an .npz with the same
    arrays. The file is read without running code in it, checked, and stored as plain arrays.
    """
    from fourd_humans.body.loading import import_smpl

    for file in files:
        click.echo(f"{file} stored as {import_smpl(file, folder_of(SMPL))}")
    _complete_smpl()


def _complete_smpl() -> None:
    """Put HMR 2.0's joint regressor beside SMPL, once both are here."""
    from fourd_humans.body.loading import EXTRA_JOINTS_FILE, import_smpl

    regressor = folder_of("hmr2b") / EXTRA_JOINTS
    if checkpoints.installed(SMPL) and regressor.is_file() and not (folder_of(SMPL) / EXTRA_JOINTS_FILE).exists():
        click.echo(f"{regressor} stored as {import_smpl(regressor, folder_of(SMPL))}")


def _entry(name: str) -> Entry:
    if name == SMPL:
        raise UsageError(_how_to_get(SMPL))
    if name not in ENTRIES:
        raise UsageError(f"there is no model '{name}'; there are {', '.join(ENTRIES)}")
    return ENTRIES[name]


def _how_to_get(name: str) -> str:
    if name == SMPL:
        return (
            "SMPL is not for download: register with its licensor, and add your copy with 4dhumans models add-smpl FILE"
        )
    return f"get it with: 4dhumans models download {name}"


def _status(name: str) -> str:
    if checkpoints.installed(name):
        return "installed"
    return "partly here" if downloads_of(name).exists() else "not installed"


def _describe(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "status": _status(entry.name),
        "gigabytes": entry.gigabytes,
        "title": entry.title,
        "licence": entry.licence,
        "source": entry.source,
        "files": [name for file in entry.downloads for name in file.stored],
    }


def _describe_smpl() -> dict[str, Any]:
    return {
        "name": SMPL,
        "status": _status(SMPL),
        "gigabytes": None,
        "title": "the SMPL body, added with: 4dhumans models add-smpl FILE",
        "licence": "its licensor's; not for download here",
        "source": "https://smpl.is.tue.mpg.de",
        "files": ["SMPL_NEUTRAL.npz"],
    }


@contextmanager
def _progress() -> Iterator[Callable[[str], Progress]]:
    """A bar for each file, on stderr; nothing where stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def add(name: str) -> Progress:
            task = bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield add
