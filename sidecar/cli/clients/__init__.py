"""`sidecar clients`: a file a command."""

from __future__ import annotations

import click

from sidecar.cli.clients.create import create, init
from sidecar.cli.clients.listing import listing
from sidecar.cli.clients.revoke import revoke
from sidecar.cli.clients.rotate import rotate


@click.group("clients")
def command() -> None:
    """See who may call, and give and take virtual keys. They stand in the config file, which running sidecars watch.

    A virtual key is printed once, alone on standard output. The file keeps its hash, which opens nothing.

    \b
        sidecar clients init                  the first one: from then on nobody calls without
        sidecar clients create web --model 'gpt-4o*' --expires 2027-01-31
        sidecar clients list
        sidecar clients rotate web --overlap 24h
        sidecar clients revoke web
    """


for _one in (init, create, listing, rotate, revoke):
    command.add_command(_one)
