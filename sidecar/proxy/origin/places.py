"""How many requests of this replica are under way at an origin: a place is taken before a grant is asked for.

A grant must not queue for a connection: it would keep others from its budget, and be late. Who waits for room holds no
place, or requests that only wait would shut the origin to those that could go. Only who had to wait for the moment of
its grant takes its place after it; a grant that is late by then is confirmed like any other.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.model.configured import SECOND_US, Config, Pool
from sidecar.model.words import Exhausted, Refusal
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.pool.waiting import Full
from sidecar.proxy.errors import Refused

Got = Held | Refusal | Exhausted


@dataclass(frozen=True, slots=True)
class _Bound:
    """At most so many at an origin, as a pool says."""

    origin: str
    most: int


@dataclass(slots=True, eq=False)
class _Waiter:
    """Who waits for a place within one of these bounds; it is given the origin of one."""

    bounds: frozenset[_Bound]
    given: asyncio.Future[str]


class Places:
    """The requests under way, by origin, of pools that bound them."""

    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self._waiting: defaultdict[str, list[_Waiter]] = defaultdict(list)

    async def acquire(self, pools: Pools, search: Search, wait: bool) -> tuple[Got, str]:
        """What `Pools.acquire` gives, and the origin at which a grant of it has a place, "" where none is needed.

        Targets whose origin is full are not asked while others may serve. Raises Refused (503) where no place was free
        in time, and what `Pools.acquire` raises.
        """
        mine: set[str] = set()
        while True:
            bounds = _bounds(pools.config, search)
            if not bounds:
                return await pools.acquire(search, wait), ""
            mine |= {bound.origin for bound in set(bounds.values()) if bound.origin not in mine and self._enter(bound)}
            shut = {target for target, bound in bounds.items() if bound.origin not in mine}
            if len(shut) < len(search.open):
                got, origin = await self._ask(pools, search, wait, mine, shut)
                if isinstance(got, Held) or not (shut and wait):
                    return got, origin
            mine = {await self._next(pools, search, frozenset(bounds[target] for target in shut))}

    def leave(self, origin: str) -> None:
        """A request is over there, or goes nowhere: its place is the next one's."""
        for waiter in self._waiting.get(origin, ()):
            if not waiter.given.done() and any(
                bound.origin == origin and self._taken[origin] <= bound.most for bound in waiter.bounds
            ):
                waiter.given.set_result(origin)
                return
        self._taken[origin] -= 1
        if not self._taken[origin]:
            del self._taken[origin]

    def _enter(self, bound: _Bound) -> bool:
        """Passes nobody: what comes free goes straight to who waits, so who still does has a smaller bound."""
        if self._taken[bound.origin] >= bound.most:
            return False
        self._taken[bound.origin] += 1
        return True

    async def _ask(self, pools: Pools, search: Search, wait: bool, mine: set[str], shut: set[int]) -> tuple[Got, str]:
        """Asks with a place in hand at each open origin; all but that of the grant are left again."""

        def leave_all(_: bool = True) -> None:
            while mine:
                self.leave(mine.pop())

        search.closed |= shut
        search.watchers.append(leave_all)
        try:
            got = await pools.acquire(search, wait)
        except BaseException:
            leave_all()
            raise
        finally:
            search.closed -= shut
            search.watchers.remove(leave_all)
        bound = _bound(got.pool) if isinstance(got, Held) else None
        kept = bound is not None and bound.origin in mine
        if bound is not None:
            mine.discard(bound.origin)
        leave_all()
        if isinstance(got, Held) and bound is not None and not kept:
            try:
                await self._given(frozenset({bound}))
            except BaseException:
                pools.release(got)
                raise
        return got, bound.origin if bound else ""

    async def _next(self, pools: Pools, search: Search, bounds: frozenset[_Bound]) -> str:
        """Waits for a place as the request would wait for room. Raises Refused."""
        try:
            with pools.waiting.one_more(search), search.waiting():
                async with asyncio.timeout(_patience_s(pools.config, search)):
                    return await self._given(bounds)
        except (TimeoutError, Full):
            where = " and ".join(sorted(bound.origin for bound in bounds))
            told = f"As many requests are under way at {where} as `connections` allows, and none ended in time."
            raise Refused(503, "no_connection", told, {"Retry-After": "1"}) from None

    async def _given(self, bounds: frozenset[_Bound]) -> str:
        """The origin of a place: one that came free since it was looked for, or that somebody leaves, in the order of
        coming."""
        for bound in bounds:
            if self._enter(bound):
                return bound.origin
        waiter = _Waiter(bounds, asyncio.get_running_loop().create_future())
        origins = {bound.origin for bound in bounds}
        for origin in origins:
            self._waiting[origin].append(waiter)
        try:
            return await waiter.given
        except asyncio.CancelledError:
            if waiter.given.done() and not waiter.given.cancelled():
                self.leave(waiter.given.result())
            raise
        finally:
            for origin in origins:
                self._waiting[origin].remove(waiter)
                if not self._waiting[origin]:
                    del self._waiting[origin]


def _bounds(config: Config, search: Search) -> dict[int, _Bound]:
    """Of the targets that may still be asked."""
    found = ((target, _bound(config.pools[search.targets[target].pool])) for target in search.open)
    return {target: bound for target, bound in found if bound is not None}


def _bound(pool: Pool) -> _Bound | None:
    most = pool.connections.max
    return _Bound(urlsplit(pool.provider.base_url).netloc, most) if most else None


def _patience_s(config: Config, search: Search) -> float:
    """How long the request may still wait."""
    most_us = max(config.pools[search.targets[target].pool].max_wait_us for target in search.open)
    most_s = most_us / SECOND_US if search.max_wait_s is None else search.max_wait_s
    return max(0.0, most_s - search.waited_s)
