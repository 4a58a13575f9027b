"""All that a soak is going to do, drawn from its seed before anything is started."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal

from tests.soak import callers, pools
from tests.soak.pools import POOLS
from tests.soak.routes import ROUTES

NAMESPACE = "soak"
RATE = 32.0  # requests a second, about twice what the budgets allow
PROBED_S = 90.0  # the longest rest that can be left behind: of a dead key, which is first tried after a minute

Kind = Literal[
    "freeze", "kill clients", "cut", "cut a reply", "restart", "kill", "drain", "stop", "disable", "reload", "dead"
]
OF_REDIS: tuple[Kind, ...] = ("freeze", "kill clients", "cut", "cut a reply", "restart")
OF_REPLICAS: tuple[Kind, ...] = ("kill", "drain", "stop")
OF_OPERATORS: tuple[Kind, ...] = ("disable", "reload")
OF_PROVIDER: tuple[Kind, ...] = ("dead",)
# How long each may last. A freeze below the store's deadline of 2 s makes replies late, above it makes Redis away.
SECONDS: Mapping[Kind, tuple[float, ...]] = {
    "freeze": (0.8, 1.6, 3.0, 5.0),
    "stop": (0.8, 1.5, 3.0),
    "disable": (1.0, 3.0),
    "reload": (2.0, 5.0),
    "dead": (5.0, 8.0),
}
SIGNS_S = 1.0  # until a stream that waits tells of it, where its client asks for that
CALM = 0.25  # of a round
LINGERING_S = 21.0  # longer than any request that a calm may have to wait for
PAUSE_S = (0.8, 3.5)  # between the end of one and the next


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: when it begins (seconds since the storm's beginning), how long it lasts, whom it chooses."""

    at_s: float
    kind: Kind
    seconds: float
    choice: int


@dataclass(frozen=True, slots=True)
class Round:
    """Some calm, in which the books must balance exactly, then a storm: faults of Redis, of replicas and of a provider,
    and operators."""

    calm_s: float
    storm_s: float
    of_redis: tuple[Step, ...]
    of_replicas: tuple[Step, ...]
    of_operators: tuple[Step, ...]
    of_provider: tuple[Step, ...]


@dataclass(frozen=True)
class Plan:
    """A run's numbers; secrets and faults follow from the seed."""

    minutes: float
    seed: int
    replicas: int
    quick: bool
    secrets: Mapping[str, str] = field(init=False, repr=False)
    tokens: Mapping[str, str] = field(init=False, repr=False)  # each client's virtual key

    def __post_init__(self) -> None:
        draw = random.Random(f"secrets {self.seed}")
        ids = [key for pool in POOLS.values() for key in pool.keys]
        object.__setattr__(self, "secrets", {key: f"sk-soak-{draw.randbytes(18).hex()}" for key in ids})
        object.__setattr__(self, "tokens", {name: f"sk-client-{draw.randbytes(18).hex()}" for name in callers.CALLERS})

    @property
    def _count(self) -> int:
        return 1 if self.quick else max(1, round(self.minutes))

    @property
    def _each_s(self) -> float:
        return 30.0 if self.quick else 60.0 * self.minutes / self._count

    @property
    def midnight_s(self) -> float:
        """Seconds from the first request to the midnight of days' budgets: amid the first storm, in any case."""
        return CALM * self._each_s + LINGERING_S

    @property
    def command(self) -> str:
        """What runs the same again."""
        length = "--quick" if self.quick else f"--minutes {self.minutes:g}"
        return f"python -m tests.soak {length} --seed {self.seed} --replicas {self.replicas}"

    def rounds(self) -> Iterator[Round]:
        """As many as fill the time, each about a minute; every kind of fault comes as often as the others."""
        draw = random.Random(f"faults {self.seed}")
        calm_s = CALM * self._each_s
        decks = [_deck(draw, kinds) for kinds in (OF_REDIS, OF_REPLICAS, OF_OPERATORS)]
        deaths = _deck(draw, OF_PROVIDER)
        for _ in range(self._count):
            storm_s = self._each_s - calm_s
            of_redis, of_replicas, of_operators = (tuple(_steps(draw, deck, storm_s)) for deck in decks)
            death = Step(draw.uniform(*PAUSE_S), *next(deaths), draw.getrandbits(16))
            yield Round(calm_s, storm_s, of_redis, of_replicas, of_operators, (death,))

    # --- what the processes are told -------------------------------------------------------------------

    def accounts(self) -> dict[str, str]:
        """What the provider is told: the account of each secret."""
        return {self.secrets[key]: pool.account(key) for pool in POOLS.values() for key in pool.keys}

    def config(self, provider_url: str, redis_url: str, other: bool) -> dict[str, Any]:
        """A sidecar.yaml without its addresses; `other`: the one that reloads change to."""
        return {
            "redis": redis_url,
            "namespace": NAMESPACE,
            "pools": pools.config(self.secrets, provider_url, other),
            "routes": ROUTES,
            "clients": callers.config(self.tokens),
            "keepalive": f"{SIGNS_S:g}s",
        }


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
