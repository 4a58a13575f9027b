"""Who waits for a request in flight to end, whose moment nobody knows: in a line for each set of targets.

A reservation needs no line: Redis dates it, first come first served over all replicas. Of those who wait for a place
among the requests in flight only the first of each line asks, when a request of this replica ends, else after POLL_S;
the order between lines, and between replicas, is the store's.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count

from sidecar.pool.search import Search

POLL_S = 0.025  # who stands in the store's line
SOONER_S = 0.25  # who has a moment, and looks for an earlier one

Dated = tuple[float, int, asyncio.Event]  # the moment, a number that tells apart, whether it is the first


class Full(Exception):
    """As many requests wait as may."""


class Waiting:
    """The lines of one replica, and how many wait in them, for a moment or for the store: at most `most`."""

    def __init__(self) -> None:
        self.most = 0
        self.count = 0
        self._lines: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}
        self._ended = asyncio.Event()
        self._dated: defaultdict[str, list[Dated]] = defaultdict(list)
        self._numbers = count()

    @property
    def full(self) -> bool:
        return self.count >= self.most

    def ended(self) -> None:
        """A request of this replica is no longer in flight: who is first in a line may ask at once."""
        ended, self._ended = self._ended, asyncio.Event()
        ended.set()

    def next_end(self) -> asyncio.Event:
        """What the next request to end will set: taken before asking, so that none that ends meanwhile is missed."""
        return self._ended

    def pause_s(self, search: Search) -> float:
        """Between two looks of who is first, unless a request of this replica ends."""
        return POLL_S if search.ticket else SOONER_S

    async def until(self, event: asyncio.Event, most_s: float) -> None:
        """Returns when that is set, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await event.wait()

    @contextmanager
    def dated(self, pool: str, moment: float) -> Iterator[asyncio.Event]:
        """Waits for a moment of a pool; the event is set while no other of this replica has an earlier one."""
        dated, is_first = self._dated[pool], asyncio.Event()
        mine = moment, next(self._numbers), is_first
        insort(dated, mine)
        try:
            _tell_first(dated)
            yield is_first
        finally:
            dated.remove(mine)
            _tell_first(dated)

    @contextmanager
    def one_more(self, search: Search) -> Iterator[None]:
        """Counts who waits, once. Raises Full."""
        if search.is_counted:
            yield
            return
        if self.full:
            raise Full
        self.count += 1
        search.is_counted = True
        try:
            yield
        finally:
            self.count -= 1
            search.is_counted = False

    @property
    def has_lines(self) -> bool:
        """Whether anybody stands in any line."""
        return bool(self._lines)

    def is_line(self, of: Hashable) -> bool:
        """Whether somebody stands in this line."""
        return of in self._lines

    @asynccontextmanager
    async def first_in_line(self, of: Hashable, search: Search) -> AsyncIterator[None]:
        """Waits until all who came before have left. Raises Full."""
        with self.one_more(search):
            lock, standing = self._lines.setdefault(of, (asyncio.Lock(), []))
            standing.append(None)
            try:
                async with lock:
                    yield
            finally:
                standing.pop()
                if not standing:
                    del self._lines[of]


def _tell_first(dated: list[Dated]) -> None:
    if dated:
        dated[0][2].set()
    for _, _, other in dated[1:2]:  # whom the first has passed
        other.clear()
