"""Two replicas over one store behave as one: exact turns, and no window over budget, counted where it is sent."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict

from sidecar.model.configured import Target
from sidecar.model.words import Exhausted, Refusal, Report, Rest, Subject
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from tests.unit.pool.configs import config, held, key, limit, pool, search
from tests.unit.pool.conftest import World

WINDOW_S = 0.4


class Judge:
    """What reached each account, and when: it counts by itself, knowing nothing of grants."""

    def __init__(self) -> None:
        self.arrivals: defaultdict[str, list[float]] = defaultdict(list)

    def densest(self, window_s: float) -> int:
        """The most that any account received within any window."""
        return max(
            sum(begin <= at < begin + window_s for at in moments)
            for moments in self.arrivals.values()
            for begin in moments
        )


async def send(pools: Pools, judge: Judge, one: Search) -> Held | Refusal | Exhausted:
    """As the connection's hook does: what is late is renewed before it is sent."""
    while isinstance(got := await pools.acquire(one), Held):
        loop = asyncio.get_running_loop()
        if loop.time() <= got.send_by or await pools.renew(search(), got):
            judge.arrivals[got.grant.member.account].append(loop.time())
            return got
    return got


async def test_turns_are_exact_over_replicas(world: World) -> None:
    """Grant n goes to key n mod 3, without gaps, whichever replica asks."""
    told = config(pool(keys=3))
    replicas = [world.pools(told)[0] for _ in range(2)]
    got = await asyncio.gather(*(replicas[n % 2].acquire(search(request=f"r{n}")) for n in range(60)))
    grants = sorted((held(one).grant.number, held(one).key.id) for one in got)
    assert grants == [(n, f"k{n % 3}") for n in range(60)]


async def test_no_window_holds_more_than_its_budget(world: World) -> None:
    """A burst on both replicas, much larger than the budget: those that wait come in later windows, none is lost."""
    told = config(pool(keys=2), limits=[limit(3, WINDOW_S)])
    replicas = [world.pools(told)[0] for _ in range(2)]
    judge = Judge()
    got = await asyncio.gather(*(send(replicas[n % 2], judge, search(request=f"r{n}")) for n in range(20)))
    assert {one.grant.number for one in map(held, got)} <= set(range(40))
    assert sum(len(moments) for moments in judge.arrivals.values()) == 20
    assert judge.densest(WINDOW_S) == 3


async def test_keys_of_one_account_share_its_budget_over_pools(world: World) -> None:
    told = config(
        pool("p", [key("a", "acme"), key("b", "acme")]),
        pool("q", [key("c", "acme")]),
        limits=[limit(2, WINDOW_S)],
    )
    replicas = [world.pools(told)[0] for _ in range(2)]
    judge = Judge()
    names = itertools.cycle("pq")
    await asyncio.gather(*(send(replicas[n % 2], judge, search(next(names), request=f"r{n}")) for n in range(8)))
    assert [len(moments) for moments in judge.arrivals.values()] == [8]
    assert judge.densest(WINDOW_S) == 2


async def test_burst_that_may_not_wait_gets_the_budget_and_no_more(world: World) -> None:
    told = config(pool(keys=3, max_wait_s=0), limits=[limit(5)])
    replicas = [world.pools(told)[0] for _ in range(2)]
    got = await asyncio.gather(*(replicas[n % 2].acquire(search(request=f"r{n}")) for n in range(40)))
    assert Counter(one.key.id for one in got if isinstance(one, Held)) == {"k0": 5, "k1": 5, "k2": 5}
    assert sum(isinstance(one, Refusal) for one in got) == 25


async def test_grant_given_back_on_one_replica_is_had_on_the_other(world: World) -> None:
    told = config(pool(keys=1, max_wait_s=0), limits=[limit(1)])
    (one, store), (other, _) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    assert isinstance(await other.acquire(search()), Refusal)
    one.release(first)
    await store.settled()
    assert held(await other.acquire(search())).grant.number == 1


async def test_key_that_rests_on_one_replica_rests_on_the_other(world: World) -> None:
    told = config(pool(keys=2))
    (one, store), (other, _) = world.pools(told), world.pools(told)
    first = held(await one.acquire(search()))
    one.report(Report("r1", rests=(Rest(Subject("acc-k0"), 60_000_000, "rate_limit_day"),)), first)
    await store.settled()
    got = [held(await other.acquire(search())) for _ in range(4)]
    assert {each.key.id for each in got} == {"k1"}
    assert (await other.sight.why(Target("p", "m"))).reasons == {"rate_limit_day": 1}
