"""A request's search for a key: at once, at a reserved moment, or not within what it may wait."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest

from sidecar.model.configured import SECOND_US, Target
from sidecar.model.words import Confirmed, Exhausted, Grant, NotYet, Refusal, Report, Rest, Subject, Withdrawn
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held
from tests.unit.pool.configs import GUARD_US, config, held, key, limit, pool, search
from tests.unit.pool.conftest import WatchedStore, World

MINUTE_US = 60 * SECOND_US + GUARD_US


def rest(pools: Pools, at_hand: Held, account: str, delay_us: int) -> None:
    """Another request reports that the account rests."""
    pools.report(Report("other", rests=(Rest(Subject(account), delay_us, "rate_limit_minute"),)), at_hand)


def reserved(store: WatchedStore) -> Grant:
    """The last grant of a moment to come."""
    return [grant for grant in store.answers if isinstance(grant, Grant) and grant.wait_us > 0][-1]


async def test_keys_are_granted_in_config_order_and_at_once(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=3)))
    got = [held(await pools.acquire(search())) for _ in range(7)]
    assert [one.key.id for one in got] == ["k0", "k1", "k2", "k0", "k1", "k2", "k0"]
    assert [one.grant.number for one in got] == list(range(7))
    assert {(one.pool.name, one.target, one.model) for one in got} == {("p", 0, "m")}


async def test_grant_is_good_from_before_it_was_asked_for_until_its_least_guard(world: World) -> None:
    """So that a slow answer of Redis makes it late, never too long good."""
    limits = [limit(5, 60, 200_000), limit(9, 90, 300_000)]
    pools, _ = world.pools(config(pool(), limits=limits))
    before = asyncio.get_running_loop().time()
    got = held(await pools.acquire(search()))
    assert before <= got.moment_at <= asyncio.get_running_loop().time()
    assert got.send_by == pytest.approx(got.moment_at + 0.2)


async def test_grant_that_no_window_counts_is_never_late(world: World) -> None:
    pools, _ = world.pools(config(pool()))
    assert held(await pools.acquire(search())).send_by == math.inf


async def test_request_that_may_not_wait_is_told_when_to_come_back(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=1, max_wait_s=0), limits=[limit(1)]))
    held(await pools.acquire(search()))
    answer = await pools.acquire(search())
    assert isinstance(answer, Refusal)
    assert 59 * SECOND_US < answer.wait_us <= MINUTE_US


async def test_request_waits_for_its_reserved_moment_and_confirms_then(world: World) -> None:
    """Window and guard after the grant before it; what it waited is told."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 0.2)]))
    first = held(await pools.acquire(search()))
    assert not store.confirming.is_set()
    waiting = search()
    second = held(await pools.acquire(waiting))
    assert store.confirming.is_set()
    assert second.grant.moment_us >= first.grant.moment_us + 200_000 + GUARD_US
    assert (await store.inspect(())).now_us >= second.grant.moment_us
    assert second.grant.number == 1
    assert asyncio.get_running_loop().time() <= second.send_by < math.inf
    assert waiting.acquire_s + waiting.waited_s >= reserved(store).wait_us / SECOND_US


async def test_waiting_requests_get_moments_in_the_order_they_asked(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=1), limits=[limit(1, 0.1)]))
    got = await asyncio.gather(*(pools.acquire(search(request=f"r{n}")) for n in range(4)))
    moments = [held(one).grant.moment_us for one in got]
    assert moments == sorted(moments)
    assert all(later - earlier >= 100_000 for earlier, later in itertools.pairwise(moments))


async def test_key_that_rests_is_waited_for_where_no_limit_is_known(world: World) -> None:
    pools, store = world.pools(config(pool(keys=1)))
    first = held(await pools.acquire(search()))
    rest(pools, first, "acc-k0", 80_000)
    second = held(await pools.acquire(search()))
    assert reserved(store).wait_us <= 80_000
    assert second.grant.moment_us > first.grant.moment_us


async def test_reserved_key_that_begins_to_rest_is_given_back_for_another(world: World) -> None:
    """Its moment comes, but it may not be sent: the request asks anew, and the budget is whole again."""
    pools, store = world.pools(config(pool(keys=2), limits=[limit(1, 0.3)]))
    first = held(await pools.acquire(search()))
    held(await pools.acquire(search()))
    store.answered.clear()
    task = asyncio.create_task(pools.acquire(search()))
    await store.answered.wait()
    assert reserved(store).member.id == "k0"
    rest(pools, first, "acc-k0", 60 * SECOND_US)
    assert held(await task).key.id == "k1"
    number = await store.number(pools.rotation(Target("p", "m")))
    assert number is not None and number >= 4  # one more for each that a busy machine missed


# --- how long a request may wait -----------------------------------------------------------------------


async def test_each_pool_has_a_wait_of_its_own(world: World) -> None:
    """The first target has room earlier, but only the second may be waited for."""
    at_once, patient = pool("p", ["a"], max_wait_s=0), pool("q", ["b"], max_wait_s=5)
    pools, store = world.pools(config(at_once, patient, limits=[limit(1, 0.2)]))
    held(await pools.acquire(search("p")))
    held(await pools.acquire(search("q")))
    held(await pools.acquire(search("p", "q")))
    assert (reserved(store).target, reserved(store).member.id) == (1, "b")
    assert {asked.max_wait_us[0] for asked in store.asked[2:]} == {0}


