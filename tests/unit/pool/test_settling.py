"""Tokens are reserved as expected and counted as used: what cost less than that makes room, what cost more takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from sidecar.model import windows
from sidecar.model.configured import SECOND_US, Limit
from sidecar.model.words import ONE, Amounts, Refusal
from sidecar.pool.asking import TooLarge
from sidecar.pool.search import Held, Search
from sidecar.store.names import window_field
from tests.unit.pool.configs import GUARD_US, config, held, limit, pool, search, tokens
from tests.unit.pool.conftest import WatchedStore, World

HUNDRED = tokens(100)


def amounts(read: int, written: int = 0, cached: int = 0) -> Amounts:
    total = read + written
    return 1, total, read, written, total - cached, read - cached


def expecting(count: int) -> Search:
    return search(max_wait_s=0, expects=lambda: amounts(count))


async def used(store: WatchedStore, one: Limit) -> int:
    await store.settled()
    name = window_field("acc-k0", one)
    found = await store.inspect([name])
    return windows.used(one, windows.read(found.fields[name] or ""), found.now_us)


async def test_what_a_request_may_come_to_is_reserved(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[HUNDRED]))
    held(await pools.acquire(expecting(60)))
    assert await used(store, HUNDRED) == 60
    refused = await pools.acquire(expecting(60))
    assert isinstance(refused, Refusal)
    assert 59 * SECOND_US < refused.wait_us <= 60 * SECOND_US + GUARD_US + SECOND_US
    held(await pools.acquire(expecting(40)))
    assert await used(store, HUNDRED) == 100


@pytest.mark.parametrize("actual", [0, 10, 60, 90, 250])
async def test_request_that_is_over_counts_what_it_came_to(world: World, actual: int) -> None:
    """Down or up, also above the maximum: then the key rests until that is past."""
    pools, store = world.pools(config(pool(keys=1), limits=[HUNDRED]))
    first = held(await pools.acquire(expecting(60)))
    pools.finish(first, amounts(actual))
    assert await used(store, HUNDRED) == actual
    assert isinstance(await pools.acquire(expecting(40)), Held) == (actual <= 60)


async def test_key_that_was_parked_is_granted_as_soon_as_a_request_cost_less(world: World) -> None:
    """Every rotation is told, on every replica."""
    told = config(pool(keys=1), limits=[HUNDRED])
    (one, store), (other, _) = world.pools(told), world.pools(told)
    first = held(await one.acquire(expecting(100)))
    assert isinstance(await other.acquire(expecting(20)), Refusal)
    one.finish(first, amounts(30))
    await store.settled()
    held(await other.acquire(expecting(20)))


async def test_request_that_nobody_knows_the_cost_of_keeps_what_was_expected(world: World) -> None:
    """A stream that broke, a client that went."""
    pools, store = world.pools(config(pool(keys=1), limits=[HUNDRED]))
    pools.finish(held(await pools.acquire(expecting(60))), None)
    assert await used(store, HUNDRED) == 60


async def test_refusal_costs_no_tokens(world: World) -> None:
    """But its request counts, where requests do."""
    requests = limit(5)
    pools, store = world.pools(config(pool(keys=1), limits=[HUNDRED, requests]))
    pools.finish(held(await pools.acquire(expecting(60))), ONE)
    assert await used(store, HUNDRED) == 0
    assert await used(store, requests) == 1


async def test_request_is_settled_once(world: World) -> None:
    """The second word is of somebody who did not know."""
    pools, store = world.pools(config(pool(keys=1), limits=[HUNDRED]))
    first = held(await pools.acquire(expecting(60)))
    pools.finish(first, amounts(10))
    pools.finish(first, None)
    pools.finish(first, amounts(99))
    pools.release(first)
    assert await used(store, HUNDRED) == 10


@pytest.mark.parametrize(
    ("unit", "count_cached", "expected"),
    [
        ("tokens", True, 90),
        ("input_tokens", True, 70),
        ("output_tokens", True, 20),
        ("tokens", False, 60),
        ("input_tokens", False, 40),
    ],
)
async def test_limit_counts_its_own_unit(world: World, unit: str, count_cached: bool, expected: int) -> None:
    """Also what was not expected at all: here no output was."""
    one = replace(tokens(1000), unit=unit, count_cached=count_cached)  # type: ignore[arg-type]
    pools, store = world.pools(config(pool(keys=1), limits=[one]))
    pools.finish(held(await pools.acquire(expecting(500))), amounts(70, 20, cached=30))
    assert await used(store, one) == expected


async def test_key_without_room_for_this_request_keeps_its_turn_for_a_smaller_one(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=2), limits=[HUNDRED]))
    held(await pools.acquire(expecting(60)))
    held(await pools.acquire(expecting(20)))
    large, small = held(await pools.acquire(expecting(70))), held(await pools.acquire(expecting(20)))
    assert [large.key.id, small.key.id] == ["k1", "k0"]


async def test_what_is_expected_is_found_once_and_only_where_tokens_are_limited(world: World) -> None:
    """Reading a body of megabytes costs more than an acquire."""
    asked: list[None] = []

    def expects() -> Amounts:
        asked.append(None)
        return amounts(20)

    free, limited = config(pool(keys=2), limits=[limit(9)]), config(pool("q", keys=2), limits=[HUNDRED])
    one = search(expects=expects)
    await world.pools(free)[0].acquire(one)
    assert asked == []
    pools, _ = world.pools(limited)
    again = search("q", expects=expects)
    for _ in range(3):
        held(await pools.acquire(again))
    assert len(asked) == 1


async def test_nothing_is_settled_where_no_tokens_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[limit(9)]))
    first = held(await pools.acquire(search()))
    sent: list[object] = []
    monkeypatch.setattr(store, "settle", lambda *told: sent.append(told))
    pools.finish(first, amounts(99))
    assert sent == []


@pytest.mark.parametrize(
    "make", [lambda: config(pool(keys=2), limits=[HUNDRED]), lambda: config(pool(total=(HUNDRED,)))]
)
async def test_request_that_no_budget_could_ever_hold_is_told_so_with_numbers(
    world: World, make: Callable[[], object]
) -> None:
    pools, store = world.pools(make())  # type: ignore[arg-type]
    with pytest.raises(TooLarge, match=r"may come to 101 tokens, and a budget is 100 tokens"):
        await pools.acquire(expecting(101))
    assert store.asked == []
    held(await pools.acquire(expecting(100)))


async def test_request_too_large_for_one_target_goes_to_the_next(world: World) -> None:
    one, two = pool("p", ["a"], total=(HUNDRED,)), pool("q", ["b"])
    pools, _ = world.pools(config(one, two))
    got = held(await pools.acquire(search("p", "q", expects=lambda: amounts(101))))
    assert got.pool.name == "q"


async def test_limit_that_is_not_enforced_is_counted_and_refuses_nothing(world: World) -> None:
    counting = replace(HUNDRED, enforce=False)
    pools, store = world.pools(config(pool(keys=1), limits=[counting]))
    for _ in range(3):
        held(await pools.acquire(expecting(150)))
    assert await used(store, counting) == 450


async def test_who_waits_for_tokens_comes_when_others_come_to_less(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of their moments, and long before them."""
    monkeypatch.setattr("sidecar.pool.waiting.SOONER_S", 3600.0)  # only what is told of wakes them
    pools, store = world.pools(config(pool(keys=1, max_wait_s=600), limits=[tokens(100)]))
    first = held(await pools.acquire(search(expects=lambda: amounts(90))))
    start_us, waiters = first.grant.moment_us, []
    for n in range(3):
        store.answered.clear()
        one = search(request=f"w{n}", expects=lambda: amounts(90), max_wait_s=600, within_s=600)
        waiters.append(asyncio.create_task(pools.acquire(one)))
        await store.answered.wait()
    for waiter in waiters:
        await store.settled()
        assert not waiter.done()
        pools.finish(first, amounts(2))
        first = held(await waiter)
    assert first.grant.moment_us < start_us + 60 * SECOND_US
