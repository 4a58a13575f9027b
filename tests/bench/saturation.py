"""What is served of an overload: `python -m tests.bench.saturation [--seconds N]`, as a share of what budgets allow.

A budget of `max` in a window with a guard allows max / (window + guard) grants a second for each key, for ever.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from sidecar.simulate.budgets import Budget
from sidecar.simulate.provider import StrictProvider
from tests.fleet import fleet
from tests.replicas.traffic import ask, config, many, new_keys
from tests.servers import real_redis

REPLICAS, OVERLOAD = 3, 10


@dataclass(frozen=True)
class Budgets:
    """Of each key. The windows are short, so that many pass; the guards long, so that a busy machine is not late."""

    keys: int
    most: int
    window_s: float
    guard_s: float

    @property
    def rate(self) -> float:
        """Grants a second that all keys together allow for ever."""
        return self.keys * self.most / (self.window_s + self.guard_s)


EXACT, BUCKETS = Budgets(3, 10, 3.0, 1.0), Budgets(1, 80, 5.0, 1.0)


@dataclass(frozen=True)
class Load:
    """What came of an overload."""

    share: float  # of the grants that the budgets allow in that time
    violations: int
    excess: int
    refused_late: int  # that were refused after they had waited: they lost what they waited for
    statuses: dict[int, int]


async def overload(redis_url: str, budgets: Budgets, seconds: float) -> Load:
    """Sends ten times what the budgets allow, evenly, to three replicas; each request may wait two windows."""
    budget = Budget(budgets.most, budgets.window_s)
    async with StrictProvider(new_keys(budgets.keys), budgets=[budget]) as provider:
        limit = {"requests": budgets.most, "per": f"{budgets.window_s:g}s", "guard": f"{budgets.guard_s:g}s"}
        told = config(provider, redis_url, budgets.keys, limits=[limit], max_wait=f"{2 * budgets.window_s:g}s")
        async with fleet(REPLICAS, told) as replicas, many() as http:
            rate = OVERLOAD * budgets.rate
            began, calls = time.monotonic(), []
            for n in range(round(rate * seconds)):
                await asyncio.sleep(max(0.0, began + n / rate - time.monotonic()))
                calls.append(asyncio.ensure_future(ask(http, replicas[n % REPLICAS])))
            answers = await asyncio.gather(*calls)
            sent = sorted(arrival.at_ns for arrival in provider.arrivals)
            violations, excess = len(provider.violations), len(provider.excess())
    return Load(_share(sent, budgets), violations, excess, _late(answers), _count(answers))


def _share(sent: list[int], budgets: Budgets) -> float:
    """Of what fits between the first and the last arrival: whole windows, each of which begins with its budget."""
    length_s = budgets.window_s + budgets.guard_s
    windows = (sent[-1] - sent[0]) / 1e9 // length_s
    whole = sum((at - sent[0]) / 1e9 < windows * length_s for at in sent)
    return whole / (budgets.rate * windows * length_s)


def _late(answers: list[tuple[int, Any]]) -> int:
    return sum(status == 429 and float(headers["x-sidecar-waited-ms"]) > 1000 for status, headers in answers)


def _count(answers: list[tuple[int, Any]]) -> dict[int, int]:
    statuses = [status for status, _ in answers]
    return {status: statuses.count(status) for status in sorted(set(statuses))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.saturation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long the overload lasts (default: 60)")
    seconds = parser.parse_args().seconds
    table = Table(
        "maximum", "window", "kept as", "served of what is allowed", "over budget", "refused late", "statuses"
    )
    with real_redis() as url:
        for name, budgets in {"moments": EXACT, "sixtieths": BUCKETS}.items():
            load = asyncio.run(overload(url, budgets, seconds))
            over, late = str(load.violations + load.excess), str(load.refused_late)
            window = f"{budgets.window_s:g} s"
            table.add_row(str(budgets.most), window, name, f"{load.share:.1%}", over, late, str(load.statuses))
    Console().print(f"{OVERLOAD} times the capacity for {seconds:g} s, {REPLICAS} replicas", table)


if __name__ == "__main__":
    main()
