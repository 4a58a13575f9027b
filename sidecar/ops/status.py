"""What the store says of a config's keys, in the words that the command line and the admin plane share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sidecar.config.limits import per
from sidecar.model.configured import SECOND_US, Config
from sidecar.model.rotations import rotation
from sidecar.ops.survey import Budget, Survey, known_models, survey
from sidecar.ops.usage import told as shown_counts
from sidecar.ops.usage import usage
from sidecar.replica import SILENCE_US
from sidecar.store.calls import SHARED
from sidecar.store.commands import Store

Told = dict[str, Any]  # becomes JSON


async def read(config: Config, store: Store) -> Told:
    """All that the store says of the config's keys. Raises StoreAway or StoreUnable."""
    models = await known_models(config, store)
    seen = await survey(config, store, models)
    keys, total = _keys(seen), _totals(seen)
    await _add_usage(keys, store)
    return {
        "namespace": config.namespace,
        "replicas": await store.beat("", SILENCE_US),
        "pools": {
            name: {
                "keys": keys.get(name, []),
                "total": total.get(name, []),
                "grants": await _grants(config, store, name, models[name]),
            }
            for name in config.pools
        },
    }


async def keys(config: Config, store: Store) -> list[Told]:
    """The same of each key, with its pool. Raises StoreAway or StoreUnable."""
    seen = await survey(config, store, await known_models(config, store))
    return [{"pool": pool} | key for pool, told in _keys(seen).items() for key in told]


def _keys(seen: Survey) -> dict[str, list[Told]]:
    """By pool, in config order."""
    told: dict[tuple[str, str], Told] = {}
    pools: dict[str, list[Told]] = {}
    for pool, key, _ in seen.keys:
        off = seen.disabled(key)
        told[pool, key.id] = {"id": key.id, "enabled": off is None, "budgets": [], "cooldowns": []}
        if off is not None:
            told[pool, key.id]["disabled"] = {"since": _moment(off.since_us), "by": off.by}
        pools.setdefault(pool, []).append(told[pool, key.id])
    for budget in seen.budgets():
        if budget.key:
            told[budget.pool, budget.key]["budgets"].append(_budget(budget))
    for rest in seen.cooldowns():
        one: Told = {"model": rest.model, "reason": rest.reason, "seconds": round(rest.seconds, 1)}
        told[rest.pool, rest.key]["cooldowns"].append(one | {"suspicion": not rest.proved})
    return pools


async def _add_usage(keys: dict[str, list[Told]], store: Store) -> None:
    """What each key has sent, today and since counting began."""
    for span, days in (("today", 1), ("total", 0)):
        found = {(row.pop("pool"), row.pop("key")): row for row in (await usage(store, days))["rows"]}
        for pool, told in keys.items():
            for key in told:
                key.setdefault("usage", {})[span] = found.get((pool, key["id"])) or shown_counts({})


def _totals(seen: Survey) -> dict[str, list[Told]]:
    """What each pool may spend as a whole."""
    pools: dict[str, list[Told]] = {}
    for budget in seen.budgets():
        if not budget.key:
            pools.setdefault(budget.pool, []).append(_budget(budget))
    return pools


def _budget(budget: Budget) -> Told:
    limit = budget.limit
    told: Told = {"unit": limit.unit, "per": per(limit), "model": limit.model}
    return told | {"used": budget.used, "max": limit.max, "enforced": limit.enforce}


def _moment(us: int) -> str:
    """Whole seconds of Redis's clock, in UTC."""
    return datetime.fromtimestamp(us // SECOND_US, UTC).isoformat().replace("+00:00", "Z")


async def _grants(config: Config, store: Store, name: str, models: tuple[str, ...]) -> dict[str, int]:
    """How many grants the rotation of each model has given; "" is that of calls without one, "*" the shared one."""
    all_models = ("", *models, SHARED)
    rotations = [rotation(config.pools[name], config.budgets, model) for model in all_models]
    found = await store.inspect((), rotations)
    return {model: number for model, number in zip(all_models, found.numbers, strict=True) if number is not None}
