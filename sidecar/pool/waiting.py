"""Who waits, with those who can use the same: in a queue for a moment, or in a line for a request in flight to end.

Nobody knows when a request in flight ends. Only the first of each line asks: for a place when a request of this replica
ends, else after POLL_S; the first of a queue looks for something sooner too, after SOONER_S. The order between lines,
and between replicas, is the store's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from weakref import WeakSet

from sidecar.pool.dated import Dated, Queue
from sidecar.pool.search import Search

POLL_S = 0.025  # who stands in the store's line, of which there are few
SOONER_S = 0.25  # who has a moment, and looks for an earlier one


class Full(Exception):
    """As many requests wait as may."""


class Waiting:
    """The lines of one replica, and how many wait in them, for a moment or for the store: at most `most`."""

    def __init__(self) -> None:
        self.most = 0
        self.count = 0
        self._lines: dict[Hashable, tuple[asyncio.Lock, list[None]]] = {}
        self._seats = 0
        self._listening: defaultdict[str, WeakSet[asyncio.Event]] = defaultdict(WeakSet)  # by pool or client
        self._queues: defaultdict[Hashable, Queue] = defaultdict(Queue)

    @contextmanager
    def seat(self, search: Search) -> Iterator[bool]:
        """Kept for a request that asks and may wait, until it does not wait any more; False: there is none left.

        Taken before asking: else of a burst all would reserve, and those who may not wait would give back what others
        were refused for meanwhile.
        """
        if self._seats >= self.most:
            yield False
            return
        self._seats += 1
        search.has_seat = True
        try:
            yield True
        finally:
            self._seats -= 1
            search.has_seat = False

    def ended(self, places: Iterable[str]) -> None:
        """A request of this replica is over that had one of these places: who waits for one may look at once."""
        for place in places:
            for event in self._listening.pop(place, ()):
                event.set()

    def next_end(self, places: Iterable[str]) -> asyncio.Event:
        """What the next request in one of these places to end will set: taken before asking, so that none is missed."""
        event = asyncio.Event()
        for place in places:
            self._listening[place].add(event)
        return event

    def pause_s(self, search: Search) -> float:
        """Between two looks of who is first, unless a request of this replica ends.

        All lines together look no more often than ten would, but each well within the patience of the store's.
        """
        return min(SOONER_S, POLL_S * max(1.0, len(self._lines) / 10)) if search.ticket else SOONER_S

    async def until(self, event: asyncio.Event, most_s: float) -> None:
        """Returns when that is set, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await event.wait()

    @property
    def has_queues(self) -> bool:
        """Whether anybody waits for any moment."""
        return bool(self._queues)

    def queue(self, of: Hashable) -> Queue | None:
        """Of those who can use the same, if anybody waits for a moment."""
        return self._queues.get(of)

    @contextmanager
    def dated(self, of: Hashable, mine: Dated) -> Iterator[Queue]:
        """Waits for a moment, in a queue with all of this replica who can use the same."""
        queue, gone = self._queues[of], True
        queue.enter(mine)
        try:
            yield queue
            gone = False
        finally:
            queue.leave(mine, gone)
            if not queue:
                del self._queues[of]

    @contextmanager
    def one_more(self, search: Search) -> Iterator[None]:
        """Counts who waits, once. Raises Full where who has no seat is one too many."""
        if search.is_counted:
            yield
            return
        if not search.has_seat and self.count >= self.most:
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
        """Waits until all who came before have left."""
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
