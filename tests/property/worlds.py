"""The small worlds that histories play in: configs that differ in what a change of config can change.

Two accounts share a pool with a third, one of them has keys in both pools; limits are for the account, for a
model and for a pattern. Small maxima and windows bring every edge within a few steps.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sidecar.model.configured import Limit
from sidecar.model.words import Member, Rotation

SECOND = 1_000_000
GUARD = 50_000
MODELS = ("m-large", "m-small", "other")


def limit(maximum: int, seconds: int, model: str = "") -> Limit:
    return Limit("requests", maximum, seconds * SECOND, max(GUARD, min(SECOND, seconds * SECOND // 50)), model)


@dataclass(frozen=True)
class World:
    """Pools of (key, account) in order, and each account's limits."""

    pools: dict[str, tuple[tuple[str, str], ...]]
    limits: dict[str, tuple[Limit, ...]]

    def rotation(self, pool: str, model: str) -> Rotation:
        """What the scripts are told of a pool and a model."""
        sets = list(dict.fromkeys(self.limits[account] for _, account in self.pools[pool]))
        members = tuple(
            Member(order, 1, key, f"fp-{key}", account, sets.index(self.limits[account]))
            for order, (key, account) in enumerate(self.pools[pool])
        )
        limits = tuple(
            tuple(one for one in chosen if not one.model or fnmatchcase(model, one.model)) for chosen in sets
        )
        told = repr(([member.text for member in members], limits))
        return Rotation(pool, model, hashlib.blake2b(told.encode(), digest_size=6).hexdigest(), members, limits)

    def pools_of(self, account: str) -> list[str]:
        """The pools that have a key of this account."""
        return [pool for pool, keys in self.pools.items() if any(owner == account for _, owner in keys)]


POOLS = {"p": (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c")), "q": (("b2", "b"), ("d1", "d"))}

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
)
