"""Rotations and asks as small as a test needs them, and a script run without a Store in between."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import redis

from sidecar.model.configured import SECOND_US, Limit, Strategy
from sidecar.model.words import Ask, Exhausted, Grant, Member, Refusal, Rotation
from sidecar.store import calls, scripts

GUARD_US = 50_000


def limit(maximum: int, seconds: int = 60, guard_us: int = GUARD_US, model: str = "") -> Limit:
    return Limit("requests", maximum, seconds * SECOND_US, guard_us, model)


def rotation(
    keys: int | Iterable[str],
    *limits: Limit,
    pool: str = "p",
    model: str = "m",
    account: str = "",
    strategy: Strategy = "round_robin",
) -> Rotation:
    """Keys k0, k1, ... (or these ids), each an account of its own or all of this one, all with the same limits."""
    ids = [f"k{i}" for i in range(keys)] if isinstance(keys, int) else list(keys)
    members = tuple(Member(order, 1, 0, id_, f"fp-{id_}", account or f"acc-{id_}", 0) for order, id_ in enumerate(ids))
    told = repr(([member.text for member in members], limits, strategy)).encode()
    return Rotation(pool, model, hashlib.blake2b(told, digest_size=8).hexdigest(), members, (limits,), strategy)


def ask(*rotations: Rotation, max_wait_s: float | tuple[float, ...] = 0, tried: Iterable[tuple[int, str]] = ()) -> Ask:
    waits = max_wait_s if isinstance(max_wait_s, tuple) else (max_wait_s,) * len(rotations)
    return Ask(rotations, tuple(round(wait * SECOND_US) for wait in waits), frozenset(tried))


def granted(answer: Grant | Refusal | Exhausted) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def unexpected(grant: Grant) -> None:
    """For `orphaned` where nobody is cancelled."""
    raise AssertionError(grant)


def run(client: redis.Redis, call: calls.Call) -> Any:
    """The reply of one script call."""
    script = scripts.load(call.script)
    return client.eval(script.text, len(call.keys), *call.keys, *call.args)
