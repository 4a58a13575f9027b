"""Who waits for a request in flight to end: first come first served, woken at once, and never too many."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model.configured import Target
from sidecar.model.events import Event
from sidecar.model.words import Amounts, Exhausted, Refusal
from sidecar.pool import waiting
from sidecar.pool.lasting import Lasting
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held
from sidecar.store import connect
from sidecar.store.connect import StoreAway
from tests.servers import RedisProcess
from tests.unit.pool.configs import config, held, in_flight, key, limit, pool, search, tokens
from tests.unit.pool.conftest import WatchedStore, World, standing

Got = Held | Refusal | Exhausted


@pytest.fixture
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is told of wakes a waiter; one that was forgotten waits until the test is ended."""
    monkeypatch.setattr(waiting, "POLL_S", 3600.0)
    monkeypatch.setattr(waiting, "SOONER_S", 3600.0)


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


async def looked(pools: Pools, store: WatchedStore) -> None:
    """Whoever is first in a line of this replica has asked again, and then those whom they had to let look first."""
    for _ in range(2):
        pools.waiting.ended(pools.config.pools)
        await asyncio.sleep(0)
        await store.settled()


def of_tokens(count: int) -> Amounts:
    return 1, count, count, 0, count, count


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
    assert not pools.waiting.has_lines


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


async def test_bound_holds_over_changes_of_config(world: World, nobody_polls: None) -> None:
    """Who waits with the config of before counts; and a request of before that ends is seen by who waits now."""
    told = config(pool(keys=1), limits=[in_flight(1)], max_waiting=1)
    old, store = world.pools(told)
    lasting = Lasting(store)
    old, new = (Pools(told, store, world.events.append, lasting) for _ in range(2))
    first = held(await old.acquire(search()))
    (waiter,) = await lined_up(new, store, 1)
    assert isinstance(await old.acquire(search(request="one too many", max_wait_s=300, within_s=300)), Refusal)
    old.finish(first, None)
    held(await waiter)


