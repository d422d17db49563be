"""``4dhumans doctor``: what works here, what does not, and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this installation and say what to do about what is missing.

    The exit code is 0 unless something is broken that the built-in model needs.
    """
    from fourd_humans.diagnosis import diagnose

    findings = []
    for finding in diagnose():
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.status:<7}  {finding.name:<14}  {finding.found}")
            if finding.advice:
                click.echo(f"{'':<25}{finding.advice}")
    broken = [finding for finding in findings if finding.status == "broken"]
    if as_json:
        click.echo(json.dumps({"ok": not broken, "findings": [asdict(finding) for finding in findings]}, indent=2))
    elif broken:
        click.echo(f"\nThe built-in model cannot run: {', '.join(finding.name for finding in broken)}.")
    else:
        click.echo("\nEverything that the built-in model needs works.")
    if broken:
        ctx.exit(1)
