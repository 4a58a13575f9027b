"""Both connections of a store, and whether Redis is there at all: while it is away nothing waits for it here."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.model.events import Emit, StoreChanged
from sidecar.store import connect
from sidecar.store.batch import Lane
from sidecar.store.calls import Call
from sidecar.store.connect import Opener, StoreAway, StoreBroken, StoreUnable

FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0  # between attempts to reach a Redis that is away: doubled, with full jitter
MOST_KEPT = 10_000  # calls that wait for a Redis that is away, to say what has ended meanwhile


class Lanes:
    """One connection for what requests wait for, one for the rest.

    `write`: a call that finds out whether Redis takes writes. `renewals`: what is to be said first once it is back.
    """

    def __init__(
        self, open_connection: Opener, emit: Emit, write: Callable[[], Call], renewals: Callable[[], Iterable[Call]]
    ) -> None:
        self.up = asyncio.Event()  # cleared when a round trip failed, set again by the first that succeeds
        self.reason = ""  # why it is away
        self.front, self.back = Lane(open_connection, self._is_away), Lane(open_connection, self._is_away)
        self._open, self._emit, self._write, self._renewals = open_connection, emit, write, renewals
        self._reviver: asyncio.Task[None] | None = None
        self._kept: deque[Call] = deque(maxlen=MOST_KEPT)  # what ended while Redis was away
        self._queued: set[asyncio.Future[Any]] = set()

    async def call(self, lane: Lane, call: Call, orphaned: Callable[[Any], None] | None = None) -> Any:
        """As Lane.call; while Redis is away it fails at once, unsent."""
        if self._reviver is not None:
            raise StoreAway(self.reason, sent=False)
        reply = await lane.call(call, orphaned)
        if self._reviver is None:
            self.up.set()
        return reply

    def queue(self, call: Call, told: Callable[[Any], None] = lambda _: None, keep: bool = False) -> None:
        """Sends with what requests wait for, without anybody waiting.

        While Redis is away it is lost (what rests is found out again) or, to `keep`, sent when it is back.
        """
        if self._reviver is not None:
            if keep:
                self._kept.append(call)
            return
        future = self.front.submit(call)
        self._queued.add(future)

        def done(future: asyncio.Future[Any]) -> None:
            self._queued.discard(future)
            failure = None if future.cancelled() else future.exception()
            if keep and isinstance(failure, StoreAway) and not failure.sent:
                self._kept.append(call)
            elif not future.cancelled() and failure is None:
                told(future.result())

        future.add_done_callback(done)

    def _is_away(self, away: StoreAway) -> None:
        self.reason = str(away)
        if self._reviver is None:
            self.up.clear()
            self._emit(StoreChanged(up=False, reason=self.reason))
            self._reviver = asyncio.get_running_loop().create_task(self._revive())

    async def _revive(self) -> None:
        """Tries until Redis takes a write; meanwhile every call fails at once instead of queueing for a dead server.

        What somebody must mend is told when it is found, and is the reason from then on.
        """
        pause_s = FIRST_RETRY_S
        while True:
            probe = Lane(self._open, lambda _: None)
            try:
                await probe.call(self._write())
                await self._tell_kept(probe)
                for renewal in self._renewals():  # before anybody takes their places, which may have ended meanwhile
                    await probe.call(renewal)
                await self._tell_kept(probe)
                self._reviver = None
                break
            except StoreBroken as broken:
                if self.reason != str(broken):
                    self.reason = str(broken)
                    self._emit(StoreChanged(up=False, reason=self.reason))
            except (StoreAway, StoreUnable):
                pass
            finally:
                await probe.close()
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter, not a secret
            pause_s = min(2 * pause_s, LAST_RETRY_S)
        self.reason = ""
        self.up.set()
        self._emit(StoreChanged(up=True))

    async def _tell_kept(self, probe: Lane) -> None:
        """What ended while Redis was away, until there is nothing more."""
        while self._kept:
            call = self._kept.popleft()
            try:
                await probe.call(call)
            except StoreAway as away:
                if not away.sent:
                    self._kept.appendleft(call)
                raise

    async def close(self) -> None:
        """Lets what is queued be sent, then ends both connections."""
        if self._queued:
            await asyncio.wait(self._queued, timeout=connect.CALL_S)
        await self.front.close()
        await self.back.close()
        if self._reviver is not None:
            self._reviver.cancel()
            await asyncio.gather(self._reviver, return_exceptions=True)
