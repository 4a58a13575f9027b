"""A request's progress without a store: attempts are told by hand, and what would be reported is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Config, Target
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Grant, Report, Rest, Subject
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.proxy.progress import Next, Progress
from sidecar.store.commands import Store
from tests.unit.pool.configs import config, pool

HELD_AT = 1000.0  # on the loop's clock
MOMENT_US = 1_767_225_600 * SECOND_US  # Redis's moment of then: 2026-01-01 00:00 UTC


class Reports:
    """What a Store was told."""

    def __init__(self) -> None:
        self.all: list[Report] = []

    def report(self, report: Report, pools: Iterable[str], told: Callable[[Any], None]) -> None:
        self.all.append(report)

    def follow(self, owners: Mapping[str, str]) -> None:
        """Reports name accounts themselves."""

    @property
    def rests(self) -> list[Rest]:
        return [rest for report in self.all for rest in report.rests]

    @property
    def clears(self) -> list[Subject]:
        return [subject for report in self.all for subject in report.clears]


class Request:
    """One request over the targets, each a pool's name or (pool, model)."""

    def __init__(self, config: Config, *targets: str | Target, retry_safe: bool = True) -> None:
        self.reports = Reports()
        self.pools = Pools(config, cast(Store, self.reports), lambda _: None)
        made = tuple(Target(one, "m") if isinstance(one, str) else one for one in targets or ("p",))
        self.search = Search("r1", made, asyncio.get_running_loop().time() + 60)
        self.progress = Progress(self.pools, self.search, lambda: retry_safe)

    def held(self, key: str, target: int = 0) -> Held:
        """The key in hand for a target, as an acquire would give it."""
        turns = self.pools.rotation(self.search.targets[target])
        member = next(member for member in turns.members if member.id == key)
        pool = self.pools.config.pools[turns.pool]
        own = next(one for one in pool.keys if one.id == key)
        return Held(Grant(target, turns, member, 0, MOMENT_US, 0), target, pool, own, HELD_AT + 1, HELD_AT)

    def meets(self, key: str, outcome: Outcome, status: int | None = 500, target: int = 0) -> Next:
        """An attempt with this key came to this."""
        return self.progress.learn(self.held(key, target), outcome, status, HELD_AT)


async def request_of(keys: int = 3, retry_safe: bool = True, **options: Any) -> Request:
    """One over a pool of so many keys; `options`: the pool's."""
    return Request(config(pool(keys=keys, **options)), retry_safe=retry_safe)


def outcome(kind: Class, scope: Scope, other: bool = True, delay_s: float | None = None, until: Any = None) -> Outcome:
    return Outcome(kind, scope, other, delay_s, until)


OK = outcome(Class.OK, Scope.REQUEST, other=False)
INVALID = outcome(Class.INVALID_KEY, Scope.KEY)
FORBIDDEN = outcome(Class.PERMISSION, Scope.KEY_MODEL)
MINUTE = outcome(Class.RATE_LIMIT_MINUTE, Scope.KEY_MODEL, delay_s=30)
BUSY = outcome(Class.OVERLOADED, Scope.PROVIDER)
BLOCKED_HERE = outcome(Class.PERMISSION, Scope.PROVIDER, other=False)
TOO_LARGE = outcome(Class.BAD_REQUEST, Scope.REQUEST)
BAD = outcome(Class.BAD_REQUEST, Scope.REQUEST, other=False)
