"""`sidecar reload`."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli import given, reach


@click.command("reload")
@given.config_option
def command(config_file: Path | None) -> None:
    """Make the sidecar that runs with this config read it anew, and say what changed.

    It notices a changed file by itself within two seconds; this says at once what came of it. Exit 1: the config was
    rejected, or no sidecar of this config answers.

    \b
        sidecar reload
        sidecar reload --config sidecar.yaml
    """
    told, how = reach.reload(config_file)
    for line in told["changes"] or ["nothing changed"]:
        click.echo(line)
    for warning in told["warnings"]:
        click.echo(f"warning  {warning}")
    for name in told["needs_restart"]:
        click.echo(f"{name} was changed: that needs a restart, until then it stays as it was")
    click.echo(f"reloaded {how}")
