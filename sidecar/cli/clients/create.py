"""`sidecar clients init` and `create`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from sidecar.cli import given
from sidecar.cli.clients.editing import edited, tell
from sidecar.config import client_edits
from sidecar.config.edit import Place
from sidecar.config.yaml_edit import Value


@click.command("init")
@click.argument("client", metavar="[ID]", default="app")
@given.config_option
def init(client: str, config_file: Path | None) -> None:
    """Make the first client, called ID (`app` by default), and print its virtual key. From then on all need one.

    Where there is no config file yet, ./sidecar.yaml is written with the pools that are found in the environment: they
    go on as they were, and PROXY_API_KEY stays a client. Keys of other providers make no pool by themselves any more.

    \b
        sidecar clients init
        OPENAI_API_KEY=$(sidecar clients init web) python app.py
    """
    edit = edited(config_file, lambda place: client_edits.init(client, place))
    tell(edit, f"{edit.file}: client {client} is the first. From now on a request needs a client's virtual key.")


@click.command("create")
@click.argument("client", metavar="ID")
@click.option(
    "--expires", default="", metavar="WHEN", help="A day such as 2027-01-31 (UTC), a moment, or 720h from now."
)
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="It may use no other; a name or pattern. Several."
)
@click.option("--concurrency", type=int, metavar="N", help="How many of its requests may be in flight.")
@click.option("--priority", type=click.Choice(["interactive", "batch"]), help="batch: it leaves a share to the others.")
@given.config_option
def create(
    client: str,
    expires: str,
    models: tuple[str, ...],
    concurrency: int | None,
    priority: str | None,
    config_file: Path | None,
) -> None:
    """Make a client called ID, and print its virtual key. Its limits are added in the file: `limits:`.

    \b
        sidecar clients create web
        sidecar clients create nightly --priority batch --expires 2160h --model 'gpt-4o*' --model gpt-5-mini
    """
    said: dict[str, Value | None] = {"models": list(models) or None, "concurrency": concurrency, "priority": priority}

    def plan(place: Place) -> client_edits.Edit:
        fields = {name: value for name, value in said.items() if value is not None}
        end = client_edits.moment(expires, int(time.time()))
        return client_edits.create(client, end, fields, place)

    edit = edited(config_file, plan)
    tell(edit, f"{edit.file}: there is a client {client} now.")
