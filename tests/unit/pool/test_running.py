"""A place among the requests in flight is held as long as its request runs, and no longer, whatever ends it."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model import leases
from sidecar.model.configured import LEASE_US, SECOND_US
from sidecar.model.words import Refusal
from sidecar.pool.lasting import Lasting
from sidecar.pool.pool import Pools
from sidecar.pool.running import EVERY_S
from sidecar.pool.search import Held
from sidecar.store.names import window_field
from tests.unit.pool.configs import config, held, in_flight, limit, pool, search
from tests.unit.pool.conftest import World, standing

LEASE_S = LEASE_US / SECOND_US
ONE_AT_A_TIME = config(pool(keys=1), limits=[in_flight(1)])


async def is_free(pools: Pools) -> bool:
    """Whether a request that may not wait has a place; it gives it back."""
    got = await pools.acquire(search(max_wait_s=0))
    if isinstance(got, Held):
        pools.finish(got, None)
    return isinstance(got, Held)


async def test_leases_are_renewed_while_their_requests_run_whatever_config_they_began_with(world: World) -> None:
    """A reload swaps the pools; what runs is renewed for hours, and is freed by the pools that it began with."""
    _, store = world.pools(ONE_AT_A_TIME)
    lasting = Lasting(store)
    old, new = (Pools(ONE_AT_A_TIME, store, world.events.append, lasting) for _ in range(2))
    first = held(await old.acquire(search()))
    for _ in range(10):
        await store.skip(EVERY_S)
        lasting.running.renew()
        await store.settled()
        assert not await is_free(new)
    old.finish(first, None)
    await store.settled()
    assert await is_free(new)


@pytest.mark.parametrize("signs_of_life", [0, 1])
async def test_place_of_a_replica_that_died_is_free_a_lease_after_its_last_sign(
    world: World, signs_of_life: int
) -> None:
    (dead, its_store), (other, store) = world.pools(ONE_AT_A_TIME), world.pools(ONE_AT_A_TIME)
    held(await dead.acquire(search()))
    if signs_of_life:
        await store.skip(EVERY_S)
        dead.running.renew()
        await its_store.settled()
    await store.skip(LEASE_S - 1)
    assert not await is_free(other)
    await store.skip(1)
    assert await is_free(other)


@pytest.mark.parametrize("end", ["finish", "release"])
async def test_place_is_free_once_its_request_is_over(world: World, end: str) -> None:
    """Served or never sent; and being told twice frees nobody else's."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(2)]))
    first, _ = held(await pools.acquire(search())), held(await pools.acquire(search()))
    assert not await is_free(pools)
    for _ in range(2):
        if end == "finish":
            pools.finish(first, None)
        else:
            pools.release(first)
    await store.settled()
    third = held(await pools.acquire(search(max_wait_s=0)))
    assert not await is_free(pools)
    pools.finish(third, None)


async def test_request_that_ends_while_redis_answers_leaves_no_lease(world: World) -> None:
    pools, store = world.pools(ONE_AT_A_TIME)
    assert await is_free(pools)
    await store.settled()
    task = asyncio.create_task(pools.acquire(search()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store.settled()
    assert await is_free(pools)


async def test_sign_of_life_brings_back_no_place_that_was_given_back(world: World) -> None:
    pools, store = world.pools(ONE_AT_A_TIME)
    for _ in range(20):
        got = held(await pools.acquire(search(max_wait_s=0)))
        pools.running.renew()
        pools.release(got)
        await store.settled()


@pytest.mark.parametrize("goes", [False, True])
async def test_sign_of_life_amid_a_late_send_leaves_no_place_behind(world: World, goes: bool) -> None:
    """Nor where its client goes before it is known whether it may be sent."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(100), in_flight(1)]))
    got = held(await pools.acquire(search()))
    await store.skip(1)
    late = asyncio.create_task(pools.renew(search(), got))
    await store.confirming.wait()
    pools.running.renew()
    if goes:
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        pools.release(got)
    else:
        assert await late
        pools.finish(got, None)
    await store.settled()
    assert await is_free(pools)


async def test_what_a_waiter_hands_on_that_may_run_is_renewed_for_who_has_it(world: World) -> None:
    """It was free before its moment, and its client goes in the same turn."""
    told = config(pool("p", ["a", "b", "c"]), limits=[limit(1, 60), in_flight(1)])
    pools, store = world.pools(told)
    first, second, third = [held(await pools.acquire(search())) for _ in range(3)]
    pools.finish(first, None)
    pools.finish(second, None)
    waiters = []
    for count in (1, 2):
        waiters.append(asyncio.create_task(pools.acquire(search(max_wait_s=300, within_s=300))))
        await standing(pools, count)
        await store.settled()
    pools.release(third)
    got = held(await waiters[0])
    for _ in range(4):
        await store.skip(EVERY_S)
        pools.running.renew()
        await store.settled()
    found = await store.inspect([window_field(got.grant.member.account, in_flight(1))])
    assert leases.used(leases.read(found.fields.popitem()[1] or ""), found.now_us) == 1
    waiters[1].cancel()
    await asyncio.gather(waiters[1], return_exceptions=True)


async def test_reservation_holds_its_place_from_its_moment_on(world: World) -> None:
    """While it waits others may run."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 0.3), in_flight(1)]))
    pools.finish(held(await pools.acquire(search())), None)
    second = held(await pools.acquire(search()))
    assert second.grant.number == 1
    await store.skip(0.5)
    refused = await pools.acquire(search(max_wait_s=0))
    assert isinstance(refused, Refusal)
    assert refused.busy
    pools.finish(second, None)
    await store.settled()
    assert await is_free(pools)


async def test_what_no_limit_counts_is_not_renewed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pools, store = world.pools(config(pool(keys=1)))
    held(await pools.acquire(search()))
    sent: list[object] = []
    monkeypatch.setattr(store, "renew", sent.append)
    pools.running.renew()
    assert sent == []
