"""Configs as small as a test of pools needs them, and requests that search in them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from sidecar.model.configured import (
    LEASE_US,
    SECOND_US,
    Auth,
    Config,
    Key,
    Limit,
    Pool,
    Provider,
    Secret,
    Speech,
    Target,
)
from sidecar.model.words import Exhausted, Refusal
from sidecar.pool.search import Held, Search

BEARER = Auth("bearer")
GUARD_US = 50_000


def limit(maximum: int, window_s: float = 60, guard_us: int = GUARD_US, model: str = "") -> Limit:
    return Limit("requests", maximum, round(window_s * SECOND_US), guard_us, model)


def in_flight(maximum: int) -> Limit:
    """So many requests of an account at once."""
    return Limit("concurrency", maximum, LEASE_US, LEASE_US)


def tokens(maximum: int, window_s: float = 60) -> Limit:
    return Limit("tokens", maximum, round(window_s * SECOND_US), GUARD_US)


def provider(name: str = "sim", *dialects: str) -> Provider:
    """It speaks these dialects (none told: openai), the first as its own."""
    spoken = {dialect: Speech("/v1", BEARER) for dialect in dialects or ("openai",)}
    return Provider(name, f"http://{name}.test", BEARER, spoken)


def key(id_: str, account: str = "", models: Iterable[str] = ()) -> Key:
    """A key with an account of its own, unless one is told."""
    return Key(id_, Secret(f"secret-of-{id_}"), f"fp-{id_}", account or f"acc-{id_}", models=tuple(models))


def pool(
    name: str = "p",
    keys: int | Iterable[str | Key] = 2,
    of: Provider | None = None,
    max_wait_s: float = 10,
    **options: Any,
) -> Pool:
    """Keys k0, k1, ..., or these, each an account of its own."""
    told = [f"k{n}" for n in range(keys)] if isinstance(keys, int) else keys
    made = tuple(one if isinstance(one, Key) else key(one) for one in told)
    return Pool(name, of or provider(), made, max_wait_us=round(max_wait_s * SECOND_US), **options)


def config(
    *pools: Pool, limits: Iterable[Limit] = (), budgets: Mapping[str, Iterable[Limit]] | None = None, **options: Any
) -> Config:
    """These pools; the limits hold for each account, or `budgets` says for which."""
    if budgets is None:
        budgets = dict.fromkeys((one.account for each in pools for one in each.keys), limits)
    of_accounts = {account: tuple(own) for account, own in budgets.items()}
    return Config({each.name: each for each in pools}, of_accounts, **options)


def search(
    *targets: Target | str, max_wait_s: float | None = None, within_s: float = 60, request: str = "r1", **state: Any
) -> Search:
    """A request for these targets; a text is a pool's name, with model m."""
    made = tuple(Target(one, "m") if isinstance(one, str) else one for one in targets or ("p",))
    return Search(request, made, asyncio.get_running_loop().time() + within_s, max_wait_s, **state)


def held(answer: Held | Refusal | Exhausted) -> Held:
    assert isinstance(answer, Held), answer
    return answer
