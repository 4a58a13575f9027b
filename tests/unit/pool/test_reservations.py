"""Who waits for a reserved moment: who came later is not served before, and nobody waits for longer than it must."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

from sidecar.model.configured import SECOND_US, Target
from sidecar.model.words import Exhausted, Grant, NotYet, Refusal, Report, Rest, Subject
from sidecar.pool.dated import MOST_PUT_OFF_S
from sidecar.pool.lasting import Lasting
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held
from sidecar.store.names import window_field
from tests.unit.pool.configs import GUARD_US, config, held, in_flight, limit, pool, search, tokens
from tests.unit.pool.conftest import WatchedStore, World, standing

Got = Held | Refusal | Exhausted


async def reserved(
    pools: Pools, store: WatchedStore, *targets: str, within_s: float = 300
) -> tuple[asyncio.Task[Got], Grant]:
    """A request that waits for a moment, and the reservation that it has at first."""
    before = len(store.answers)
    task = asyncio.create_task(pools.acquire(search(*targets, max_wait_s=within_s, within_s=within_s)))
    while True:
        store.answered.clear()
        for answer in store.answers[before:]:
            if isinstance(answer, Grant) and answer.wait_us:
                return task, answer
        await store.answered.wait()


def granted(store: WatchedStore) -> set[int]:
    """The moments of all grants so far."""
    return {answer.moment_us for answer in store.answers if isinstance(answer, Grant)}


async def looked(store: WatchedStore) -> None:
    """Whoever waits has found nothing that is sooner, and stands in line for it."""
    while not (isinstance(answer := store.answers[-1], Refusal) and answer.busy):
        store.answered.clear()
        await store.answered.wait()


async def gone(task: asyncio.Task[Got], store: WatchedStore) -> None:
    """Its client has gone, and Redis knows."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await store.settled()


async def test_rest_that_began_since_is_told_to_who_may_not_wait_so_long(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 0.2)]))
    first = held(await pools.acquire(search()))
    waiter = asyncio.create_task(pools.acquire(search(max_wait_s=5)))
    await store.answered.wait()
    pools.report(Report("other", rests=(Rest(Subject("acc-k0"), 60 * SECOND_US, "rate_limit_minute"),)), first)
    refused = await waiter
    assert isinstance(refused, Refusal)
    assert 59 * SECOND_US < refused.wait_us <= 60 * SECOND_US


async def test_those_who_go_away_keep_no_key_resting(world: World) -> None:
    """The end of a rest is worth one grant a guard, to those who are still there."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1000)]))
    first = held(await pools.acquire(search()))
    pools.report(Report("other", rests=(Rest(Subject("acc-k0"), 600_000_000, "rate_limit_minute"),)), first)
    waiters = [(await reserved(pools, store, within_s=900))[0] for _ in range(20)]
    for task in waiters:
        await gone(task, store)
    refused = await pools.acquire(search(max_wait_s=0))
    assert isinstance(refused, Refusal)
    assert refused.wait_us <= 600_000_000


async def test_end_of_a_rest_that_a_client_leaves_goes_to_who_waits_in_another_replica(world: World) -> None:
    """Whoever is left is served as soon as the rest is over."""
    told = config(pool(keys=1), limits=[limit(1000)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    one.report(Report("other", rests=(Rest(Subject("acc-k0"), 2 * SECOND_US, "rate_limit_minute"),)), first)
    await here.settled()
    leaves = [(await reserved(one, here))[0] for _ in range(5)]
    stays, late = await reserved(other, there)
    for task in leaves:
        await gone(task, here)
    got = held(await stays)
    assert late.moment_us - got.grant.moment_us == 5 * GUARD_US


async def test_what_a_client_leaves_goes_to_who_waits_longest(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 1)]))
    held(await pools.acquire(search()))
    leaves, left = await reserved(pools, store)
    (following, late), (last, _) = await reserved(pools, store), await reserved(pools, store)
    assert late.moment_us > left.moment_us
    await gone(leaves, store)
    assert left.moment_us <= held(await following).grant.moment_us < late.moment_us
    assert late.moment_us <= held(await last).grant.moment_us


async def test_what_a_client_leaves_amid_the_queue_goes_down_the_line(world: World) -> None:
    """To who comes next, whose own goes to the next: who comes anew gets what the last one had."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 1)]))
    held(await pools.acquire(search()))
    first, _ = await reserved(pools, store)
    leaves, left = await reserved(pools, store)
    (third, its), (fourth, last) = await reserved(pools, store), await reserved(pools, store)
    await gone(leaves, store)
    newcomer, new = await reserved(pools, store)
    assert new.moment_us == last.moment_us
    held(await first)
    assert left.moment_us <= held(await third).grant.moment_us < its.moment_us
    assert its.moment_us <= held(await fourth).grant.moment_us < last.moment_us
    assert last.moment_us <= held(await newcomer).grant.moment_us