async def test_bound_holds_for_those_who_wait_for_the_store(
    redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more is told at once that it is away."""
    events: list[Event] = []
    store = WatchedStore(connect.opener(redis_process.url), "test", events.append)
    pools = Pools(config(pool(keys=1), limits=[in_flight(1)], max_waiting=1), store, events.append)
    redis_process.kill()
    waiter = asyncio.create_task(pools.acquire(search(max_wait_s=300, within_s=300)))
    await standing(pools, 1)
    with pytest.raises(StoreAway):
        await pools.acquire(search(request="one too many", max_wait_s=300, within_s=300))
    redis_process.start()
    held(await waiter)
    await store.close()


async def test_who_waits_in_a_pool_that_a_reload_added_hears_of_requests_of_before(
    world: World, nobody_polls: None
) -> None:
    before = config(pool("p", [key("a", "acme")]), limits=[in_flight(1)])
    after = config(pool("p", [key("a", "acme")]), pool("q", [key("b", "acme")]), limits=[in_flight(1)])
    _, store = world.pools(before)
    lasting = Lasting(store)
    old = Pools(before, store, world.events.append, lasting)
    first = held(await old.acquire(search()))
    new = Pools(after, store, world.events.append, lasting)
    waiter = asyncio.create_task(new.acquire(search("q", max_wait_s=300, within_s=300)))
    await standing(new, 1)
    await store.settled()
    old.finish(first, None)
    held(await waiter)


async def test_whatever_their_models_those_who_need_the_same_keys_stand_in_one_line(
    world: World, nobody_polls: None
) -> None:
    """Any client may name any model, and each line asks for itself."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    first = held(await pools.acquire(search()))
    await lined_up(pools, store, 1)
    asked = len(store.asked)
    others = [
        asyncio.create_task(pools.acquire(search(Target("p", f"m{n}"), max_wait_s=300, within_s=300))) for n in range(9)
    ]
    await standing(pools, 10)
    await store.settled()
    assert len(store.asked) == asked
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
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
    assert await store.number(pools.rotation(Target("p", "m"))) == 2
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


async def test_replicas_are_served_in_the_order_of_coming(world: World, nobody_polls: None) -> None:
    """Also where the one whose request ends has waiters of its own, who look at the place at once."""
    told = config(pool(keys=1), limits=[in_flight(1)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    (elsewhere,) = await lined_up(other, there, 1)
    (late,) = await lined_up(one, here, 1)
    one.finish(first, None)
    await looked(one, here)
    assert not late.done()
    await looked(other, there)
    second = held(await elsewhere)
    other.finish(second, None)
    await there.settled()
    await looked(one, here)
    held(await late)


async def test_who_comes_anew_passes_nobody_at_another_replica(world: World, nobody_polls: None) -> None:
    """Neither where a place is free just then, nor where it would not wait at all."""
    told = config(pool(keys=1), limits=[in_flight(1)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    (waiter,) = await lined_up(other, there, 1)
    one.finish(first, None)
    await here.settled()
    refused = await one.acquire(search(max_wait_s=0))
    assert isinstance(refused, Refusal)
    assert refused.busy
    await looked(other, there)
    held(await waiter)


async def test_pools_that_share_an_account_have_one_line(world: World, nobody_polls: None) -> None:
    told = config(pool("p", [key("a", "acme")]), pool("q", [key("b", "acme")]), limits=[in_flight(1)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search("q")))
    (waiter,) = await lined_up(other, there, 1)
    one.finish(first, None)
    await here.settled()
    assert isinstance(await one.acquire(search("q", max_wait_s=0)), Refusal)
    await looked(other, there)
    held(await waiter)


async def test_who_waits_at_two_pools_leaves_both_lines_at_once(world: World, nobody_polls: None) -> None:
    told = config(pool("p", ["a"]), pool("q", ["b"]), limits=[in_flight(1)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    busy = [held(await one.acquire(search(name))) for name in ("p", "q")]
    both = asyncio.create_task(other.acquire(search("p", "q", max_wait_s=300, within_s=300)))
    await standing(other, 1)
    await there.settled()
    one.finish(busy.pop(), None)
    await looked(other, there)
    assert held(await both).pool.name == "q"
    one.finish(busy.pop(), None)
    await here.settled()
    held(await one.acquire(search("p", max_wait_s=0)))


async def test_who_goes_away_holds_up_nobody(world: World, nobody_polls: None) -> None:
    told = config(pool(keys=1), limits=[in_flight(1)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    (waiter,) = await lined_up(other, there, 1)
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    await there.settled()
    one.finish(first, None)
    await here.settled()
    held(await one.acquire(search(max_wait_s=0)))


async def test_what_a_waiter_cannot_use_is_not_kept_for_it(world: World, nobody_polls: None) -> None:
    """Who needs more tokens than any key has left waits in vain; who needs few is served meanwhile."""
    pools, store = world.pools(config(pool(keys=2), limits=[in_flight(1), tokens(100, 3600)]))
    busy = [held(await pools.acquire(search(expects=lambda: of_tokens(60)))) for _ in range(2)]
    large = asyncio.create_task(pools.acquire(search(max_wait_s=300, within_s=300, expects=lambda: of_tokens(90))))
    small = asyncio.create_task(pools.acquire(search(max_wait_s=300, within_s=300, expects=lambda: of_tokens(10))))
    await standing(pools, 2)
    pools.finish(busy.pop(), None)
    await looked(pools, store)
    held(await small)
    assert not large.done()
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)


async def test_nobody_stands_longer_than_the_request_may_wait(world: World, nobody_polls: None) -> None:
    pools, _ = world.pools(config(pool(keys=1), limits=[in_flight(1)]))
    held(await pools.acquire(search()))
    impatient = search(max_wait_s=0.05)
    refused = await pools.acquire(impatient)
    assert isinstance(refused, Refusal)
    assert refused.busy
    assert impatient.waited_s >= 0.05
    assert pools.waiting.count == 0


async def test_many_lines_together_look_no_more_often_than_ten(world: World) -> None:
    """Each stands in a line of its own, for each has tried another key."""
    pools, _ = world.pools(config(pool(keys=80, max_wait_s=300), limits=[in_flight(1)]))
    for _ in range(80):
        held(await pools.acquire(search()))
    stood = search(ticket=1)
    assert pools.waiting.pause_s(stood) == waiting.POLL_S
    tasks = [
        asyncio.create_task(pools.acquire(search(tried={(0, f"k{n}")}, request=f"r{n}", within_s=300)))
        for n in range(60)
    ]
    await standing(pools, 60)
    assert pools.waiting.pause_s(stood) == 6 * waiting.POLL_S
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_lines_of_other_targets_do_not_wait_for_each_other(world: World, nobody_polls: None) -> None:
    pools, store = world.pools(config(pool("p", ["a"]), pool("q", ["b"]), limits=[in_flight(1)]))
    held(await pools.acquire(search("p")))
    (waiter,) = await lined_up(pools, store, 1)
    held(await pools.acquire(search("q")))
    assert not waiter.done()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
