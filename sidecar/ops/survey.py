"""What the store knows of a config's keys right now: budgets used and cooldowns, read and then understood."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sidecar.model import rests, room
from sidecar.model.bearing import account_of, resting_pool, resting_provider
from sidecar.model.configured import SECOND_US, Config, Key, Limit
from sidecar.model.labels import named_models
from sidecar.model.words import Subject
from sidecar.store.commands import Store
from sidecar.store.names import off_field, rest_field, window_field
from sidecar.store.texts import Disabled, Inspected, read_off
from sidecar.store.upkeep import SHARED


@dataclass(frozen=True, slots=True)
class Budget:
    """How much of a limit a key's account has used; keys of one account say the same."""

    pool: str
    key: str  # "": the pool as a whole
    limit: Limit
    used: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit.max - self.used)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A key, or the account it belongs to, rests for so many seconds more; for ever where only a try can end it.

    `model` "": for all models; "*": for those beyond the pool's first, which share a rotation and its rests.
    """

    pool: str
    key: str  # "": the pool as a whole, for its provider throttles all of it or fails
    model: str
    reason: str
    seconds: float
    proved: bool
    tried_in_s: float | None = None  # when a request may find out whether it is over; None: at its end


@dataclass(frozen=True, slots=True)
class Survey:
    """The state's fields as they were read; understanding them is left to who asks."""

    keys: tuple[tuple[str, Key, tuple[str, ...]], ...]  # pool, key and the models looked at
    limits: Mapping[str, tuple[Limit, ...]]  # of each account
    totals: Mapping[str, tuple[Limit, ...]]  # of each pool
    providers: tuple[tuple[str, str, str], ...]  # pool, model, and the field of their provider's rest
    found: Inspected

    def budgets(self) -> Iterator[Budget]:
        used: dict[str, tuple[int, ...]] = {}
        for pool, key, _ in self.keys:
            limits = self.limits.get(key.account, ())
            if key.account not in used:
                used[key.account] = tuple(self._used(key.account, limit) for limit in limits)
            for limit, count in zip(limits, used[key.account], strict=True):
                yield Budget(pool, key.id, limit, count)
        for pool, limits in self.totals.items():
            for limit in limits:
                yield Budget(pool, "", limit, self._used(account_of(pool), limit))

    def _used(self, account: str, limit: Limit) -> int:
        return room.used(limit, self.found.fields[window_field(account, limit)] or "", self.found.now_us)

    def disabled(self, key: Key) -> Disabled | None:
        """Since when and by whom; None: nobody disabled it."""
        text = self.found.fields[off_field(key.fingerprint)]
        return read_off(text) if text else None

    def cooldowns(self) -> Iterator[Cooldown]:
        """Of rests that differ in their subject alone, the key or its account, the one that ends last; then pools', and
        their providers' for a model."""
        for pool, key, models in self.keys:
            for model in models:
                longest: dict[str, Cooldown] = {}
                for field in _rest_fields(key, model):
                    rest = self._cooldown(pool, key.id, model, self.found.fields[field])
                    if rest and (rest.reason not in longest or longest[rest.reason].seconds < rest.seconds):
                        longest[rest.reason] = rest
                yield from longest.values()
        for pool in self.totals:
            if rest := self._cooldown(pool, "", "", self.found.fields[rest_field(resting_pool(pool))]):
                yield rest
        for pool, model, field in self.providers:
            if rest := self._cooldown(pool, "", model, self.found.fields[field]):
                yield rest

    def _cooldown(self, pool: str, key: str, model: str, text: str | None) -> Cooldown | None:
        if not text:
            return None
        rest, now_us = rests.read(text), self.found.now_us
        if rest.ends <= now_us:
            return None
        seconds = math.inf if rest.kind == rests.DEAD else (rest.ends - now_us) / SECOND_US
        tried_in_s = max(0.0, (rest.next - now_us) / SECOND_US) if rest.next < rest.ends else None
        return Cooldown(pool, key, model, rest.reason, seconds, bool(rest.kind), tried_in_s)


def _rest_fields(key: Key, model: str) -> tuple[str, str]:
    return (
        rest_field(Subject(key.account, key.fingerprint, model or None)),
        rest_field(Subject(key.account, None, model or None)),
    )


async def known_models(config: Config, store: Store) -> dict[str, tuple[str, ...]]:
    """The models of each pool that the config names in full, then by name those that clients of any replica named.

    Raises StoreAway or StoreUnable.
    """
    asked_for = await store.models(config.pools)
    return {
        pool: tuple(dict.fromkeys((*names, *filter(None, asked_for[pool]))))
        for pool, names in named_models(config).items()
    }


async def survey(config: Config, store: Store, models: Mapping[str, Collection[str]]) -> Survey:
    """Reads the budgets of all keys and their cooldowns: for all models, and for each of `models` of their pool.

    Raises StoreAway or StoreUnable.
    """
    keys = tuple(
        (pool.name, key, ("", SHARED, *models.get(pool.name, ())))
        for pool in config.pools.values()
        for key in pool.keys
    )
    totals = {pool.name: pool.total for pool in config.pools.values()}
    fields = {window_field(account_of(pool), limit): None for pool, limits in totals.items() for limit in limits}
    fields |= {rest_field(resting_pool(pool)): None for pool in totals}
    providers = tuple(
        (pool.name, model, rest_field(resting_provider(pool.way, model)))
        for pool in config.pools.values()
        if pool.breaker
        for model in ("", SHARED, *models.get(pool.name, ()))
    )
    fields |= {field: None for _, _, field in providers}
    for _, key, looked_at in keys:
        fields[off_field(key.fingerprint)] = None
        for limit in config.budgets.get(key.account, ()):
            fields[window_field(key.account, limit)] = None
        for model in looked_at:
            fields.update(dict.fromkeys(_rest_fields(key, model)))
    return Survey(keys, config.budgets, totals, providers, await store.inspect(list(fields)))