async def test_what_a_client_leaves_goes_to_who_waits_in_another_replica(world: World) -> None:
    """Amid their moments; who comes anew gets what the last of them had."""
    told = config(pool(keys=1), limits=[limit(1, 2)])
    (one, here), (other, there) = world.pools(told), world.pools(told)
    held(await one.acquire(search()))
    first, _ = await reserved(other, there)
    leaves, left = await reserved(one, here)
    (third, its), (fourth, last) = await reserved(other, there), await reserved(other, there)
    await gone(leaves, here)
    while left.moment_us not in granted(there):
        await there.answered.wait()
        there.answered.clear()
    await there.settled()
    newcomer, new = await reserved(one, here)
    assert new.moment_us == last.moment_us
    for task, moment_us in ((third, left.moment_us), (fourth, its.moment_us), (newcomer, last.moment_us)):
        assert moment_us <= held(await task).grant.moment_us < moment_us + SECOND_US
    held(await first)


async def test_what_is_free_for_who_has_just_come_goes_to_who_waits(world: World) -> None:
    """It comes in the order of coming, who has looked before and who has not."""
    pools, store = world.pools(config(pool(keys=2), limits=[limit(1)]))
    held(await pools.acquire(search()))
    other = held(await pools.acquire(search()))
    first, _ = await reserved(pools, store)
    pools.release(other)
    newcomer = asyncio.create_task(pools.acquire(search(max_wait_s=300, within_s=300)))
    got = held(await first)
    assert got.grant.wait_us == 0
    assert not newcomer.done()
    newcomer.cancel()
    await asyncio.gather(newcomer, return_exceptions=True)


async def test_requests_of_one_config_are_handed_nothing_of_another(world: World) -> None:
    """Its base URL and its secrets would go with it."""
    told = config(pool(keys=1), limits=[limit(1, 3)])
    _, store = world.pools(told)
    lasting = Lasting(store)
    old, new = (Pools(replace(told), store, world.events.append, lasting) for _ in range(2))
    held(await old.acquire(search()))
    leaves, left = await reserved(old, store)
    stays, late = await reserved(new, store)
    await gone(leaves, store)
    got = held(await stays)
    assert got.pool is new.config.pools["p"]
    assert left.moment_us <= got.grant.moment_us < late.moment_us


async def test_reservations_of_before_a_rest_come_a_guard_apart_once_it_is_over(world: World) -> None:
    """All had one moment: they would hit the key at once that was just refused."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(5, 2)]))
    sent = [held(await pools.acquire(search())) for _ in range(5)]
    tasks = [(await reserved(pools, store))[0] for _ in range(5)]
    pools.report(Report("other", rests=(Rest(Subject("acc-k0"), SECOND_US, "rate_limit_minute"),)), sent[0])
    moments = sorted(held(got).grant.moment_us for got in await asyncio.gather(*tasks))
    assert moments[0] >= sent[0].grant.moment_us + 2 * SECOND_US + GUARD_US
    assert all(later - sooner >= GUARD_US for sooner, later in pairwise(moments))


async def test_what_was_reserved_before_a_rest_goes_on_with_the_first_success_after_it(world: World) -> None:
    """The first is let through, the others wait for what comes of it: nobody is refused for a rest that is over."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(10, 0.5, guard_us=SECOND_US)]))
    sent = [held(await pools.acquire(search())) for _ in range(10)]
    tasks = [(await reserved(pools, store, within_s=4))[0] for _ in range(10)]
    pools.report(Report("other", rests=(Rest(Subject("acc-k0"), 300_000, "rate_limit_minute"),)), sent[0])
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    pools.succeeded(held(done.pop().result()), "r1")
    for got in await asyncio.gather(*tasks):
        held(got)


async def test_nobody_waits_much_longer_than_it_may_for_others_that_came_late(world: World) -> None:
    """It gives its moment back and asks anew, as long as it may wait."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 0.3)]))
    held(await pools.acquire(search()))
    store.renewals = [NotYet(3 * SECOND_US, 0)]
    waits = search(max_wait_s=0.5)
    held(await pools.acquire(waits))
    assert not store.renewals
    assert waits.waited_s < 0.5 + MOST_PUT_OFF_S


async def test_who_had_a_moment_within_a_rest_keeps_its_place_in_the_queue(world: World) -> None:
    """The key rests when their moments have come, and others came meanwhile."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 0.4)]))
    before = held(await pools.acquire(search()))
    tasks = [(await reserved(pools, store))[0] for _ in range(4)]
    pools.report(Report("other", rests=(Rest(Subject("acc-k0"), SECOND_US, "rate_limit_minute"),)), before)
    await store.settled()
    tasks += [(await reserved(pools, store))[0] for _ in range(2)]
    moments = [held(got).grant.moment_us for got in await asyncio.gather(*tasks)]
    assert moments == sorted(moments)
    assert moments[0] >= before.grant.moment_us + SECOND_US


