"""``4dhumans config``: the settings that there are, as YAML."""

from __future__ import annotations

from typing import Literal

import click

from fourd_humans.config import default_config, to_yaml


@click.command()
@click.argument("model", type=click.Choice(["lite", "paper"]), default="lite")
def config(model: Literal["lite", "paper"]) -> None:
    """Print every setting of MODEL (lite or paper) with its default and its meaning, as YAML.

    Save it, change what you like, and pass it to 'track --config FILE'; or change single settings with
    'track --set tracking.max_age=60'.
    """
    click.echo(to_yaml(default_config(model), comments=True), nl=False)
