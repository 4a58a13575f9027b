"""`sidecar status`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import orjson

from sidecar.cli import given, show
from sidecar.config.limits import per
from sidecar.model.configured import Config
from sidecar.model.rotations import rotation
from sidecar.ops.redact import redactor
from sidecar.ops.survey import Budget, Survey, known_models, survey
from sidecar.replica import SILENCE_US
from sidecar.store.calls import SHARED
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

EVERY_S = 1.0

Status = dict[str, Any]  # what `--json` prints


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
    if config.redis == "memory":
        given.fail("The store is each replica's own memory, which no other process can read: set `redis` to share it.")
    try:
        asyncio.run(_show(config, watch, as_json))
    except (StoreAway, StoreUnable) as error:
        given.fail(f"The store cannot be read: {redactor(config)(str(error)).rstrip('.')}. Start it, or set `redis`.")
    except KeyboardInterrupt:
        raise SystemExit(0) from None


async def _show(config: Config, watch: bool, as_json: bool) -> None:
    store = given.store(config)
    try:
        with show.screen(live=watch and not as_json) as screen:
            while True:
                status = await read(config, store)
                if as_json:
                    click.echo(orjson.dumps(status))
                else:
                    screen(show.status(status))
                if not watch:
                    return
                await asyncio.sleep(EVERY_S)
    finally:
        await store.close()


async def read(config: Config, store: Store) -> Status:
    """All that the store says of the config's keys. Raises StoreAway or StoreUnable."""
    models = await known_models(config, store)
    seen = await survey(config, store, models)
    return {
        "namespace": config.namespace,
        "replicas": await store.beat("", SILENCE_US),
        "pools": {name: await _pool(config, store, seen, name, models[name]) for name in config.pools},
    }


async def _pool(config: Config, store: Store, seen: Survey, name: str, models: tuple[str, ...]) -> Status:
    pool = config.pools[name]
    keys: dict[str, Status] = {key.id: {"id": key.id, "budgets": [], "cooldowns": []} for key in pool.keys}
    total: list[Status] = []  # of the pool as a whole
    for budget in seen.budgets():
        if budget.pool == name:
            (keys[budget.key]["budgets"] if budget.key else total).append(_budget(budget))
    for rest in seen.cooldowns():
        if rest.pool == name:
            told: Status = {"model": rest.model, "reason": rest.reason, "seconds": round(rest.seconds, 1)}
            keys[rest.key]["cooldowns"].append(told | {"suspicion": not rest.proved})
    return {"keys": list(keys.values()), "total": total, "grants": await _grants(config, store, name, models)}


def _budget(budget: Budget) -> Status:
    limit = budget.limit
    told: Status = {"unit": limit.unit, "per": per(limit), "model": limit.model}
    return told | {"used": budget.used, "max": limit.max, "enforced": limit.enforce}


async def _grants(config: Config, store: Store, name: str, models: tuple[str, ...]) -> dict[str, int]:
    """How many grants the rotation of each model has given; "" is that of calls without one, "*" the shared one."""
    all_models = ("", *models, SHARED)
    rotations = [rotation(config.pools[name], config.budgets, model) for model in all_models]
    found = await store.inspect((), rotations)
    return {model: number for model, number in zip(all_models, found.numbers, strict=True) if number is not None}