@pytest.mark.parametrize(("own_s", "asked_s", "waits"), [(0, 5, True), (10, 0, False), (10, 5, True), (0, None, False)])
async def test_requests_own_wait_replaces_the_pools_in_both_directions(
    world: World, own_s: float, asked_s: float | None, waits: bool
) -> None:
    pools, _ = world.pools(config(pool(keys=1, max_wait_s=own_s), limits=[limit(1, 0.1)]))
    held(await pools.acquire(search()))
    assert isinstance(await pools.acquire(search(max_wait_s=asked_s)), Held if waits else Refusal)


@pytest.mark.parametrize(
    ("waited_s", "within_s", "most_s"), [(0, 60, 10), (9.5, 60, 0.5), (11, 60, 0), (0, 2, 2), (9, 0.5, 0.5), (0, -1, 0)]
)
async def test_wait_ends_with_what_was_waited_and_with_the_deadline(
    world: World, waited_s: float, within_s: float, most_s: float
) -> None:
    """A later search of the same request may wait for what is left only."""
    pools, store = world.pools(config(pool(max_wait_s=10)))
    await pools.acquire(search(within_s=within_s, waited_before_s=waited_s))
    (asked_us,) = store.asked[-1].max_wait_us
    assert most_s - 0.5 <= asked_us / SECOND_US <= most_s


async def test_search_that_may_not_wait_reserves_nothing(world: World) -> None:
    """Room now on any key beats waiting, so the loop of attempts first asks for that alone."""
    pools, store = world.pools(config(pool(keys=1), limits=[limit(1, 1)]))
    held(await pools.acquire(search()))
    assert isinstance(await pools.acquire(search(), wait=False), Refusal)
    assert await store.number(pools.rotation(Target("p", "m"))) == 1


async def test_confirm_counts_as_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a Redis that answers slowly would let a request wait for ever, a little at a time."""
    pools, store = world.pools(config(pool(keys=1)))
    rest(pools, held(await pools.acquire(search())), "acc-k0", 50_000)
    confirm = store.confirm

    async def slowly(grant: Grant, *asked: Any) -> Confirmed | NotYet | Withdrawn:
        await asyncio.sleep(0.15)
        return await confirm(grant, *asked)

    monkeypatch.setattr(store, "confirm", slowly)
    waiting = search()
    held(await pools.acquire(waiting))
    assert (waiting.acquire_s + waiting.waited_s) * SECOND_US >= reserved(store).wait_us + 150_000


# --- what may be asked ---------------------------------------------------------------------------------


async def test_tried_keys_are_passed_over_until_none_is_left(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=3)))
    one = search(tried={(0, "k0"), (0, "k2")})
    assert held(await pools.acquire(one)).key.id == "k1"
    one.tried.add((0, "k1"))
    assert await pools.acquire(one) == Exhausted()


async def test_closed_target_is_not_asked_and_the_others_keep_their_index(world: World) -> None:
    """What was tried belongs to the target of the search, not to its place among those that are left."""
    pools, _ = world.pools(config(pool("p", ["a"]), pool("q", ["a", "b"]), pool("r", ["c"])))
    one = search("p", "q", "r", closed={0}, tried={(0, "b"), (1, "a"), (2, "c")})
    got = held(await pools.acquire(one))
    assert (got.target, got.pool.name, got.key.id) == (1, "q", "b")
    one.closed.add(1)
    assert await pools.acquire(one) == Exhausted()
    one.closed.add(2)
    assert await pools.acquire(one) == Exhausted()
    assert one.open == []


async def test_every_key_of_a_target_goes_before_the_next_target(world: World) -> None:
    targets = (Target("p", "large"), Target("p", "small"))
    pools, _ = world.pools(
        config(pool(keys=2, max_wait_s=0), limits=[limit(1, model="large"), limit(1, model="small")])
    )
    got = [held(await pools.acquire(search(*targets))) for _ in range(4)]
    assert [(one.target, one.key.id) for one in got] == [(0, "k0"), (0, "k1"), (1, "k0"), (1, "k1")]
    assert isinstance(await pools.acquire(search(*targets)), Refusal)


async def test_key_serves_only_its_models(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=[key("a"), key("b", models=["gpt-4o*"])])))
    assert {held(await pools.acquire(search(Target("p", "gpt-4o-mini")))).key.id for _ in range(2)} == {"a", "b"}
    assert {held(await pools.acquire(search(Target("p", "o3")))).key.id for _ in range(2)} == {"a"}
    assert pools.untried(search(Target("p", "o3")), 0) == 1


async def test_keys_of_an_account_are_told_over_all_targets(world: World) -> None:
    shared = key("k9", account="acc-k0")
    pools, _ = world.pools(config(pool("p", ["k0", "k1", shared]), pool("q", ["k0", "k2"])))
    one = search("p", "q")
    assert pools.of_account(one, "acc-k0") == {(0, "k0"), (0, "k9"), (1, "k0")}
    assert pools.of_account(one, "acc-k0", "fp-k9") == {(0, "k9")}
    one.tried = {(0, "k0"), (1, "k0")}
    assert pools.untried(one, 0) == 2


async def test_rotations_are_made_once_and_the_latest_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names come from clients, so they are bounded; one in use is not forgotten for those that came once."""
    monkeypatch.setattr("sidecar.pool.rotations.KEPT", 2)
    pools, _ = world.pools(config(pool()))
    busy = pools.rotation(Target("p", "busy"))
    first = pools.rotation(Target("p", "once"))
    assert pools.rotation(Target("p", "busy")) is busy
    pools.rotation(Target("p", "again"))
    assert pools.rotation(Target("p", "busy")) is busy
    assert pools.rotation(Target("p", "once")) is not first
