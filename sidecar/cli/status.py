"""`sidecar status`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import orjson

from sidecar.cli import given, show
from sidecar.model.configured import Config
from sidecar.ops.redact import redactor
from sidecar.ops.status import read
from sidecar.store.connect import StoreAway, StoreUnable

EVERY_S = 1.0


@click.command("status")
@given.config_option
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: one line each time.")
def command(config_file: Path | None, watch: bool, as_json: bool) -> None:
    """Show the budgets, cooldowns and rotations of every key, as all replicas share them.

    Reads the store, not a replica, so it answers where none runs. Cooldowns and grants of single models are shown
    for the models that the config names and for all that clients have asked for.

    \b
        sidecar status
        sidecar status --watch
        sidecar status --json | jq '.pools.chat.keys[] | select(.cooldowns != [])'
    """
    config = given.load(config_file)
    try:
        asyncio.run(_show(config, watch, as_json))
    except (StoreAway, StoreUnable) as error:
        given.fail(f"The store cannot be read: {redactor(config)(str(error)).rstrip('.')}. Start it, or set `redis`.")
    except KeyboardInterrupt:
        raise SystemExit(0) from None


async def _show(config: Config, watch: bool, as_json: bool) -> None:
    store = given.shared_store(config)
    try:
        with show.screen(live=watch and not as_json) as screen:
            while True:
                status = await read(config, store)
                if as_json:
                    click.echo(orjson.dumps(status))
                else:
                    screen(show.status(status, show.console().width))
                if not watch:
                    return
                await asyncio.sleep(EVERY_S)
    finally:
        await store.close()
