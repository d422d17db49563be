"""The command ``4dhumans``: one module per command, imported only when it is called, so that --help is quick."""

from __future__ import annotations

import importlib
from typing import Any

import click

from fourd_humans import __version__
from fourd_humans.errors import FourDHumansError, UsageError

COMMANDS = {
    "track": "Find, recover in 3D and track every person in a video.",
    "status": "Show the state of the jobs in a folder of results.",
    "render": "Draw a video from existing results.",
    "actions": "Recognise what each person does, in existing results.",
    "export": "Write results for Blender, game engines, OpenSim and others.",
    "view": "Write a page for the browser: the scene in 3D, the video and plots.",
    "smooth": "Fill in hidden people, and smooth, in existing results.",
    "evaluate": "Measure results against ground truth.",
    "train": "Train the networks.",
    "data": "Make and check data sets to train HMR 2.0 on.",
    "fit": "Fit SMPL to people in pictures without 3D labels, as data to train on.",
    "models": "List, download, check and add model files.",
    "doctor": "Check this installation and say what to do about what is missing.",
    "config": "Print the settings of a model, as YAML for --config.",
}


class Failure(click.ClickException):
    """Ends the command with one line and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = exit_code  # click has it on the class


class LazyGroup(click.Group):
    """Has its commands' names and one-line helps, and imports ``fourd_humans.cli.NAME:NAME`` when one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"fourd_humans.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors become one line and an exit code, and with --verbose a traceback.

        2: the request was wrong. 1: it failed. 130: interrupted.
        """
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(130)
        except Exception as error:
            if ctx.meta.get("verbose"):
                raise
            if isinstance(error, FourDHumansError):
                message = str(error)
            elif isinstance(error, OSError):
                where = f": {error.filename}" if error.filename else ""
                message = f"{error.strerror or error}{where}"
            else:
                text = " ".join(str(error).split())
                message = f"{type(error).__name__}: {text} (run again with --verbose for details)"
            raise Failure(message, 2 if isinstance(error, UsageError) else 1) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="4dhumans")
def main() -> None:
    """Find the people in a video, recover each body in 3D, and keep track of who is who.

    Start with:  4dhumans track VIDEO --render
    """
