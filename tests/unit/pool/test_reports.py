"""What one attempt taught holds for every later grant, is told to those who listen, and can be explained."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model.configured import SECOND_US, Target
from sidecar.model.events import KeyChanged
from sidecar.model.words import Report, Rest, Subject
from sidecar.pool.search import Held
from sidecar.pool.sight import Why
from tests.unit.pool.configs import config, held, key, pool, search
from tests.unit.pool.conftest import World

TARGET = Target("p", "m")


def resting(subject: Subject, delay_us: int = 60 * SECOND_US, proved: bool = True, request: str = "r1") -> Report:
    reason = "rate_limit_minute" if proved else "invalid_key"
    return Report(request, rests=(Rest(subject, delay_us, reason, proved),))


def changes(world: World) -> list[KeyChanged]:
    return [event for event in world.events if isinstance(event, KeyChanged)]


async def test_report_is_made_before_the_next_acquire(world: World) -> None:
    """Nobody awaits it: the acquire behind it, and those of many at once, pass the key over."""
    pools, _ = world.pools(config(pool(keys=2)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0")), first)
    got = await asyncio.gather(*(pools.acquire(search(request=f"r{n}")) for n in range(10)))
    assert {held(one).key.id for one in got} == {"k1"}


async def test_rest_of_a_model_leaves_the_others(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=1, max_wait_s=0)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0", "fp-k0", "m")), first)
    assert not isinstance(await pools.acquire(search()), Held)
    assert held(await pools.acquire(search(Target("p", "other")))).key.id == "k0"


async def test_suspicion_taken_back_makes_the_key_available_at_once(world: World) -> None:
    """Also where the rotation has parked it for later meanwhile."""
    pools, _ = world.pools(config(pool(keys=1, max_wait_s=0)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0", "fp-k0"), proved=False), first)
    assert not isinstance(await pools.acquire(search()), Held)
    pools.report(Report("r1", clears=(Subject("acc-k0", "fp-k0"),)), first)
    held(await pools.acquire(search()))


async def test_rest_is_told_with_key_reason_and_how_long_it_lasts_now(world: World) -> None:
    """Of a shorter rest on top of a longer one the longer is told: that is what holds."""
    pools, store = world.pools(config(pool(keys=2)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0", None, "m")), first)
    pools.report(resting(Subject("acc-k0", None, "m"), SECOND_US, request="r2"), first)
    await store.settled()
    one, two = changes(world)
    assert one == KeyChanged("p", "k0", "m", "rate_limit_minute", 60.0, True, "r1")
    assert (two.request_id, two.proved) == ("r2", True)
    assert 50 < two.seconds <= 60


async def test_account_that_rests_is_told_as_the_key_that_met_it(world: World) -> None:
    """Not as the first of its keys."""
    pools, store = world.pools(config(pool(keys=[key("a", "acme"), key("b", "acme")])))
    held(await pools.acquire(search()))
    second = held(await pools.acquire(search()))
    pools.report(resting(Subject("acme")), second)
    await store.settled()
    assert [event.key for event in changes(world)] == ["b"]


async def test_suspicion_is_told_as_what_it_is_and_when_it_is_taken_back(world: World) -> None:
    """By the name of its own pool and key, though the request holds another by now."""
    pools, store = world.pools(config(pool("p", ["a"]), pool("q", ["b"])))
    suspect, now_held = held(await pools.acquire(search("p"))), held(await pools.acquire(search("q")))
    pools.report(resting(Subject("acc-a", "fp-a"), 30 * SECOND_US, proved=False), suspect)
    pools.report(Report("r1", clears=(Subject("acc-a", "fp-a"),)), now_held)
    await store.settled()
    assert changes(world) == [
        KeyChanged("p", "a", None, "invalid_key", 30.0, False, "r1"),
        KeyChanged("p", "a", None, "taken back", 0.0, False, "r1"),
    ]


@pytest.mark.parametrize(("request_id", "proved"), [("r2", False), ("r1", True)])
async def test_only_a_suspicion_of_the_same_request_is_taken_back(world: World, request_id: str, proved: bool) -> None:
    pools, store = world.pools(config(pool(keys=1, max_wait_s=0)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0", "fp-k0"), proved=proved), first)
    pools.report(Report(request_id, clears=(Subject("acc-k0", "fp-k0"),)), first)
    await store.settled()
    assert len(changes(world)) == 1
    assert not isinstance(await pools.acquire(search()), Held)


async def test_report_of_nothing_is_not_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pools, store = world.pools(config(pool(keys=1)))
    first = held(await pools.acquire(search()))
    sent: list[object] = []
    monkeypatch.setattr(store, "report", lambda *told: sent.append(told))
    pools.report(Report("r1"), first)
    assert sent == []


# --- why -----------------------------------------------------------------------------------------------


async def test_why_counts_resting_keys_by_reason_and_tells_the_earliest_end(world: World) -> None:
    """A key with several rests counts for the longest; one whose rest has ended does not count."""
    pools, store = world.pools(config(pool(keys=4)))
    got = [held(await pools.acquire(search())) for _ in range(4)]
    dead = Rest(Subject("acc-k0", "fp-k0"), 3600 * SECOND_US, "invalid_key")
    minute = Rest(Subject("acc-k0"), 60 * SECOND_US, "rate_limit_minute")
    model = Rest(Subject("acc-k1", None, "m"), 40 * SECOND_US, "rate_limit_minute")
    other = Rest(Subject("acc-k2", None, "other"), 40 * SECOND_US, "rate_limit_day")
    over = Rest(Subject("acc-k3"), 1, "rate_limit_day")
    pools.report(Report("r1", rests=(dead, minute, model, other, over)), got[0])
    await store.settled()
    why = await pools.sight.why(TARGET)
    assert (why.keys, why.reasons) == (4, {"invalid_key": 1, "rate_limit_minute": 1})
    assert 39 * SECOND_US < why.ends_in_us <= 40 * SECOND_US


async def test_why_of_keys_that_do_not_rest(world: World) -> None:
    pools, _ = world.pools(config(pool(keys=2)))
    assert await pools.sight.why(TARGET) == Why(2, {}, 0)


async def test_why_is_asked_for_now_and_then_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is counted from now all the same; what this replica reports itself is seen at once."""
    pools, store = world.pools(config(pool(keys=2)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0")), first)
    await store.settled()
    before = await pools.sight.why(TARGET)
    await store.settled()
    again = await pools.sight.why(TARGET)
    assert before.reasons == again.reasons == {"rate_limit_minute": 1}
    assert before.ends_in_us > again.ends_in_us
    other, elsewhere = world.pools(config(pool(keys=2)))
    other.report(resting(Subject("acc-k1"), request="r2"), first)
    await elsewhere.settled()
    assert (await pools.sight.why(TARGET)).reasons == {"rate_limit_minute": 1}
    pools.report(resting(Subject("acc-k1"), request="r3"), first)
    await store.settled()
    assert (await pools.sight.why(TARGET)).reasons == {"rate_limit_minute": 2}
    monkeypatch.setattr("sidecar.pool.sight.WHY_S", -1.0)
    other.report(Report("r4", rests=(Rest(Subject("acc-k1", "fp-k1"), 3600 * SECOND_US, "invalid_key"),)), first)
    await elsewhere.settled()
    assert (await pools.sight.why(TARGET)).reasons == {"rate_limit_minute": 1, "invalid_key": 1}


async def test_keys_that_rest_are_told_by_proof_and_by_suspicion(world: World) -> None:
    pools, store = world.pools(config(pool(keys=3)))
    first = held(await pools.acquire(search()))
    pools.report(resting(Subject("acc-k0")), first)
    pools.report(resting(Subject("acc-k1", "fp-k1"), proved=False), first)
    await store.settled()
    why = await pools.sight.why(TARGET)
    assert (why.proved, why.suspected) == ({"k0": "rate_limit_minute"}, frozenset({"k1"}))


async def test_why_knows_the_rests_of_models_that_share_a_rotation(world: World) -> None:
    """Beyond 256 models of a pool they rest for `*`, and so they are found there."""
    pools, _ = world.pools(config(pool(keys=1, max_wait_s=0)))
    for n in range(257):
        last = held(await pools.acquire(search(Target("p", f"m{n}"))))
    assert last.model == "*"
    pools.report(resting(Subject("acc-k0", None, last.model)), last)
    assert not isinstance(await pools.acquire(search(Target("p", "m256"))), Held)
    assert (await pools.sight.why(Target("p", "m256"))).reasons == {"rate_limit_minute": 1}
    assert (await pools.sight.why(Target("p", "m255"))).reasons == {}


async def test_refused_request_outlasts_the_suspicion_of_another(world: World) -> None:
    """A pause at a time while it may wait; not for a key that it has tried itself, nor in a target that is closed."""
    pools, store = world.pools(config(pool(keys=2)))
    first = held(await pools.acquire(search()))
    assert not await pools.outlast_suspicion(search())
    pools.report(resting(Subject("acc-k0", "fp-k0"), proved=False), first)
    await store.settled()
    patient = search()
    assert await pools.outlast_suspicion(patient)
    assert patient.waited_s > 0
    assert not await pools.outlast_suspicion(search(tried={(0, "k0")}))
    assert not await pools.outlast_suspicion(search(max_wait_s=0))
    assert not await pools.outlast_suspicion(search(waited_before_s=10))
    assert not await pools.outlast_suspicion(search(closed={0}))
