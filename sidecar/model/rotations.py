"""What the scripts are told of a pool for one model: its members in config order, and the limits that bear on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sidecar.model.configured import Client, Key, Limit, Pool
from sidecar.model.patterns import matches
from sidecar.model.words import NOBODY, Member, Rotation, Total


def rotation(pool: Pool, budgets: Mapping[str, tuple[Limit, ...]], model: str, line: str = "") -> Rotation:
    """The rotation of the keys that may serve the model; without members if none may.

    A member's text is the same for every model of the pool. The digest covers the limits' numbers too: a raised
    budget is a new rotation, whose keys are not parked for moments that the old one knew. `line`: where those stand who
    wait for its requests in flight (lines.names), if it counts any.
    """
    sets = list(dict.fromkeys(budgets.get(key.account, ()) for key in pool.keys))
    index = {limits: at for at, limits in enumerate(sets)}
    members = tuple(
        Member(
            order, key.weight, key.priority, key.id, key.fingerprint, key.account, index[budgets.get(key.account, ())]
        )
        for order, key in enumerate(pool.keys)
        if may_serve(key, model)
    )
    limits = tuple(tuple(limit for limit in one if not limit.model or matches(limit.model, model)) for one in sets)
    total = tuple(limit for limit in pool.total if not limit.model or matches(limit.model, model))
    digest = _digest(members, (*limits, total), pool.strategy)
    way = pool.way if pool.breaker else ""
    counted = any(limit.kind == "leases" for one in limits for limit in one)
    return Rotation(pool.name, model, digest, members, limits, pool.strategy, total, line if counted else "", way=way)


def of_client(client: Client, model: str | None) -> Total:
    """What a client may spend as a whole on calls that name this model in its own words; NOBODY without limits."""
    limits = tuple(limit for limit in client.limits if not limit.model or matches(limit.model, model or ""))
    return Total(client.account, limits) if limits else NOBODY


def serves(pool: Pool, model: str) -> bool:
    """Whether any key of the pool may serve this model; "": a call without one."""
    return any(may_serve(key, model) for key in pool.keys)


def may_serve(key: Key, model: str) -> bool:
    """Whether the key's `models` allow this one; a key without any may serve all, and calls without a model too."""
    return not key.models or any(matches(pattern, model) for pattern in key.models)


def _digest(members: tuple[Member, ...], limits: tuple[tuple[Limit, ...], ...], strategy: str) -> str:
    told = hashlib.blake2b(digest_size=8)
    for member in members:
        told.update(member.text.encode() + b"\n")
    told.update(repr((strategy, limits)).encode())
    return told.hexdigest()
