"""Usage, added up in memory and flushed now and then: a request pays a few dictionary look-ups for it.

While Redis is away it adds up on. A flush whose answer was lost is sent again under its number, which the script
counts once, so nothing is counted twice and nothing is lost but what a killed replica had not flushed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sidecar.model.configured import Config
from sidecar.model.counting import Counts, Row, add, counted
from sidecar.model.events import Event
from sidecar.model.labels import ModelLabels
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

FLUSH_S = 1.0
MOST_HELD = 10_000  # rows in memory; further models of a key and client count as `other`
MOST_AT_ONCE = 100  # rows a flush, which takes 600 us of Redis


class Counting:
    """One replica's share of the usage, as far as Redis does not have it yet."""

    def __init__(self, config: Config, store: Store, replica: str) -> None:
        self._label = ModelLabels(config)
        self._store, self._replica = store, replica
        self._rows: dict[Row, Counts] = {}
        self._sending: dict[Row, Counts] = {}  # taken out of the rows, and not yet known to be counted
        self._number = 0  # of the flush that is sent
        self._one = asyncio.Lock()
        self._flushing: asyncio.Task[None] | None = None

    def __call__(self, event: Event) -> None:
        """Listens."""
        found = counted(event, self._label)
        if found is None:
            return
        row, counts = found
        if row not in self._rows and len(self._rows) >= MOST_HELD:
            row = row.spare
        add(self._rows, row, counts)

    def follow(self, config: Config) -> None:
        """The models that this config names are counted under their names from here on."""
        self._label.follow(config)

    def start(self) -> None:
        self._flushing = asyncio.create_task(self._flush_on())

    async def close(self) -> None:
        """Sends what there is; where Redis is away, it is lost."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        with suppress(StoreAway, StoreUnable):
            await self.flush()

    async def _flush_on(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            with suppress(StoreAway, StoreUnable):
                await self.flush()

    async def flush(self) -> None:
        """Has all that was counted before this call counted in Redis. Raises StoreAway or StoreUnable: it is kept."""
        async with self._one:
            while self._sending or self._rows:
                if not self._sending:
                    self._take()
                await self._store.counted.add(self._replica, self._number, self._sending)
                self._sending = {}

    def _take(self) -> None:
        self._number += 1
        if len(self._rows) <= MOST_AT_ONCE:
            self._sending, self._rows = self._rows, {}
        else:
            for row in [*self._rows][:MOST_AT_ONCE]:
                self._sending[row] = self._rows.pop(row)
