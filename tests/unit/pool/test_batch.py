"""What is not urgent leaves the last share of each budget to what is, and is not starved by it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.model.configured import SECOND_US
from sidecar.model.words import Amounts, Refusal
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from tests.unit.pool.configs import GUARD_US, config, held, in_flight, limit, pool, search, tokens
from tests.unit.pool.conftest import World, standing


def batch(**options: Any) -> Search:
    return search(max_wait_s=0, batch=True, **options)


async def grants(pools: Pools, one: Search, most: int = 50) -> int:
    """How many a request gets until it is refused."""
    for count in range(most):
        if not isinstance(await pools.acquire(one), Held):
            return count
    return most


@pytest.mark.parametrize(
    ("maximum", "share", "taken"),
    [(10, 0.2, 8), (15, 0.2, 12), (7, 0.2, 5), (10, 0.0, 10), (10, 0.5, 5), (100, 0.2, 80)],
)
async def test_batch_never_takes_the_last_share(world: World, maximum: int, share: float, taken: int) -> None:
    """Of each key's budget; the others have it, to the last."""
    pools, _ = world.pools(config(pool(keys=1, interactive_share=share), limits=[limit(maximum)]))
    assert await grants(pools, batch(), 200) == taken
    assert await grants(pools, search(max_wait_s=0), 200) == maximum - taken


async def test_share_of_a_small_budget_leaves_batch_the_whole_of_an_unused_one(world: World) -> None:
    """Where the share would be all of it, it would never be served: only a budget that nobody has touched is its."""
    pools, _ = world.pools(config(pool(keys=1), limits=[limit(1)]))
    assert await grants(pools, batch()) == 1
    assert await grants(pools, search(max_wait_s=0)) == 0


async def test_batch_that_waits_for_a_place_holds_up_nobody_who_may_have_it(world: World) -> None:
    """The last place is none for batch: whoever else asks has it, however long batch has waited."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(5)]))
    assert await grants(pools, batch()) == 4
    waits = asyncio.create_task(pools.acquire(search(batch=True, max_wait_s=60)))
    await standing(pools, 1)
    await store.settled()
    for _ in range(3):
        pools.finish(held(await pools.acquire(search(max_wait_s=0))), None)
        await store.settled()
    assert not waits.done()
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)


async def test_share_holds_for_tokens_and_for_the_pool_as_a_whole(world: World) -> None:
    def ten() -> Amounts:
        return 1, 10, 10, 0, 10, 10

    pools, _ = world.pools(config(pool("p", 1), pool("q", 3, total=(tokens(200),)), limits=[tokens(100)]))
    assert await grants(pools, batch(expects=ten)) == 8
    whole = Search("r", search("q").targets, search().deadline, 0, expects=ten, batch=True)
    assert await grants(pools, whole) == 16


async def test_share_holds_for_requests_in_flight(world: World) -> None:
    """Of five places one is left to the others; and a reservation takes no more of them when its moment comes."""
    pools, _ = world.pools(config(pool(keys=1), limits=[in_flight(5)]))
    assert await grants(pools, batch()) == 4
    assert await grants(pools, search(max_wait_s=0)) == 1


async def test_batch_waits_for_its_share_of_the_places(world: World) -> None:
    """It stands in line as the others do, and comes when as many have ended as it must leave."""
    pools, _ = world.pools(config(pool(keys=1), limits=[in_flight(5)]))
    first = [held(await pools.acquire(search())) for _ in range(5)]
    waiter = asyncio.create_task(pools.acquire(search(batch=True, max_wait_s=60)))
    pools.finish(first.pop(), None)
    urgent = held(await pools.acquire(search(max_wait_s=60)))
    assert not waiter.done()
    for one in (*first, urgent)[:2]:
        pools.finish(one, None)
    held(await waiter)


async def test_batch_comes_when_the_share_is_free_again(world: World) -> None:
    """When as many of the oldest are past as it must leave, not when one is."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(10)]))
    first = [held(await pools.acquire(search())) for _ in range(10)]
    before = await store.inspect(())
    refused = await pools.acquire(batch())
    after = await store.inspect(())
    assert isinstance(refused, Refusal)
    third_is_past_us = first[2].grant.moment_us + 60 * SECOND_US + GUARD_US
    assert before.now_us <= third_is_past_us - refused.wait_us <= after.now_us


async def test_each_target_has_the_share_of_its_own_pool(world: World) -> None:
    generous, all_of_it = pool("p", 1, interactive_share=0.5), pool("q", 1, interactive_share=0)
    pools, store = world.pools(config(generous, all_of_it))
    held(await pools.acquire(Search("r", search("p", "q").targets, search().deadline, 0, batch=True)))
    assert store.asked[-1].shares == (0.5, 0)
    held(await pools.acquire(search("p", "q")))
    assert store.asked[-1].shares == ()