async def test_who_needs_something_else_is_handed_nothing(world: World) -> None:
    """What was reserved for fewer tokens is not enough."""
    pools, store = world.pools(config(pool(keys=1), limits=[tokens(100)]))
    held(await pools.acquire(search(expects=lambda: (1, 90, 90, 0, 90, 90))))
    leaves = asyncio.create_task(
        pools.acquire(search(max_wait_s=300, within_s=300, expects=lambda: (1, 60, 60, 0, 60, 60)))
    )
    await standing(pools, 1)
    await store.settled()
    stays = search(max_wait_s=300, within_s=300, expects=lambda: (1, 95, 95, 0, 95, 95))
    task = asyncio.create_task(pools.acquire(stays))
    await standing(pools, 2)
    await store.settled()
    before = [answer for answer in store.answers if isinstance(answer, Grant)]
    await gone(leaves, store)
    assert [grant.amounts[1] for grant in before] == [90, 60, 95]
    texts = (await store.inspect([window_field("acc-k0", tokens(100))])).fields
    assert sum(int(text[:16]) for text in texts.values() if text) == 90 + 95
    await gone(task, store)


async def test_key_that_rests_no_more_is_preferred_to_a_moment_of_another(world: World) -> None:
    pools, store = world.pools(config(pool("p", ["a"]), pool("q", ["b"]), limits=[limit(1, 60)]))
    held(await pools.acquire(search("q")))
    rest = Rest(Subject("acc-a"), 3600 * SECOND_US, "invalid_key", proved=False)
    suspect = held(await pools.acquire(search("p")))
    pools.report(Report("other", rests=(rest,)), suspect)
    await store.settled()
    waiter, far = await reserved(pools, store, "p", "q")
    assert far.rotation.pool == "q"
    pools.release(suspect)
    pools.report(Report("other", clears=(Subject("acc-a"),)), suspect)
    async with asyncio.timeout(30):
        assert held(await waiter).pool.name == "p"


async def test_place_that_is_given_back_is_preferred_to_a_moment_far_ahead(world: World) -> None:
    """And it goes to who came first, whether they have a moment or not."""
    told = config(pool("p", ["a"]), pool("q", ["b"]), budgets={"acc-a": [in_flight(1)], "acc-b": [limit(1, 60)]})
    (one, here), (other, there) = world.pools(told), world.pools(told)
    busy = held(await one.acquire(search("p")))
    held(await one.acquire(search("q")))
    waiter, far = await reserved(one, here, "p", "q")
    assert far.rotation.pool == "q"
    await looked(here)
    late = asyncio.create_task(other.acquire(search("p", max_wait_s=300, within_s=300)))
    await there.answered.wait()
    one.finish(busy, None)
    async with asyncio.timeout(30):
        got = held(await waiter)
        assert got.pool.name == "p"
        assert not late.done()
        one.finish(got, None)
        assert held(await late).pool.name == "p"


async def test_who_waits_for_a_moment_and_goes_away_holds_up_nobody(world: World) -> None:
    told = config(pool("p", ["a"]), pool("q", ["b"]), budgets={"acc-a": [in_flight(1)], "acc-b": [limit(1, 60)]})
    pools, store = world.pools(told)
    busy = held(await pools.acquire(search("p")))
    held(await pools.acquire(search("q")))
    waiter, _ = await reserved(pools, store, "p", "q")
    await looked(store)
    await gone(waiter, store)
    pools.finish(busy, None)
    await store.settled()
    held(await pools.acquire(search("p", max_wait_s=0)))


async def test_who_can_use_what_is_free_looks_though_another_comes_first(world: World) -> None:
    """Of two who wait for one key the later may use another one too."""
    told = config(pool("p", ["a"]), pool("q", ["b"]), limits=[limit(1, 60)])
    pools, store = world.pools(told)
    held(await pools.acquire(search("p")))
    other = held(await pools.acquire(search("q")))
    first, _ = await reserved(pools, store, "p")
    second, _ = await reserved(pools, store, "p", "q")
    pools.release(other)
    async with asyncio.timeout(30):
        assert held(await second).pool.name == "q"
    await gone(first, store)


async def test_of_a_burst_only_as_many_reserve_as_may_wait(world: World) -> None:
    """Who may not wait is told when there is room, as if it had come alone."""
    pools, store = world.pools(config(pool(keys=1, max_wait_s=600), limits=[limit(1, 60)], max_waiting=3))
    held(await pools.acquire(search()))
    tasks = [asyncio.create_task(pools.acquire(search(within_s=900))) for _ in range(20)]
    refused = [answer for answer in await asyncio.gather(*tasks[3:]) if isinstance(answer, Refusal)]
    assert len(refused) == 17
    assert max(answer.wait_us for answer in refused) <= 4 * (60 * SECOND_US + GUARD_US)
    assert await store.number(pools.rotation(Target("p", "m"))) == 4
    for task in tasks[:3]:
        await gone(task, store)
