"""Clients as the config has them, with how much of their limits they have used as the store has it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sidecar.model import room
from sidecar.model.configured import Client, Config, Limit
from sidecar.ops import shown
from sidecar.ops.status import of_limit
from sidecar.store.commands import Store
from sidecar.store.names import window_field

Told = dict[str, Any]  # becomes JSON, or was it
Used = Mapping[tuple[str, ...], int]  # by the client, and what its limit counts


async def read(config: Config, store: Store) -> Told:
    """Every client, with what it has used of its limits. Raises StoreAway or StoreUnable."""
    limits = [(client, limit) for client in config.clients for limit in client.limits]
    fields = [window_field(client.account, limit) for client, limit in limits]
    found = await store.inspect(fields)
    taken = {
        _place(client.id, of_limit(limit)): room.used(limit, found.fields[field] or "", found.now_us)
        for (client, limit), field in zip(limits, fields, strict=True)
    }
    return told(config, taken)


def told(config: Config, used: Used) -> Told:
    """Every client; `used` and `remaining` of a limit are None where nobody knows."""
    now_s = time.time()
    return {"clients": [_client(client, used, now_s) for client in config.clients]}


def used(read: Told) -> Used:
    """What was used, by the answer of a sidecar that may have another config by now."""
    return {_place(client["id"], limit): limit["used"] for client in read["clients"] for limit in client["limits"]}


def _place(client: str, limit: Told) -> tuple[str, ...]:
    return client, limit["unit"], limit["per"], limit["model"]


def _client(client: Client, used: Used, now_s: float) -> Told:
    return {
        "id": client.id,
        "models": list(client.models),
        "priority": "batch" if client.batch else "interactive",
        "limits": [_limit(client, limit, used) for limit in client.limits],
        "tokens": [shown.token(token) | {"expired": token.expired(now_s)} for token in client.tokens],
    }


def _limit(client: Client, limit: Limit, used: Used) -> Told:
    shown = of_limit(limit) | {"enforced": limit.enforce}
    count = used.get(_place(client.id, shown))
    return shown | {"used": count, "remaining": None if count is None else max(0, limit.max - count)}
