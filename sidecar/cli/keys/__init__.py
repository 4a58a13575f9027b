"""`sidecar keys`: a file a command."""

from __future__ import annotations

import click

from sidecar.cli.keys.add import add
from sidecar.cli.keys.listing import listing
from sidecar.cli.keys.manage import disable, enable, reset


@click.group("keys")
def command() -> None:
    """See keys, add them, and change for all replicas at once which of them are granted. Restarts forget nothing of it.

    A key is meant by its id, or as POOL/ID where several pools have it. Where a sidecar of this config runs, it is
    asked (its `ops_listen`, with `admin_token`), else Redis directly; the answer says which. Where one with another
    store or other keys answers, nothing is changed: exit 1.

    \b
        sidecar keys list
        sidecar keys add chat             asks for the key, and does not show it
        sidecar keys disable chat-2
        sidecar keys enable chat/chat-2
        sidecar keys reset chat-2 --budgets
    """


for _one in (listing, add, disable, enable, reset):
    command.add_command(_one)
