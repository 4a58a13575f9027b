"""The small worlds that histories play in: configs that differ in what a change of config can change.

Two accounts share a pool with a third, one of them has keys in both pools; limits are for the account, for a
model and for a pattern. Small maxima and windows bring every edge within a few steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from sidecar.model.configured import LEASE_US, Calendar, Limit, Strategy, Unit
from sidecar.model.words import NOBODY, Member, Rotation, Total

SECOND = 1_000_000
GUARD = 50_000
MODELS = ("m-large", "m-small", "other")


def limit(maximum: int, seconds: int, model: str = "", unit: Unit = "requests", enforce: bool = True) -> Limit:
    guard = max(GUARD, min(SECOND, seconds * SECOND // 50))
    return Limit(unit, maximum, seconds * SECOND, guard, model, enforce=enforce)


def daily(maximum: int, zone: str, unit: Unit = "requests") -> Limit:
    return Limit(unit, maximum, 0, SECOND, calendar=Calendar("day", zone))


def monthly(maximum: int, zone: str, unit: Unit = "requests") -> Limit:
    return Limit(unit, maximum, 0, SECOND, calendar=Calendar("month", zone))


def in_flight(maximum: int) -> Limit:
    return Limit("concurrency", maximum, LEASE_US, LEASE_US)


@dataclass(frozen=True)
class World:
    """Pools of (key, account) in order, each account's limits, and what is said of a pool as a whole."""

    pools: dict[str, tuple[tuple[str, str], ...]]
    limits: dict[str, tuple[Limit, ...]]
    strategies: Mapping[str, Strategy] = field(default_factory=dict)
    totals: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)

    def rotation(self, pool: str, model: str, client: Total = NOBODY) -> Rotation:
        """What the scripts are told of a pool, a model and a client. The first key weighs 3, the last comes later."""
        sets = list(dict.fromkeys(self.limits[account] for _, account in self.pools[pool]))
        members = tuple(
            Member(order, 3 - 2 * bool(order), order // 2, key, f"fp-{key}", account, sets.index(self.limits[account]))
            for order, (key, account) in enumerate(self.pools[pool])
        )
        limits = tuple(self._of(model, chosen) for chosen in sets)
        total, strategy = self._of(model, self.totals.get(pool, ())), self.strategies.get(pool, "round_robin")
        told = repr(([member.text for member in members], limits, total, strategy))
        digest = hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
        line = "p" if any(one.kind == "leases" for chosen in limits for one in chosen) else ""
        return Rotation(pool, model, digest, members, limits, strategy, total, line, client, "door")

    @staticmethod
    def _of(model: str, chosen: tuple[Limit, ...]) -> tuple[Limit, ...]:
        return tuple(one for one in chosen if not one.model or fnmatchcase(model, one.model))

    def pools_of(self, account: str) -> list[str]:
        """The pools that have a key of this account."""
        return [pool for pool, keys in self.pools.items() if any(owner == account for _, owner in keys)]


def alone(rotation: Rotation, choice: int) -> Rotation:
    """What a prober asks for: one key, in a rotation of its own."""
    member = rotation.members[choice % len(rotation.members)]
    return replace(rotation, digest=f"{rotation.digest}-{member.id}", members=(member,))


CLIENTS = (
    NOBODY,
    Total("@often", (limit(2, 10), limit(1000, 60, unit="tokens"))),
    Total("@alone", (in_flight(1), daily(5, "UTC"))),
    NOBODY,
    Total("@seldom", (limit(1, 2), in_flight(2), limit(3, 60, enforce=False))),
)
POOLS = {"p": (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c")), "q": (("b2", "b"), ("d1", "d"))}
NEW_YORK = "America/New_York"

WORLDS = (
    World(
        POOLS,
        {
            "a": (limit(3, 10), limit(1, 2, "m-*")),
            "b": (limit(2, 10), limit(4, 60), limit(1, 10, "m-large")),
            "c": (limit(3, 10), limit(1, 2, "m-*")),
            "d": (limit(3, 2),),
        },
    ),
    # Budgets lowered, raised and gone.
    World(
        POOLS,
        {
            "a": (limit(2, 10), limit(2, 2, "m-*")),
            "b": (limit(1, 10), limit(6, 60)),
            "c": (limit(5, 10),),
            "d": (),
        },
    ),
    # Keys removed, added and in another order.
    World(
        {"p": (("c1", "c"), ("a2", "a"), ("e1", "e"), ("b1", "b")), "q": (("d1", "d"), ("b2", "b"))},
        {
            "a": (limit(3, 10), limit(1, 2, "m-*")),
            "b": (limit(2, 10), limit(4, 60), limit(1, 10, "m-large")),
            "c": (limit(3, 10), limit(1, 2, "m-*")),
            "d": (limit(3, 2),),
            "e": (limit(1, 60),),
        },
    ),
    # Tokens, totals and weights.
    World(
        POOLS,
        {
            "a": (limit(1000, 10, unit="tokens"), limit(3, 10)),
            "b": (limit(400, 2, unit="output_tokens"), limit(700, 60, "m-*", unit="input_tokens")),
            "c": (limit(1000, 10, unit="tokens"), limit(3, 10)),
            "d": (limit(2000, 60, unit="tokens"), limit(2, 10, enforce=False)),
        },
        strategies={"p": "weighted", "q": "least_used"},
        totals={"p": (limit(5, 10), limit(2500, 60, unit="tokens")), "q": (limit(2, 2, "m-large"),)},
    ),
    # Calendars, requests in flight and priorities.
    World(
        POOLS,
        {
            "a": (daily(3, NEW_YORK), in_flight(1)),
            "b": (limit(2, 10), monthly(4, NEW_YORK), in_flight(2)),
            "c": (daily(900, "UTC", unit="tokens"), limit(4, 60)),
            "d": (daily(2, "Asia/Kolkata"), daily(4, NEW_YORK), limit(1, 2)),
        },
        strategies={"p": "priority", "q": "fill_first"},
        totals={"q": (monthly(5, NEW_YORK),)},
    ),
    World(
        POOLS,
        {
            "a": (limit(3, 10), in_flight(2)),
            "b": (limit(2, 10), in_flight(1), daily(5, NEW_YORK)),
            "c": (in_flight(1),),
            "d": (limit(3, 2),),
        },
        strategies={"p": "least_used", "q": "weighted"},
        totals={"p": (daily(6, NEW_YORK),)},
    ),
    # Many keys of an account.
    World(
        {"p": (("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("a4", "a")), "q": POOLS["q"]},
        {
            "a": (limit(3, 10), limit(1, 2, "m-*"), in_flight(2)),
            "b": (limit(2, 10), limit(1000, 60, unit="tokens")),
            "d": (limit(3, 2),),
        },
    ),
)
