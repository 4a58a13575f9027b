"""`sidecar keys list`."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from sidecar.cli import given, reach, show


@click.command("list")
@given.config_option
@click.option("--json", "as_json", is_flag=True, help="As JSON, with budgets and cooldowns.")
def listing(config_file: Path | None, as_json: bool) -> None:
    """List every key with its pool, whether it is enabled, and why it rests.

    \b
        sidecar keys list
        sidecar keys list --json | jq -r '.keys[] | select(.enabled | not) | .id'
    """
    told = reach.ask(config_file, lambda place: place.keys())
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        show.console().print(show.keys(told["keys"]))
