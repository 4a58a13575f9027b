"""All that a soak is going to do, drawn from its seed before anything is started."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal

from sidecar.simulate.ledger import Budget

GUARD_S = 0.5  # two cores that others use too: a provider may look at an arrival a good deal later than it came
SHORT, LONG, SLOW = Budget(10, 5.0), Budget(34, 20.0), Budget(4, 5.0, "slow-*")
BUDGETS = (SHORT, LONG, SLOW)
RATE = 22.0  # requests a second, about twice what the budgets allow
MAX_WAIT_S = 3.0
SUSPICION_S = 30.0  # the longest rest that can be left behind: the sidecar's own, of a replica that was killed
# By pool, each key's account; None: one of its own.
POOLS: Mapping[str, Mapping[str, str | None]] = {
    "chat": {"k0": None, "k1": None, "k2": None, "k3": None, "k4": "acme", "k5": "acme"},
    "spare": {"s0": None, "s1": None},
}
DEADLY = ("k0", "k1", "k2")  # keys that the provider may call invalid; the others then prove it

Kind = Literal["freeze", "kill clients", "cut", "cut a reply", "kill", "drain", "stop"]
OF_REDIS: tuple[Kind, ...] = ("freeze", "kill clients", "cut", "cut a reply")
OF_REPLICAS: tuple[Kind, ...] = ("kill", "drain", "stop")
# How long each may last. A freeze below the store's deadline of 2 s makes replies late, above it makes Redis away.
SECONDS: Mapping[Kind, tuple[float, ...]] = {"freeze": (0.8, 1.6, 3.0, 5.0), "stop": (0.8, 1.5, 3.0)}
PAUSE_S = (0.8, 3.5)  # between the end of one and the next
REST_S = 6.0  # of a key that is called invalid


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: when it begins (seconds since the storm's beginning), how long it lasts, whom it chooses."""

    at_s: float
    kind: Kind
    seconds: float
    choice: int


@dataclass(frozen=True, slots=True)
class Round:
    """Some calm, in which the books must balance exactly, then a storm: its faults of Redis and of replicas."""

    calm_s: float
    storm_s: float
    of_redis: tuple[Step, ...]
    of_replicas: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """A run's numbers; secrets and faults follow from the seed."""

    minutes: float
    seed: int
    replicas: int
    quick: bool
    secrets: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        draw = random.Random(f"secrets {self.seed}")
        ids = [key for keys in POOLS.values() for key in keys]
        object.__setattr__(self, "secrets", {key: f"sk-soak-{draw.randbytes(18).hex()}" for key in ids})

    @property
    def command(self) -> str:
        """What runs the same again."""
        length = "--quick" if self.quick else f"--minutes {self.minutes:g}"
        return f"python -m tests.soak {length} --seed {self.seed} --replicas {self.replicas}"

    def rounds(self) -> Iterator[Round]:
        """As many as fill the time, each about a minute; every kind of fault comes as often as the others."""
        draw = random.Random(f"faults {self.seed}")
        count = 1 if self.quick else max(1, round(self.minutes))
        each_s = 30.0 if self.quick else 60.0 * self.minutes / count
        calm_s = each_s * 0.25
        redis, replicas = _deck(draw, OF_REDIS), _deck(draw, OF_REPLICAS)
        for _ in range(count):
            storm_s = each_s - calm_s
            yield Round(calm_s, storm_s, tuple(_steps(draw, redis, storm_s)), tuple(_steps(draw, replicas, storm_s)))

    # --- what the processes are told -------------------------------------------------------------------

    def accounts(self) -> dict[str, str | None]:
        """What the provider is told: the account of each secret."""
        return {self.secrets[key]: account for keys in POOLS.values() for key, account in keys.items()}

    def config(self, provider_url: str, redis_url: str) -> dict[str, Any]:
        """A sidecar.yaml without its addresses."""
        return {
            "redis": redis_url,
            "namespace": "soak",
            "pools": {pool: self._pool(provider_url, keys) for pool, keys in POOLS.items()},
            "routes": {"main": [{"pool": "chat", "model": "gpt-4o"}, {"pool": "spare", "model": "gpt-4o-mini"}]},
        }

    def _pool(self, provider_url: str, keys: Mapping[str, str | None]) -> dict[str, Any]:
        return {
            "base_url": f"{provider_url}/v1",
            "dialect": "openai",
            "keys": [
                {"id": key, "secret": self.secrets[key]} | ({"account": account} if account else {})
                for key, account in keys.items()
            ],
            "limits": [_limit(budget) for budget in BUDGETS],
            "cooldown": {"default": "2s", "max": f"{REST_S:g}s"},
            "max_wait": f"{MAX_WAIT_S:g}s",
        }


def full(pool: str) -> int:
    """How many requests a pool takes at once when all its budgets are full."""
    names = POOLS[pool]
    return SHORT.max * len({account or key for key, account in names.items()})


def _limit(budget: Budget) -> dict[str, Any]:
    limit = {"requests": budget.max, "per": f"{budget.window_s:g}s", "guard": f"{GUARD_S * 1000:g}ms"}
    return limit | ({"model": budget.model} if budget.model else {})


def _deck(draw: random.Random, kinds: tuple[Kind, ...]) -> Iterator[tuple[Kind, float]]:
    """Every kind once, with each of its lengths in turn, shuffled; then again."""
    lengths = {kind: cycle(draw.sample(SECONDS[kind], len(SECONDS[kind]))) for kind in kinds if kind in SECONDS}
    while True:
        for kind in draw.sample(kinds, len(kinds)):
            yield kind, next(lengths[kind]) if kind in lengths else 0.0


def _steps(draw: random.Random, deck: Iterator[tuple[Kind, float]], storm_s: float) -> Iterator[Step]:
    at_s = draw.uniform(*PAUSE_S)
    while at_s < storm_s - max(SECONDS["freeze"]):
        kind, seconds = next(deck)
        yield Step(at_s, kind, seconds, draw.getrandbits(16))
        at_s += seconds + draw.uniform(*PAUSE_S)
