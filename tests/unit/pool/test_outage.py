"""Redis away: a request waits for it as it would wait for room, and nothing hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.model.configured import Limit
from sidecar.model.events import StoreChanged
from sidecar.model.words import NotYet, Report, Rest, Subject
from sidecar.pool.pool import Pools
from sidecar.store import connect, memory
from sidecar.store.connect import StoreAway
from sidecar.store.names import window_field
from tests.servers import RedisProcess
from tests.unit.pool.configs import config, held, limit, pool, search
from tests.unit.pool.conftest import WatchedStore, World, standing


@pytest.fixture
async def replica(redis_process: RedisProcess) -> AsyncIterator[tuple[Pools, WatchedStore]]:
    """One replica on a Redis that can be killed; it has been reached."""
    world = World(connect.opener(redis_process.url))
    pools, store = world.pools(config(pool(keys=2), limits=[limit(50)]))
    held(await pools.acquire(search()))
    yield pools, store
    await world.close()


async def test_request_waits_for_redis_no_longer_than_it_may(
    replica: tuple[Pools, WatchedStore], redis_process: RedisProcess
) -> None:
    """Then it is told why there is no answer."""
    pools, _ = replica
    redis_process.kill()
    for max_wait_s, within_s in ((0.0, 60.0), (0.3, 60.0), (60.0, 0.3)):
        one = search(max_wait_s=max_wait_s, within_s=within_s)
        with pytest.raises(StoreAway):
            await pools.acquire(one)
        assert one.waited_s >= min(max_wait_s, within_s) - 0.05
        assert one.acquire_s == 0


async def test_reservation_whose_client_went_while_redis_was_frozen_is_given_back(redis_process: RedisProcess) -> None:
    """Its confirm was never sent, so it counts as it did."""
    world = World(connect.opener(redis_process.url))
    day = limit(9, 86400)
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 1), day]))
    held(await pools.acquire(search()))
    waits = asyncio.create_task(pools.acquire(search(max_wait_s=2)))
    await standing(pools, 1)
    await store.settled()
    redis_process.freeze()
    answering = asyncio.create_task(pools.acquire(search(max_wait_s=0)))
    await store.confirming.wait()
    waits.cancel()
    with pytest.raises(StoreAway):
        await answering
    await asyncio.gather(waits, return_exceptions=True)
    redis_process.thaw()
    await store.up.wait()
    await store.settled()
    text = (await store.inspect([window_field("acc-k0", day)])).fields.popitem()[1]
    assert text is not None
    assert int(text[:16]) == 1
    await world.close()


async def test_request_that_waits_for_redis_goes_on_when_it_is_back(
    replica: tuple[Pools, WatchedStore], redis_process: RedisProcess
) -> None:
    pools, store = replica
    redis_process.kill()
    with pytest.raises(StoreAway):
        await pools.acquire(search(max_wait_s=0))
    assert not store.up.is_set()
    waiting = search(max_wait_s=60)
    task = asyncio.create_task(pools.acquire(waiting))
    await asyncio.sleep(0)
    redis_process.start()
    assert held(await task).grant.number == 0  # it came back empty
    assert waiting.waited_s > 0


async def test_frozen_redis_holds_nobody_for_ever(
    replica: tuple[Pools, WatchedStore], redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is open and silent; the time spent on it counts as waiting."""
    monkeypatch.setattr(connect, "CALL_S", 0.2)
    pools, _ = replica
    redis_process.freeze()
    one = search(max_wait_s=0.1)
    with pytest.raises(StoreAway):
        await pools.acquire(one)
    assert one.waited_s >= 0.2
    redis_process.thaw()
    held(await pools.acquire(search(max_wait_s=60)))


async def test_request_whose_confirm_was_lost_asks_anew(
    replica: tuple[Pools, WatchedStore], redis_process: RedisProcess
) -> None:
    """The grant that nobody can tell of stays counted; the wait for Redis goes on as before an acquire."""
    pools, store = replica
    first = held(await pools.acquire(search()))
    rests = tuple(Rest(Subject(f"acc-k{n}"), 50_000, "rate_limit_minute") for n in range(2))
    pools.report(Report("r0", rests=rests), first)
    store.renewals = [NotYet(0, 0)]
    task = asyncio.create_task(pools.acquire(search(max_wait_s=60)))
    await store.confirming.wait()
    redis_process.kill()
    redis_process.start()
    held(await task)
    assert len(store.asked) >= 4


@pytest.fixture
def frozen(redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> RedisProcess:
    """A Redis whose silence is noticed soon."""
    monkeypatch.setattr(connect, "CALL_S", 0.2)
    return redis_process


async def test_late_grant_outlasts_a_redis_that_was_away_before_it_asked(
    replica: tuple[Pools, WatchedStore], frozen: RedisProcess
) -> None:
    """Nobody was told of it, so it is good: it is confirmed when Redis is back, and the time counts as waiting."""
    pools, store = replica
    late, one = held(await pools.acquire(search())), search(max_wait_s=60)
    number = late.grant.number
    frozen.freeze()
    with pytest.raises(StoreAway):
        await pools.acquire(search(max_wait_s=0))
    task = asyncio.create_task(pools.renew(one, late))
    await store.confirming.wait()
    frozen.thaw()
    assert await task
    assert late.grant.number == number
    assert one.waited_s > 0


async def test_late_grant_is_gone_with_a_redis_that_froze_over_its_confirm(
    replica: tuple[Pools, WatchedStore], frozen: RedisProcess
) -> None:
    """Whether it was moved is not known, so nothing may be taken out for it; the request asks anew."""
    pools, store = replica
    late, one = held(await pools.acquire(search())), search(max_wait_s=60)
    frozen.freeze()
    task = asyncio.create_task(pools.renew(one, late))
    await store.gone.wait()
    frozen.thaw()
    assert not await task
    assert not late.in_hand
    assert one.waited_s >= 0.2


async def test_renewal_waits_for_redis_no_longer_than_its_request_may(
    replica: tuple[Pools, WatchedStore], redis_process: RedisProcess
) -> None:
    pools, _ = replica
    late = held(await pools.acquire(search()))
    redis_process.kill()
    with pytest.raises(StoreAway):
        await pools.renew(search(max_wait_s=0.1), late)


async def test_store_that_was_never_reached_is_away(redis_process: RedisProcess) -> None:
    redis_process.kill()
    world = World(connect.opener(redis_process.url))
    pools, _ = world.pools(config(pool()))
    with pytest.raises(StoreAway, match=r"\d"):
        await pools.acquire(search(max_wait_s=0.05))
    assert [event.up for event in world.events if isinstance(event, StoreChanged)] == [False]
    await world.close()


@pytest.mark.parametrize("max_wait_s", [0.0, 60.0])
async def test_closed_store_ends_the_search(max_wait_s: float) -> None:
    """Nobody brings it back, so there is nothing to wait for, whatever the request may wait."""
    world = World(memory.opener())
    limits: list[Limit] = [limit(5)]
    pools, store = world.pools(config(pool(), limits=limits))
    late = held(await pools.acquire(search()))
    await store.close()
    with pytest.raises(StoreAway, match="closed"):
        await pools.acquire(search(max_wait_s=max_wait_s))
    with pytest.raises(StoreAway, match="closed"):
        await pools.renew(search(), late)
