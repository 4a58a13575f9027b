"""`sidecar keys`: a file a command."""

from __future__ import annotations

import click

from sidecar.cli.keys.add import add


@click.group("keys")
def command() -> None:
    """Add keys to pools."""


command.add_command(add)
