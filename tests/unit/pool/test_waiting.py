"""Who waits for a request in flight to end: first come first served, woken at once, and never too many."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model.words import Exhausted, Refusal
from sidecar.pool import waiting
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held
from tests.unit.pool.configs import config, held, in_flight, limit, pool, search
from tests.unit.pool.conftest import WatchedStore, World

Got = Held | Refusal | Exhausted


@pytest.fixture
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is told of wakes a waiter; one that was forgotten waits until the test is ended."""
    monkeypatch.setattr(waiting, "POLL_S", 3600.0)


async def standing(pools: Pools, count: int) -> None:
    """So many wait."""
    async with asyncio.timeout(60):
        while pools.waiting.count < count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


async def lined_up(pools: Pools, store: WatchedStore, count: int) -> list[asyncio.Task[Got]]:
    """Requests that wait behind each other, the first of which has been refused."""
    tasks = []
    for n in range(count):
        store.answered.clear()
        tasks.append(asyncio.create_task(pools.acquire(search(request=f"r{n}", within_s=300, max_wait_s=300))))
        await standing(pools, n + 1)
        if n == 0:
            await store.answered.wait()
    await store.settled()
    return tasks


async def ended(done: Held, pools: Pools, tasks: list[asyncio.Task[Got]]) -> asyncio.Task[Got]:
    """A request ends; who of the line has its place."""
    pools.finish(done, None)
    first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    (one,) = first
    return one


async def test_freed_place_wakes_the_first_in_line_at_once(world: World, nobody_polls: None) -> None:
    """One after the other in the order in which they came."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    now_held = held(await pools.acquire(search()))
    tasks = await lined_up(pools, store, 4)
    order = list(tasks)
    while tasks:
        one = await ended(now_held, pools, tasks)
        tasks.remove(one)
        assert one is order[3 - len(tasks)]
        now_held = held(one.result())
    assert pools.waiting.count == 0


async def test_who_comes_later_stands_behind_those_who_wait(world: World, nobody_polls: None) -> None:
    """Also where a place is free just then: it is the first's."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    first = held(await pools.acquire(search()))
    (waiter,) = await lined_up(pools, store, 1)
    pools.finish(first, None)
    late = asyncio.create_task(pools.acquire(search(request="late", max_wait_s=300, within_s=300)))
    second = held(await waiter)
    await store.settled()
    assert not late.done()
    pools.finish(second, None)
    held(await late)


async def test_waiters_that_are_cancelled_leave_the_line(world: World, nobody_polls: None) -> None:
    """Whether first or in the middle; nobody behind them waits for them, and no place is lost."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    first = held(await pools.acquire(search()))
    tasks = await lined_up(pools, store, 4)
    for gone in (tasks[0], tasks[2]):
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert pools.waiting.count == 2
    pools.finish(first, None)
    second = held(await tasks[1])
    pools.finish(second, None)
    pools.finish(held(await tasks[3]), None)
    await store.settled()
    held(await pools.acquire(search(max_wait_s=0)))
    assert not pools.waiting.is_line(search().targets)


async def test_request_beyond_the_bound_is_refused_at_once(world: World, nobody_polls: None) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(1)], max_waiting=2))
    first = held(await pools.acquire(search()))
    tasks = await lined_up(pools, store, 2)
    refused = await pools.acquire(search(request="one too many", max_wait_s=300, within_s=300))
    assert isinstance(refused, Refusal)
    assert refused.busy
    assert not any(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    pools.finish(first, None)


async def test_bound_holds_for_reservations_too(world: World) -> None:
    """What cannot wait for its moment reserves none."""
    pools, store = world.pools(config(pool(keys=1, max_wait_s=300), limits=[limit(1)], max_waiting=1))
    held(await pools.acquire(search()))
    waiter = asyncio.create_task(pools.acquire(search(within_s=300)))
    await standing(pools, 1)
    refused = await pools.acquire(search(within_s=300))
    assert isinstance(refused, Refusal)
    assert refused.wait_us > 60_000_000
    assert store.asked[-1].max_wait_us == (0,)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)


async def test_place_that_another_replica_frees_is_found_by_asking(world: World) -> None:
    told = config(pool(keys=1), limits=[in_flight(1)])
    (one, _), (other, elsewhere) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    (waiter,) = await lined_up(other, elsewhere, 1)
    one.finish(first, None)
    async with asyncio.timeout(60):
        held(await waiter)


async def test_nobody_stands_longer_than_the_request_may_wait(world: World, nobody_polls: None) -> None:
    pools, _ = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    held(await pools.acquire(search()))
    impatient = search(max_wait_s=0.05)
    refused = await pools.acquire(impatient)
    assert isinstance(refused, Refusal)
    assert refused.busy
    assert impatient.waited_s >= 0.05
    assert pools.waiting.count == 0


async def test_lines_of_other_targets_do_not_wait_for_each_other(world: World, nobody_polls: None) -> None:
    pools, store = world.pools(config(pool("p", ["a"]), pool("q", ["b"]), limits=[in_flight(1)]))
    held(await pools.acquire(search("p")))
    (waiter,) = await lined_up(pools, store, 1)
    held(await pools.acquire(search("q")))
    assert not waiter.done()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
