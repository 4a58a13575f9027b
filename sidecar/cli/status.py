"""`sidecar status`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson

from sidecar.cli import given, reach, show

EVERY_S = 1.0


@click.command("status")
@given.config_option
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: one line each time.")
def command(config_file: Path | None, watch: bool, as_json: bool) -> None:
    """Show the budgets, cooldowns and rotations of every key, as all replicas share them.

    Where a sidecar of this config runs, it is asked (its `ops_listen`, with `admin_token`), else Redis directly.
    Cooldowns and grants of single models are shown for the models that the config names and for all that clients have
    asked for.

    \b
        sidecar status
        sidecar status --watch
        sidecar status --json | jq '.pools.chat.keys[] | select(.cooldowns != [])'
    """
    try:
        reach.ask(config_file, lambda place: _show(place, watch, as_json))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


async def _show(place: reach.Place, watch: bool, as_json: bool) -> None:
    with show.screen(live=watch and not as_json) as screen:
        while True:
            status = await place.pools()
            if as_json:
                click.echo(orjson.dumps(status))
            else:
                screen(show.status(status, show.console().width))
            if not watch:
                return
            await asyncio.sleep(EVERY_S)
