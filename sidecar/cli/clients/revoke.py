"""`sidecar clients revoke`."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.cli import given
from sidecar.cli.clients.editing import edited, tell
from sidecar.config import client_edits


@click.command("revoke")
@click.argument("client", metavar="ID")
@given.config_option
def revoke(client: str, config_file: Path | None) -> None:
    """Take a client out of the file: its next request is refused. Answers under way go on, and its usage is kept.

    \b
        sidecar clients revoke web
    """
    edit = edited(config_file, lambda place: client_edits.revoke(client, place))
    tell(edit, f"{edit.file}: client {client} is revoked.")
