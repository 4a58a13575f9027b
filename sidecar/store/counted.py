"""Usage in the store: what replicas add, and what was counted on a day or since counting began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sidecar.model.counting import Counts, Row
from sidecar.store import calls, upkeep
from sidecar.store.names import Names


class Counted:
    """The usage of a namespace. Its methods raise what `call` raises: StoreAway or StoreUnable."""

    def __init__(self, names: Names, call: Callable[[calls.Call], Awaitable[Any]]) -> None:
        self._names, self._call = names, call
        self._today = datetime.now(UTC).date()  # until Redis has said which day it is

    async def add(self, replica: str, number: int, rows: Mapping[Row, Counts]) -> None:
        """Adds to the usage of today, by Redis's clock, and of all time.

        `number` is that of the replica's flush, 1 above its last: one that was sent before counts no second time.
        """
        day: date | None = None
        while day != self._today:
            day = self._today
            self._today = upkeep.read_day(await self._call(upkeep.count(self._names, replica, number, day, rows)))

    async def days(self, days: int) -> AsyncIterator[tuple[date, dict[Row, Counts]]]:
        """What was counted on each of the last days (UTC), today, which is the first of them, by Redis's clock."""
        day, rows = self._today, await self._read(self._today)
        if day != self._today:
            day, rows = self._today, await self._read(self._today)
        yield day, rows
        for back in range(1, days):
            yield day - timedelta(days=back), await self._read(day - timedelta(days=back))

    async def total(self) -> dict[Row, Counts]:
        """What was counted since counting began."""
        return await self._read(None)

    async def _read(self, day: date | None) -> dict[Row, Counts]:
        self._today, rows = upkeep.read_usage(await self._call(upkeep.usage(self._names, day)))
        return rows
