"""A grant that is not sent is given back exactly once, in whichever phase its request ends."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model import windows
from sidecar.model.configured import SECOND_US, Limit, Target
from sidecar.model.words import Exhausted, Grant, NotYet, Refusal, Report, Rest, Subject
from sidecar.pool.pool import CONFIRMS, Pools
from sidecar.pool.search import Held
from sidecar.store.names import window_field
from tests.unit.pool.configs import GUARD_US, config, held, limit, pool, search
from tests.unit.pool.conftest import WatchedStore, World

ONE = limit(1)  # a minute
MANY = limit(100)  # kept in buckets: a grant given back twice would take another's place


async def cancelled(task: asyncio.Task[Held | Refusal | Exhausted] | asyncio.Task[bool]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def has_room(pools: Pools) -> bool:
    """Whether a request that may not wait gets a key now."""
    return isinstance(await pools.acquire(search(max_wait_s=0)), Held)


async def used(store: WatchedStore, one: Limit, account: str = "acc-k0") -> int:
    """How many grants the account's window holds."""
    await store.settled()
    name = window_field(account, one)
    found = await store.inspect([name])
    return windows.used(one, windows.read(found.fields[name] or ""), found.now_us)


async def registered(pools: Pools, store: WatchedStore) -> None:
    """The rotation exists and its budget is whole, so that the next acquire is one round trip."""
    pools.release(held(await pools.acquire(search())))
    await store.settled()


async def rested(pools: Pools, delay_us: int) -> None:
    """The only key rests for a moment: what is acquired now is reserved for its end."""
    first = held(await pools.acquire(search()))
    pools.release(first)
    pools.report(Report("r0", rests=(Rest(Subject("acc-k0"), delay_us, "rate_limit_minute"),)), first)


async def test_request_that_ends_while_redis_answers_leaves_no_grant(world: World) -> None:
    """The grant is made all the same, nobody is there to take it, and it goes back by itself."""
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    await registered(pools, store)
    task = asyncio.create_task(pools.acquire(search()))
    await asyncio.sleep(0)
    await cancelled(task)
    await store.settled()
    assert await store.number(pools.rotation(Target("p", "m"))) == 2
    assert await has_room(pools)


async def test_request_that_ends_while_it_waits_gives_its_reservation_back(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    first = held(await pools.acquire(search()))
    store.answered.clear()
    task = asyncio.create_task(pools.acquire(search(max_wait_s=100, within_s=100)))
    await store.answered.wait()
    assert isinstance(store.answers[-1], Grant)
    assert await used(store, ONE) == 2
    await cancelled(task)
    assert await used(store, ONE) == 1
    pools.release(first)
    await store.settled()
    assert await has_room(pools)


async def test_request_that_ends_while_it_confirms_gives_its_reservation_back(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    await rested(pools, 50_000)
    task = asyncio.create_task(pools.acquire(search()))
    await store.confirming.wait()
    await cancelled(task)
    await store.settled()
    assert isinstance(await pools.acquire(search(max_wait_s=1)), Held)


async def test_request_that_ends_between_two_confirms_gives_its_reservation_back(world: World) -> None:
    """Redis's clock has not reached the moment yet, so it sleeps a little more."""
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    await rested(pools, 50_000)
    store.renewals = [NotYet(4 * SECOND_US, 0)]
    one = search()
    task = asyncio.create_task(pools.acquire(one))
    await store.confirming.wait()
    await asyncio.sleep(0)
    await cancelled(task)
    await store.settled()
    assert one.waited_s > 0
    assert isinstance(await pools.acquire(search(max_wait_s=1)), Held)


async def test_renewal_that_nobody_waits_for_is_given_back_once(world: World) -> None:
    """The connection's hook is cancelled in its confirm, and whoever holds the grant releases it too."""
    pools, store = world.pools(config(pool(keys=1), limits=[MANY]))
    first, *_ = [held(await pools.acquire(search())) for _ in range(3)]
    task = asyncio.create_task(pools.renew(search(), first))
    await store.confirming.wait()
    await cancelled(task)
    pools.release(first)
    assert await used(store, MANY) == 2


async def test_release_twice_takes_one_grant_back(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[MANY]))
    first, *_ = [held(await pools.acquire(search())) for _ in range(3)]
    pools.release(first)
    pools.release(first)
    assert await used(store, MANY) == 2


async def test_released_grant_gives_back_budget_but_not_its_number(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    await registered(pools, store)
    assert held(await pools.acquire(search())).grant.number == 1


# --- late grants ---------------------------------------------------------------------------------------


async def test_late_grant_is_moved_to_now_and_keeps_its_number(world: World) -> None:
    """The only one of its budget: it takes its own place."""
    pools, store = world.pools(config(pool(keys=1), limits=[ONE]))
    late = held(await pools.acquire(search()))
    before = late.grant
    await asyncio.sleep(1.2 * GUARD_US / SECOND_US)
    assert await pools.renew(search(), late)
    assert late.grant.moment_us > before.moment_us + GUARD_US
    assert late.grant.number == before.number
    assert await used(store, ONE) == 1
    pools.release(late)
    assert await used(store, ONE) == 0


async def test_late_grant_is_good_again_from_when_it_was_confirmed(world: World) -> None:
    guard_us = 30 * SECOND_US
    pools, store = world.pools(config(pool(keys=1), limits=[limit(2, guard_us=guard_us)]))
    late = held(await pools.acquire(search()))
    late.send_by = late.moment_at = 0.0
    before = asyncio.get_running_loop().time()
    assert await pools.renew(search(), late)
    assert before - 1 <= late.moment_at <= asyncio.get_running_loop().time()
    assert late.send_by == pytest.approx(late.moment_at + 30)
    assert await used(store, limit(2, guard_us=guard_us)) == 1
    pools.release(late)
    assert await used(store, limit(2, guard_us=guard_us)) == 0


async def test_grant_that_stays_late_is_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many confirms, each too slow for the guard; the budget is free at once."""
    asked: list[Grant] = []
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, guard_us=0)]))
    late = held(await pools.acquire(search()))
    confirm = store.confirm

    async def counted(grant: Grant, *rest: object) -> object:
        asked.append(grant)
        return await confirm(grant, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "confirm", counted)
    assert not await pools.renew(search(), late)
    assert len(asked) == CONFIRMS
    assert sorted({one.moment_us for one in asked}) == [one.moment_us for one in asked]
    await store.settled()
    assert await has_room(pools)


async def test_late_grant_of_a_key_that_rests_is_withdrawn(world: World) -> None:
    """Redis has given it back: a release of it takes nothing more."""
    pools, store = world.pools(config(pool(keys=1), limits=[MANY]))
    late, other = held(await pools.acquire(search())), held(await pools.acquire(search()))
    pools.report(Report("r2", rests=(Rest(Subject("acc-k0"), 60 * SECOND_US, "rate_limit_day"),)), other)
    assert not await pools.renew(search(), late)
    assert await used(store, MANY) == 1
    pools.release(late)
    assert await used(store, MANY) == 1
