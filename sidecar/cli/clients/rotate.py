"""`sidecar clients rotate`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.cli.clients.editing import edited, tell
from sidecar.config import ConfigError, client_edits
from sidecar.config.clients import written
from sidecar.config.edit import Place
from sidecar.config.limits import LONGEST_US
from sidecar.config.problems import shown
from sidecar.config.read import duration_us
from sidecar.model.configured import SECOND_US


@click.command("rotate")
@click.argument("client", metavar="ID")
@click.option(
    "--overlap", default="24h", show_default=True, metavar="TIME", help="How long the old one is good for yet."
)
@click.option(
    "--expires", default="", metavar="WHEN", help="The new one's end: 2027-01-31 (UTC), 720h from now, never."
)
@given.config_option
def rotate(client: str, overlap: str, expires: str, config_file: Path | None) -> None:
    """Make another virtual key for a client, and print it. Its limits, models and usage stay its own.

    Until the overlap ends the old one opens the door too; what has expired before is taken out of the file. A key that
    somebody else may know: --overlap 0s.

    \b
        sidecar clients rotate web
        sidecar clients rotate web --overlap 0s --expires 2027-01-31
    """
    now_s = int(time.time())

    def plan(place: Place) -> client_edits.Edit:
        length_us = duration_us(overlap)
        if length_us is None or length_us > LONGEST_US:
            raise ConfigError([f"--overlap: {shown(overlap)} is no duration such as 30m, 24h or 0s, up to 8784h."])
        end = client_edits.moment(expires, now_s)
        return client_edits.rotate(client, length_us // SECOND_US, end, now_s, place)

    edit = edited(config_file, plan)
    assert edit.client is not None
    *old, _ = edit.client.tokens
    lines = [f"  {token.name} is good until {written(token.expires_s)}" for token in old if token.expires_s is not None]
    tell(edit, f"{edit.file}: client {client} has a new virtual key.", *(lines or ["  No other one is good any more."]))
