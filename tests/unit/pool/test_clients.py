"""What a client may spend as a whole: over all keys, pools and replicas, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sidecar.model.configured import LEASE_US, SECOND_US
from sidecar.model.words import Amounts, Refusal, Total
from sidecar.pool import waiting
from sidecar.pool.asking import TooLarge
from sidecar.pool.search import Held, Search
from tests.unit.pool.configs import config, held, in_flight, limit, pool, search, tokens
from tests.unit.pool.conftest import WatchedStore, World, standing

TWO = Total("@two", (limit(2),))
ALONE = Total("@alone", (in_flight(1),))


def refused(answer: object) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


async def state_of(store: WatchedStore) -> tuple[object, ...]:
    """Everything that a grant would change: windows, numbers and places."""
    await store.settled()
    fields = ["w|acc-k0|requests/60000000/", "w|acc-k1|requests/60000000/", "w|@two|requests/60000000/"]
    seen = await store.inspect(fields)
    return tuple(seen.fields.items())


async def test_limit_holds_over_keys_pools_and_replicas(world: World) -> None:
    """Three replicas and two pools give a client what it may have, and the others the rest."""
    made = config(pool("p", 2), pool("q", ["z"]), limits=[limit(10)])
    pools = [world.pools(made)[0] for _ in range(3)]
    answers = [await pools[n % 3].acquire(search("pq"[n % 2], client=TWO, max_wait_s=0)) for n in range(6)]
    assert [isinstance(answer, Held) for answer in answers] == [True, True, False, False, False, False]
    held(await pools[2].acquire(search("q", max_wait_s=0)))


async def test_refusal_leaves_no_trace(world: World) -> None:
    """No window, no number: the next grant is the next number, of the key whose turn it was."""
    pools, store = world.pools(config(pool(), limits=[limit(10)]))
    for _ in range(2):
        held(await pools.acquire(search(client=TWO)))
    before = await state_of(store)
    for _ in range(5):
        assert refused(await pools.acquire(search(client=TWO, max_wait_s=0))).by_client
    assert await state_of(store) == before
    following = held(await pools.acquire(search()))
    assert (following.key.id, following.grant.number) == ("k0", 2)


async def test_wait_is_until_the_client_has_room_again(world: World) -> None:
    pools, store = world.pools(config(pool(), limits=[limit(10)]))
    first = held(await pools.acquire(search(client=TWO)))
    held(await pools.acquire(search(client=TWO)))
    before = await store.inspect(())
    refusal = refused(await pools.acquire(search(client=TWO, max_wait_s=0)))
    after = await store.inspect(())
    free_us = first.grant.moment_us + 60 * SECOND_US + TWO.limits[0].guard_us
    assert free_us - after.now_us <= refusal.wait_us <= free_us - before.now_us


async def test_keys_without_room_are_not_the_clients_fault(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=1), limits=[limit(1)]))
    held(await pools.acquire(search(client=TWO)))
    assert not refused(await pools.acquire(search(client=TWO, max_wait_s=0))).by_client


async def test_limit_that_only_counts_refuses_nothing(world: World) -> None:
    counts = Total("@counts", (replace(limit(1), enforce=False),))
    pools, store = world.pools(config(pool()))
    for _ in range(3):
        held(await pools.acquire(search(client=counts)))
    text = (await store.inspect(["w|@counts|requests/60000000/"])).fields["w|@counts|requests/60000000/"]
    assert text is not None
    assert int(text[:16]) == 3


async def test_attempt_that_is_followed_by_another_costs_its_client_nothing(world: World) -> None:
    """Its account keeps what nobody knows; the client may reserve the same again at once, and no more than that."""
    hundred = Total("@hundred", (tokens(100), limit(1)))
    pools, store = world.pools(config(pool(keys=3), limits=[tokens(1000)]))
    mine = search(client=hundred, expects=lambda: (1, 80, 80, 0, 80, 80), max_wait_s=0)
    for _ in range(2):
        pools.finish(held(await pools.acquire(mine)), None, again=True)
        mine.client = mine.client.again
    last = held(await pools.acquire(mine))
    await store.settled()
    fields = [f"w|{account}|tokens/60000000/" for account in ("acc-k0", "acc-k1", "acc-k2", "@hundred")]
    fields.append("w|@hundred|requests/60000000/")
    found = (await store.inspect(fields)).fields
    assert [int((found[name] or "0")[:16]) for name in fields] == [80, 80, 80, 80, 1]
    pools.finish(last, (1, 10, 10, 0, 10, 10))
    await store.settled()
    found = (await store.inspect(fields)).fields
    assert [int((found[name] or "0")[:16]) for name in fields] == [80, 80, 10, 10, 1]


async def test_tokens_are_reserved_and_settled_where_only_the_client_counts_them(world: World) -> None:
    """And one that could never fit is told so at once."""

    def of(count: int) -> Amounts:
        return 1, count, count, 0, count, count

    hundred = Total("@hundred", (tokens(100),))
    pools, store = world.pools(config(pool()))
    first = held(await pools.acquire(search(client=hundred, expects=lambda: of(80))))
    assert refused(await pools.acquire(search(client=hundred, expects=lambda: of(30), max_wait_s=0))).by_client
    pools.finish(first, of(10))
    await store.settled()
    held(await pools.acquire(search(client=hundred, expects=lambda: of(90), max_wait_s=0)))
    with pytest.raises(TooLarge):
        await pools.acquire(search(client=hundred, expects=lambda: of(101), max_wait_s=0))


async def test_what_is_given_back_is_the_clients_again(world: World) -> None:
    pools, store = world.pools(config(pool()))
    grants = [held(await pools.acquire(search(client=TWO))) for _ in range(2)]
    pools.release(grants[0])
    await store.settled()
    held(await pools.acquire(search(client=TWO, max_wait_s=0)))


async def test_batch_client_has_the_whole_of_its_own_limit(world: World) -> None:
    """Only of what is everybody's it leaves a share to the others."""
    pools, _ = world.pools(config(pool(keys=1, interactive_share=0.5), limits=[limit(100)]))
    for _ in range(2):
        held(await pools.acquire(search(client=TWO, batch=True, max_wait_s=0)))


