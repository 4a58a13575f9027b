"""`sidecar keys`: a file a command."""

from __future__ import annotations

import click

from sidecar.cli.keys.add import add


@click.group("keys")
def command() -> None:
    """Add keys to pools.

    \b
        sidecar keys add chat       asks for the key, and does not show it
    """


command.add_command(add)
