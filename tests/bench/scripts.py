"""What an acquire costs Redis: `python -m tests.bench.scripts`, microseconds of its CPU and commands inside a call.

Redis counts whole microseconds of each call, so that a GET may cost none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from sidecar.model.configured import SECOND_US, Limit
from sidecar.model.words import Ask, Member, Rotation
from sidecar.store import calls, scripts, upkeep
from sidecar.store.names import Names
from tests.servers import real_redis

NAMES = Names("bench")
KEYS = (1, 10, 100, 1000)
MOST = 2000  # calls in one measurement
ROUNDS = 3  # of which the quickest counts: whatever else runs on the machine only ever adds
WINDOWS_S = (60, 600, 3600, 86_400)


@dataclass(frozen=True)
class State:
    """In which state the keys are: maximum of their limits, grants of each before and during the measurement."""

    name: str
    maximum: int
    before: int
    during: int


STATES = (
    State("ready, fresh", 60, 0, 20),
    State("ready, windows two thirds full", 60, 40, 10),
    State("spent", 15, 15, 20),
)


@dataclass(frozen=True)
class Cost:
    """What one call costs on average: microseconds of Redis's CPU, and commands inside."""

    usec: float
    commands: float


def turns(keys: int, maximum: int) -> Rotation:
    """Keys with four limits each, all with the same maximum."""
    limits = tuple(Limit("requests", maximum, seconds * SECOND_US, SECOND_US) for seconds in WINDOWS_S)
    members = tuple(Member(i, 1, 0, f"k{i}", f"{i:016x}", f"{i:016x}", 0) for i in range(keys))
    return Rotation("bench", "model", f"{maximum}", members, (limits,))


def cost(raw: redis.Redis, count: int, *command: Any) -> Cost:
    """Sends a command so many times in one pipeline."""
    pipeline: Any = raw.pipeline(transaction=False)
    for _ in range(count):
        pipeline.execute_command(*command)
    raw.config_resetstat()
    pipeline.execute()
    stats = raw.info("commandstats")
    own = stats.pop(f"cmdstat_{command[0].lower()}")
    inside = sum(stat["calls"] for name, stat in stats.items() if not name.startswith("cmdstat_config"))
    return Cost(own["usec"] / count, inside / count)


def evalsha(raw: redis.Redis, call: calls.Call) -> tuple[Any, ...]:
    sha = raw.script_load(scripts.load(call.script).text)
    return ("EVALSHA", sha, len(call.keys), *call.keys, *call.args)


def measure(raw: redis.Redis, state: State, keys: int) -> Cost:
    """One round: a new rotation, brought into its state."""
    raw.flushall()
    rotation = turns(keys, state.maximum)
    cost(raw, 1, *evalsha(raw, upkeep.register(NAMES, rotation)))
    acquire = evalsha(raw, calls.acquire(NAMES, Ask((rotation,), (0,)), time.time_ns() // 1000))
    if state.before:
        cost(raw, state.before * keys, *acquire)
    return cost(raw, min(MOST, state.during * keys), *acquire)


def quickest(measured: Callable[[], Cost]) -> Cost:
    return min((measured() for _ in range(ROUNDS)), key=lambda found: found.usec)


def main() -> None:
    table = Table("keys", "state", "us of Redis a call", "commands inside")
    with real_redis() as url, redis.Redis.from_url(url) as raw:
        version = raw.info("server")["redis_version"]
        for name, command in {"GET": ("GET", "nothing"), "an empty script": ("EVAL", "return 1", 0)}.items():
            found = quickest(partial(cost, raw, MOST, *command))
            table.add_row("", name, f"{found.usec:.1f}", f"{found.commands:.0f}")
        for state, keys in product(STATES, KEYS):
            found = quickest(partial(measure, raw, state, keys))
            table.add_row(str(keys), state.name, f"{found.usec:.1f}", f"{found.commands:.2f}")
    Console().print(f"acquire on Redis {version}, four limits a key, the quickest of {ROUNDS} rounds", table)


if __name__ == "__main__":
    main()