# --- requests in flight -------------------------------------------------------------------------------


@pytest.fixture
def nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 3600.0)
    monkeypatch.setattr(waiting, "SOONER_S", 3600.0)


def patient(client: Total, request: str = "r") -> Search:
    return search(client=client, request=request, within_s=300, max_wait_s=300)


async def test_place_of_a_client_wakes_whoever_of_it_waits(world: World, nobody_polls: None) -> None:
    """At once, when a request of that client ends, on whatever key of whatever pool."""
    pools, store = world.pools(config(pool("p"), pool("q", ["z"])))
    in_hand = held(await pools.acquire(patient(ALONE)))
    tasks = []
    for n in range(3):
        store.answered.clear()
        one = search("pq"[n % 2], client=ALONE, request=f"r{n}", within_s=300, max_wait_s=300)
        tasks.append(asyncio.create_task(pools.acquire(one)))
        await standing(pools, n + 1)
        if n < 2:  # the first of each line asks
            await store.answered.wait()
    for _ in range(3):
        await store.settled()
        assert not any(task.done() for task in tasks)
        pools.finish(in_hand, None)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        (one_done,) = done
        tasks.remove(one_done)
        in_hand = held(one_done.result())


async def test_who_has_too_many_in_flight_holds_up_nobody(world: World, nobody_polls: None) -> None:
    """Where the keys count theirs too: a place that the crowded client waits beside goes to the next."""
    pools, store = world.pools(config(pool(keys=1), limits=[in_flight(2)]))
    held(await pools.acquire(patient(ALONE)))
    store.answered.clear()
    crowded = asyncio.create_task(pools.acquire(patient(ALONE)))
    await store.answered.wait()
    await store.settled()
    other = held(await pools.acquire(search(max_wait_s=0)))
    pools.finish(other, None)
    await store.settled()
    held(await pools.acquire(search(max_wait_s=0)))
    assert not crowded.done()
    crowded.cancel()
    await asyncio.gather(crowded, return_exceptions=True)


async def test_refusal_says_whose_requests_are_in_flight(world: World) -> None:
    pools, _ = world.pools(config(pool()))
    held(await pools.acquire(search(client=ALONE)))
    refusal = refused(await pools.acquire(search(client=ALONE, max_wait_s=0)))
    assert refusal.by_client
    assert refusal.busy


async def test_clients_place_is_kept_while_its_request_runs(world: World) -> None:
    """A replica's signs of life are for the client's place as well; without them it ends."""
    pools, store = world.pools(config(pool()))
    held(await pools.acquire(search(client=ALONE)))
    await store.skip(10)
    pools.running.renew()
    await store.settled()
    await store.skip(10)
    assert refused(await pools.acquire(search(client=ALONE, max_wait_s=0))).busy
    await store.skip(LEASE_US / SECOND_US)
    held(await pools.acquire(search(client=ALONE, max_wait_s=0)))


async def test_moments_are_traded_within_one_client_only(world: World) -> None:
    """What one client leaves of its limit is not in another's."""
    one, other = Total("@one", (limit(1, 2),)), Total("@other", (limit(1, 2),))
    pools, store = world.pools(config(pool(keys=1, max_wait_s=60)))
    for client in (one, other):
        held(await pools.acquire(search(client=client)))
    first = asyncio.create_task(pools.acquire(patient(one)))
    second = asyncio.create_task(pools.acquire(patient(other)))
    await standing(pools, 2)
    await store.settled()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert held(await second).grant.rotation.client == other


async def test_each_request_counts_once_however_many_targets(world: World) -> None:
    pools, store = world.pools(config(pool("p"), pool("q", ["z"])))
    held(await pools.acquire(search("p", "q", client=TWO)))
    text = (await store.inspect(["w|@two|requests/60000000/"])).fields["w|@two|requests/60000000/"]
    assert text is not None
    assert int(text[:16]) == 1
