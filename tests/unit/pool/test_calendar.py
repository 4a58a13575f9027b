"""Days and months by Redis's clock, whatever the clock of the replica that asks."""

from __future__ import annotations

import time

import pytest

from sidecar.model.calendars import periods
from sidecar.model.configured import SECOND_US, Calendar, Limit
from sidecar.model.counters import read
from sidecar.model.words import Refusal
from sidecar.store import commands
from sidecar.store.names import window_field
from tests.unit.pool.configs import config, held, pool, search
from tests.unit.pool.conftest import World

DAY = Limit("requests", 2, 0, SECOND_US, calendar=Calendar("day", "America/Los_Angeles"))
DAY_NS = 24 * 3600 * 1_000_000_000


class _Skewed:
    """A machine's clock that is wrong by so many days."""

    def __init__(self, days: float) -> None:
        self._days = days

    def time_ns(self) -> int:
        return time.time_ns() + round(self._days * DAY_NS)


@pytest.mark.parametrize("days", [0, 40, -40, 1.1, -1.1])
async def test_a_day_is_redis_s_day_whatever_the_replica_s_clock_says(
    world: World, monkeypatch: pytest.MonkeyPatch, days: float
) -> None:
    """Two replicas, of which one is days off: together they spend one day's budget, entered once, in Redis's day."""
    told = config(pool(keys=1), limits=[DAY])
    right, _ = world.pools(told)
    held(await right.acquire(search(max_wait_s=0)))
    monkeypatch.setattr(commands, "time", _Skewed(days))
    wrong, store = world.pools(told)
    held(await wrong.acquire(search(max_wait_s=0)))
    refused = await wrong.acquire(search(max_wait_s=0))
    assert isinstance(refused, Refusal)
    assert DAY.calendar is not None
    found = await store.inspect([window_field("acc-k0", DAY)])
    _, begins, ends, _, _ = periods(DAY.calendar, found.now_us)
    assert abs(found.now_us + refused.wait_us - (ends + SECOND_US)) < 5 * SECOND_US
    assert dict(read(found.fields[window_field("acc-k0", DAY)] or ""))[begins] == 2


async def test_a_late_grant_is_confirmed_by_redis_s_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pools, _ = world.pools(config(pool(keys=1), limits=[DAY]))
    request = search()
    got = held(await pools.acquire(request))
    monkeypatch.setattr(commands, "time", _Skewed(33))
    assert await pools.renew(request, got)
    pools.release(got)
    assert held(await pools.acquire(search(max_wait_s=0))).grant.number == 1
