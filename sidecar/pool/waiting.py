"""Who waits for a request in flight to end, whose moment nobody knows: in a line for each set of targets.

A reservation needs no line: Redis dates it, first come first served over all replicas. Of those who wait for a place
among the requests in flight only the first of each line asks, when a request of this replica ends, else after POLL_S;
the order between lines, and between replicas, is the store's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager, suppress

POLL_S = 0.025


class Full(Exception):
    """As many requests wait as may."""


class Waiting:
    """The lines of one replica, and how many wait in them or for a moment."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._lines: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}
        self._ended = asyncio.Event()

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

    async def until(self, ended: asyncio.Event) -> None:
        """Returns when a request of this replica has ended, or another replica's may have."""
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await ended.wait()

    @asynccontextmanager
    async def one_more(self) -> AsyncIterator[None]:
        """Counts who waits. Raises Full."""
        if self.full:
            raise Full
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    @property
    def has_lines(self) -> bool:
        """Whether anybody stands in any line."""
        return bool(self._lines)

    def is_line(self, of: Hashable) -> bool:
        """Whether somebody stands in this line."""
        return of in self._lines

    @asynccontextmanager
    async def first_in_line(self, of: Hashable) -> AsyncIterator[None]:
        """Waits until all who came before have left. Raises Full."""
        async with self.one_more():
            lock, standing = self._lines.setdefault(of, (asyncio.Lock(), []))
            standing.append(None)
            try:
                async with lock:
                    yield
            finally:
                standing.pop()
                if not standing:
                    del self._lines[of]
