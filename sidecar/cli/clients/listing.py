"""`sidecar clients list`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from sidecar.cli import given, reach, show
from sidecar.ops import clients


@click.command("list")
@given.config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def listing(config_file: Path | None, as_json: bool) -> None:
    """List every client with what it may use, and its tokens by the first 8 digits of their SHA-256.

    What it has used of its limits is asked of the sidecar of this config, else of Redis; "?" where neither answers.

    \b
        sidecar clients list
        printf %s "$KEY" | sha256sum | cut -c 1-8          whose is this one?
    """
    config = given.load(config_file)
    limited = any(client.limits for client in config.clients)
    read = reach.look(config_file, lambda place: place.clients()) if limited else None
    told = clients.told(config, clients.used(read) if read else {})
    if as_json:
        click.echo(orjson.dumps(told))
    elif told["clients"]:
        show.console().print(show.clients(told["clients"]))
    else:
        click.echo("There is no client: whoever reaches the sidecar may call. `sidecar clients init` makes the first.")
