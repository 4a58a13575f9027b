"""What the soak's pools are: keys, turns and budgets, as replicas are told of them and as the provider counts them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.model.configured import Strategy
from sidecar.simulate.budgets import Budget
from tests.soak.midnight import ZONE

GUARD_S = 0.5  # two cores that others use too: a provider may look at an arrival a good deal later than it came
MAX_WAIT_S = 3.0
REST_S = 6.0  # the longest rest whose length the provider does not name
SHARE = 0.2  # of each budget, that batch leaves to the others: the sidecar's own default

SHORT, LONG, SLOW = Budget(10, 5.0), Budget(34, 20.0), Budget(4, 5.0, "slow-*")
TOTAL = Budget(15, 5.0)  # of `spare` as a whole: its two accounts alone would take 20
TOKENS = Budget(1000, 10.0, unit="tokens")
READ = Budget(1000, 10.0, unit="input_tokens")
RANKED = Budget(6, 5.0)
ROOMY, MAKING, SPEAKING = Budget(70, 5.0), Budget(20, 5.0), Budget(12, 5.0)
FRAIL = Budget(100, 5.0)
FAILURES, PAUSE_S, RETRIES = 6, 1.0, 0.2  # of the pools whose provider dies now and then
STALLS: Mapping[str, Any] = {"first_byte_timeout": "1s", "idle_timeout": "1s"}
DENSE_SIGNS = 200  # of a text whose every byte is a token, where the sidecar expects four bytes to be one
# Requests of such texts that the sidecar may take for small ones in one window: those in flight, and some that fail.
READ_BEYOND = 8 * DENSE_SIGNS


@dataclass(frozen=True, slots=True)
class Key:
    """`own`: the limits that it has beside its pool's."""

    account: str = ""  # "": one of its own
    weight: int = 1
    priority: int = 0
    own: tuple[Budget, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """`beyond`: how much more the provider allows of tokens than replicas are told.

    `apart`: none of its keys is refused, fails or is disabled by chance, for what is asked of it cannot go elsewhere;
    `more`: what else its config says.
    """

    strategy: Strategy
    keys: Mapping[str, Key]
    budgets: tuple[Budget, ...]
    total: tuple[Budget, ...] = ()
    concurrency: int = 0
    beyond: int = 0
    dialect: str = "openai"
    host: str = "127.0.0.1"  # by which the provider is called: another host is another provider to who fails
    apart: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def account(self, key: str) -> str:
        """What the provider counts for; of a key that is an account of its own, its id."""
        return self.keys[key].account or key

    @property
    def accounts(self) -> frozenset[str]:
        return frozenset(map(self.account, self.keys))

    @property
    def model(self) -> str:
        """A model that its keys serve and no limit of its own counts."""
        return "gpt-4o-mini" if self.total else "gpt-4o"


def _daily(most: int) -> tuple[Budget, ...]:
    return (Budget(most, calendar="day", zone=ZONE),)


POOLS: Mapping[str, Pool] = {
    "chat": Pool(
        "round_robin",
        {"k0": Key(), "k1": Key(), "k2": Key(), "k3": Key(), "k4": Key("acme"), "k5": Key("acme")},
        (SHORT, LONG, SLOW),
    ),
    "spare": Pool("least_used", {"s0": Key(), "s1": Key()}, (SHORT, LONG), total=(TOTAL,)),
    "heavy": Pool("weighted", {"h0": Key(weight=3), "h1": Key(), "h2": Key()}, (TOKENS,), concurrency=4),
    "flight": Pool(
        "fill_first",
        {"f0": Key(), "f1": Key("twin"), "f2": Key("twin")},
        (READ,),
        concurrency=2,
        beyond=READ_BEYOND,
    ),
    "ranked": Pool(
        "priority",
        {"p0": Key(), "p1": Key(priority=1, own=_daily(15)), "p2": Key(priority=2, own=_daily(150))},
        (RANKED,),
    ),
    "roomy": Pool("round_robin", {"r0": Key(), "r1": Key(), "r2": Key()}, (ROOMY,)),
    "making": Pool("round_robin", {"m0": Key(), "m1": Key(), "m2": Key()}, (MAKING,), apart=True),
    "claude": Pool("round_robin", {"c0": Key(), "c1": Key()}, (SPEAKING,), dialect="anthropic", more=STALLS),
    "google": Pool("round_robin", {"g0": Key(), "g1": Key()}, (SPEAKING,), dialect="gemini", more=STALLS),
    "fragile": Pool(
        "round_robin",
        {"b0": Key(), "b1": Key()},
        (FRAIL,),
        host="localhost",
        apart=True,
        more={"breaker": {"failures": FAILURES, "pause": f"{PAUSE_S:g}s"}, "retry_budget": RETRIES},
    ),
    "stubborn": Pool(
        "round_robin",
        {"n0": Key(), "n1": Key()},
        (FRAIL,),
        host="localhost",
        apart=True,
        more={"breaker": "off", "retry_budget": RETRIES},
    ),
}
STALLING = tuple(key for pool in POOLS.values() if pool.more is STALLS for key in pool.keys)
TROUBLED = tuple(key for pool in POOLS.values() if not pool.apart for key in pool.keys)
DEADLY = ("k0", "k1", "k2")  # keys that the provider may call invalid; the others then prove it
SOMETIMES = "k3"  # the key that the other config has not
DAILY = ("p1", "p2")


def budgets() -> list[Budget]:
    """What the provider allows each account. Of a pool's total it knows nothing."""
    return [one for pool in POOLS.values() for account in sorted(pool.accounts) for one in _of(pool, account)]


def _of(pool: Pool, account: str) -> Iterator[Budget]:
    own = [one for key, of in pool.keys.items() if pool.account(key) == account for one in of.own]
    for one in (*pool.budgets, *own):
        yield one._replace(account=account, max=one.max + (pool.beyond if one.unit != "requests" else 0))
    if pool.concurrency:
        yield Budget(pool.concurrency, unit="concurrency", account=account)


def full(pool: str, share: float = 0.0) -> int:
    """How many requests of pools that count only requests are taken at once when all budgets are full.

    `share` of each budget is left over.
    """
    one = POOLS[pool]
    most = _left(SHORT, share) * len(one.accounts)
    return min(most, *(_left(total, share) for total in one.total)) if one.total else most


def _left(budget: Budget, share: float) -> int:
    return budget.max - math.ceil(budget.max * share)


# --- as a config says it ----------------------------------------------------------------------------


def config(secrets: Mapping[str, str], provider_url: str, other: bool) -> dict[str, Any]:
    """`pools` of a sidecar.yaml. `other`: a second config, that holds each account to no more than the first.

    It has a key less, a lower maximum, other weights, another strategy and another wait.
    """
    return {name: _pool(name, secrets, provider_url, other) for name in POOLS}


def _pool(name: str, secrets: Mapping[str, str], provider_url: str, other: bool) -> dict[str, Any]:
    pool = POOLS[name]
    keys = {key: of for key, of in pool.keys.items() if not (other and key == SOMETIMES)}
    lowered = [one._replace(max=8) if other and one is SHORT else one for one in pool.budgets]
    told: dict[str, Any] = {
        "base_url": provider_url.replace("127.0.0.1", pool.host) + ("/v1" if pool.dialect == "openai" else ""),
        "dialect": pool.dialect,
        "strategy": "round_robin" if other and name == "spare" else pool.strategy,
        "keys": [_key(key, of, secrets[key], heavier=other and key == "h1") for key, of in keys.items()],
        "limits": list(map(_limit, lowered)),
        "total": list(map(_limit, pool.total)),
        "cooldown": {"default": "2s", "max": f"{REST_S:g}s"},
        "max_wait": f"{MAX_WAIT_S / 2 if other else MAX_WAIT_S:g}s",
    }
    return told | ({"concurrency": pool.concurrency} if pool.concurrency else {}) | dict(pool.more)


def _key(name: str, key: Key, secret: str, heavier: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"id": name, "secret": secret}
    told |= {"account": key.account} if key.account else {}
    told |= {"weight": key.weight + heavier} if key.weight + heavier > 1 else {}
    told |= {"priority": key.priority} if key.priority else {}
    return told | ({"limits": list(map(_limit, key.own))} if key.own else {})


def _limit(budget: Budget) -> dict[str, Any]:
    limit: dict[str, Any] = {budget.unit: budget.max, "guard": f"{GUARD_S * 1000:g}ms"}
    limit |= {"per": "calendar_day", "tz": budget.zone} if budget.calendar else {"per": f"{budget.window_s:g}s"}
    return limit | ({"model": budget.model} if budget.model else {})
