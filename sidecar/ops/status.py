"""What the store says of a config's keys, in the words that the command line and the admin plane share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sidecar.config.limits import per
from sidecar.model.configured import SECOND_US, Config, Limit
from sidecar.model.outcomes import NamedLimit
from sidecar.model.rotations import rotation
from sidecar.ops.survey import Budget, Cooldown, Survey, known_models, survey
from sidecar.ops.usage import CACHE, usage
from sidecar.ops.usage import told as shown_counts
from sidecar.replica import SILENCE_US
from sidecar.store.commands import Store
from sidecar.store.drifts import Drift
from sidecar.store.upkeep import SHARED

Told = dict[str, Any]  # becomes JSON


async def read(config: Config, store: Store) -> Told:
    """All that the store says of the config's keys. Raises StoreAway or StoreUnable."""
    models = await known_models(config, store)
    seen = await survey(config, store, models)
    keys, total = _keys(seen, *await store.drifts()), _totals(seen)
    return {
        "namespace": config.namespace,
        "replicas": await store.beat("", SILENCE_US),
        "cache": await _add_usage(keys, config, store),
        "pools": {
            name: {
                "keys": keys.get(name, []),
                "total": total.get(name, []),
                "cooldowns": [_cooldown(rest) for rest in seen.cooldowns() if (rest.pool, rest.key) == (name, "")],
                "grants": await _grants(config, store, name, models[name]),
            }
            for name in config.pools
        },
    }


async def keys(config: Config, store: Store) -> list[Told]:
    """The same of each key, with its pool. Raises StoreAway or StoreUnable."""
    seen = await survey(config, store, await known_models(config, store))
    return [{"pool": pool} | key for pool, told in _keys(seen, *await store.drifts()).items() for key in told]


def _keys(seen: Survey, now_us: int, drifts: Mapping[str, Drift]) -> dict[str, list[Told]]:
    """By pool, in config order."""
    told: dict[tuple[str, str], Told] = {}
    pools: dict[str, list[Told]] = {}
    for pool, key, _ in seen.keys:
        off = seen.disabled(key)
        told[pool, key.id] = {"id": key.id, "enabled": off is None, "budgets": [], "cooldowns": []}
        if off is not None:
            told[pool, key.id]["disabled"] = {"since": _moment(off.since_us), "by": off.by}
        drift = drifts.get(key.fingerprint)
        told[pool, key.id]["drift"] = drift and _drift(drift, now_us)
        pools.setdefault(pool, []).append(told[pool, key.id])
    for budget in seen.budgets():
        if budget.key:
            told[budget.pool, budget.key]["budgets"].append(_budget(budget))
    for rest in seen.cooldowns():
        if rest.key:
            told[rest.pool, rest.key]["cooldowns"].append(_cooldown(rest))
    return pools


def _cooldown(rest: Cooldown) -> Told:
    """`seconds` null: until a try works; `tried_in` null: at its end."""
    seconds = None if rest.seconds == math.inf else round(rest.seconds, 1)
    tried_in = None if rest.tried_in_s is None else round(rest.tried_in_s, 1)
    told: Told = {"model": rest.model, "reason": rest.reason, "seconds": seconds, "tried_in": tried_in}
    return told | {"suspicion": not rest.proved}


async def _add_usage(keys: dict[str, list[Told]], config: Config, store: Store) -> Told:
    """What each key has sent, today and since counting began; returns what the cache has saved of either."""
    saved: Told = {}
    for span, days in (("today", 1), ("total", 0)):
        used = await usage(config, store, days)
        saved[span] = {name: used["total"][name] for name in CACHE}
        found = {(row.pop("pool"), row.pop("key")): row for row in used["rows"]}
        for pool, told in keys.items():
            for key in told:
                key.setdefault("usage", {})[span] = found.get((pool, key["id"])) or shown_counts({})
    return saved


def _totals(seen: Survey) -> dict[str, list[Told]]:
    """What each pool may spend as a whole."""
    pools: dict[str, list[Told]] = {}
    for budget in seen.budgets():
        if not budget.key:
            pools.setdefault(budget.pool, []).append(_budget(budget))
    return pools


def _budget(budget: Budget) -> Told:
    return of_limit(budget.limit) | {"used": budget.used, "enforced": budget.limit.enforce}


def of_limit(limit: Limit | NamedLimit) -> Told:
    """What a limit, ours or a provider's, counts and how much of it there may be."""
    window = per(limit) if isinstance(limit, Limit) else limit.per
    return {"unit": limit.unit, "per": window, "model": limit.model, "max": limit.max}


def _drift(drift: Drift, now_us: int) -> Told:
    """How often the provider refused although the budget had room, and the limit that it last named."""
    told = drift.told
    named = told.named and of_limit(told.named)
    ago_s = round((now_us - drift.at_us) / SECOND_US, 1)
    return {"count": drift.count, "seconds_ago": ago_s, "model": told.model, "outcome": told.outcome, "named": named}


def _moment(us: int) -> str:
    """Whole seconds of Redis's clock, in UTC."""
    return datetime.fromtimestamp(us // SECOND_US, UTC).isoformat().replace("+00:00", "Z")


async def _grants(config: Config, store: Store, name: str, models: tuple[str, ...]) -> dict[str, int]:
    """How many grants the rotation of each model has given; "" is that of calls without one, "*" the shared one."""
    all_models = ("", *models, SHARED)
    rotations = [rotation(config.pools[name], config.budgets, model) for model in all_models]
    found = await store.inspect((), rotations)
    return {model: number for model, number in zip(all_models, found.numbers, strict=True) if number is not None}
