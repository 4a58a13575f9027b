"""What a Store promises, on every kind of store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.config.limits import LONGEST_US
from sidecar.model.configured import SECOND_US
from sidecar.model.words import Confirmed, Exhausted, NotYet, Refusal, Report, Reported, Rest, Subject, Withdrawn
from sidecar.store.commands import Store
from sidecar.store.names import rest_field, window_field
from tests.store.asks import GUARD_US, ask, granted, limit, rotation, unexpected
from tests.store.conftest import OpenStore, Place

MINUTE = 60 * SECOND_US + GUARD_US  # until a minute's window has room again


async def reported(store: Store, report: Report, *pools: str) -> Reported:
    """Reports, and waits for what came of it."""
    told: asyncio.Future[Reported] = asyncio.get_running_loop().create_future()
    store.report(report, pools, told.set_result)
    return await told


@pytest.mark.parametrize("keys", [1, 2, 7])
async def test_grants_walk_the_keys_in_config_order(store: Store, keys: int) -> None:
    """The k-th grant has number k and goes to key k mod N."""
    turns = rotation(keys)
    grants = [granted(await store.acquire(ask(turns), unexpected)) for _ in range(3 * keys + 1)]
    assert [grant.number for grant in grants] == list(range(3 * keys + 1))
    assert [grant.member.id for grant in grants] == [f"k{k % keys}" for k in range(3 * keys + 1)]


async def test_refusal_tells_the_moment_of_the_next_room(store: Store) -> None:
    """Window and guard after the grant that took the last room, to the microsecond of Redis's clock."""
    turns = rotation(2, limit(1))
    first = granted(await store.acquire(ask(turns), unexpected))
    granted(await store.acquire(ask(turns), unexpected))
    before = await store.inspect(())
    refusal = await store.acquire(ask(turns, max_wait_s=59), unexpected)
    after = await store.inspect(())
    assert isinstance(refusal, Refusal)
    assert before.now_us <= first.moment_us + MINUTE - refusal.wait_us <= after.now_us


async def test_refusal_takes_no_number(store: Store) -> None:
    turns = rotation(1, limit(1))
    granted(await store.acquire(ask(turns), unexpected))
    assert isinstance(await store.acquire(ask(turns), unexpected), Refusal)
    assert (await store.inspect((), [turns])).numbers == (1,)


async def test_reservation_lies_within_the_wait_of_its_own_pool(store: Store) -> None:
    """The first target has room earlier, but only the second one may be waited for."""
    early, late = rotation(1, limit(1), pool="p"), rotation(["other"], limit(1), pool="q")
    granted(await store.acquire(ask(early), unexpected))
    taken = granted(await store.acquire(ask(late), unexpected))
    reserved = granted(await store.acquire(ask(early, late, max_wait_s=(1, 90)), unexpected))
    assert (reserved.target, reserved.member.id, reserved.number) == (1, "other", 1)
    assert reserved.moment_us == taken.moment_us + MINUTE
    assert 59 * SECOND_US < reserved.wait_us <= MINUTE


async def test_reservations_queue_behind_each_other(store: Store) -> None:
    """A reserved moment counts: the next reservation is a window later."""
    turns = rotation(1, limit(1))
    moments = [granted(await store.acquire(ask(turns, max_wait_s=300), unexpected)).moment_us for _ in range(3)]
    assert moments == [moments[0], moments[0] + MINUTE, moments[0] + 2 * MINUTE]


async def test_second_target_serves_while_the_first_has_no_room(store: Store) -> None:
    first, second = rotation(1, limit(1), pool="p"), rotation(["other"], pool="q")
    targets = [granted(await store.acquire(ask(first, second, max_wait_s=90), unexpected)).target for _ in range(3)]
    assert targets == [0, 1, 1]


async def test_tried_is_a_pair_of_target_and_key(store: Store) -> None:
    """A key that was tried for one target may serve another; skipped keys keep their turn."""
    one, two = rotation(3, pool="p", model="a"), rotation(3, pool="p", model="b")
    grant = granted(await store.acquire(ask(one, two, tried=[(0, "k0")]), unexpected))
    assert (grant.target, grant.member.id) == (0, "k1")
    grant = granted(await store.acquire(ask(one, two, tried=[(0, "k0"), (0, "k1"), (0, "k2")]), unexpected))
    assert (grant.target, grant.member.id) == (1, "k0")
    grant = granted(await store.acquire(ask(one, two), unexpected))
    assert (grant.target, grant.member.id) == (0, "k0")


async def test_all_tried_is_exhausted_and_no_refusal(store: Store) -> None:
    one, two = rotation(1, limit(1), pool="p"), rotation(1, limit(1), pool="q")
    assert await store.acquire(ask(one, two, tried=[(0, "k0"), (1, "k0")]), unexpected) == Exhausted()


async def test_rotation_without_members_is_exhausted(store: Store) -> None:
    """No key of a pool may serve the model: the next target is asked, and nothing is registered for ever."""
    nobody, somebody = rotation(0, pool="p"), rotation(1, pool="q")
    assert await store.acquire(ask(nobody, max_wait_s=90), unexpected) == Exhausted()
    assert granted(await store.acquire(ask(nobody, somebody), unexpected)).target == 1


async def test_models_beyond_256_share_one_rotation(place: Place, store: Store) -> None:
    """256 models have a rotation of their own; all others walk the keys of one called `*`."""
    shared = [
        grant
        for i in range(300)
        if (grant := granted(await store.acquire(ask(rotation(5, model=f"m{i}")), unexpected))).number
        or grant.rotation.model == "*"
    ]
    assert [grant.number for grant in shared] == list(range(44))
    assert [grant.member.id for grant in shared] == [f"k{k % 5}" for k in range(44)]
    assert len((await store.models(["p"]))["p"]) == 256
    assert len(list(place.raw.scan_iter("sc:{test}:rotation:*", count=1000))) == 257
    again = granted(await store.acquire(ask(rotation(5, model="m7")), unexpected))
    assert (again.rotation.model, again.number) == ("m7", 1)


async def test_the_models_of_a_pool_are_those_with_a_rotation_of_their_own(store: Store) -> None:
    """Of each pool, sorted; a call without a model has the rotation of the name "", an unused pool has none."""
    for pool, model in (("p", "z/\u00fc"), ("p", ""), ("q", "m"), ("p", "a"), ("p", "a")):
        granted(await store.acquire(ask(rotation(1, pool=pool, model=model)), unexpected))
    assert await store.models(["p", "q", "r"]) == {"p": ("", "a", "z/\u00fc"), "q": ("m",), "r": ()}


async def test_confirm_lets_a_grant_be_sent_at_its_moment_and_not_before(store: Store) -> None:
    turns = rotation(1, limit(1))
    grant = granted(await store.acquire(ask(turns), unexpected))
    confirmed = await store.confirm(grant, ["p"], unexpected)
    assert isinstance(confirmed, Confirmed)
    assert confirmed.moment_us == grant.moment_us
    reserved = granted(await store.acquire(ask(turns, max_wait_s=90), unexpected))
    not_yet = await store.confirm(reserved, ["p"], unexpected)
    assert isinstance(not_yet, NotYet)
    assert 59 * SECOND_US < not_yet.wait_us <= reserved.wait_us


async def test_late_grant_counts_from_when_it_is_sent(store: Store) -> None:
    """Its entry moves to now, so that the next room is a window after the send."""
    turns = rotation(1, limit(1, guard_us=0))
    grant = granted(await store.acquire(ask(turns), unexpected))
    confirmed = await store.confirm(grant, ["p"], unexpected)
    assert isinstance(confirmed, Confirmed)
    assert confirmed.moment_us > grant.moment_us
    reserved = granted(await store.acquire(ask(turns, max_wait_s=90), unexpected))
    assert reserved.moment_us == confirmed.moment_us + 60 * SECOND_US


async def test_grant_of_a_key_that_rests_is_withdrawn_and_its_budget_free(store: Store) -> None:
    turns, allowed = rotation(1, limit(1)), limit(1)
    grant = granted(await store.acquire(ask(turns), unexpected))
    rest = Rest(Subject(grant.member.account), SECOND_US * 3600, "rate_limit_minute")
    assert (await reported(store, Report("r", (rest,)))).rests == (3600 * SECOND_US,)
    assert await store.confirm(grant, ["p"], unexpected) == Withdrawn()
    window = window_field(grant.member.account, allowed)
    assert (await store.inspect([window])).fields == {window: "0" * 16}


async def test_released_grant_makes_room_for_every_model(store: Store) -> None:
    """The only grant of a one-a-minute account, given back, can be had again at once: also for another model."""
    one, two = rotation(1, limit(1), model="a"), rotation(1, limit(1), model="b")
    grant = granted(await store.acquire(ask(one), unexpected))
    assert isinstance(await store.acquire(ask(two), unexpected), Refusal)
    store.release(grant, ["p"])
    await store.inspect(())  # behind the release, on the same connection
    assert granted(await store.acquire(ask(two), unexpected)).wait_us == 0


async def test_report_rests_a_key_before_the_next_acquire(store: Store) -> None:
    """Nobody waits for the report, and still the acquire after it does not get the key."""
    turns = rotation(2)
    grant = granted(await store.acquire(ask(turns), unexpected))
    granted(await store.acquire(ask(turns), unexpected))
    rest = Rest(Subject(grant.member.account, grant.member.key), 3600 * SECOND_US, "invalid_key")
    store.report(Report("r", (rest,)), (), lambda _: None)
    ids = [granted(await store.acquire(ask(turns), unexpected)).member.id for _ in range(3)]
    assert ids == ["k1", "k1", "k1"]


async def test_rest_for_a_model_leaves_the_others_alone(store: Store) -> None:
    one, two = rotation(1, model="a"), rotation(1, model="b")
    subject = Subject("acc-k0", None, "a")
    await reported(store, Report("r", (Rest(subject, 3600 * SECOND_US, "rate_limit_day"),)))
    assert isinstance(await store.acquire(ask(one), unexpected), Refusal)
    granted(await store.acquire(ask(two), unexpected))
    text = (await store.inspect([rest_field(subject)])).fields[rest_field(subject)]
    assert text is not None
    assert text.endswith("|r|rate_limit_day")


async def test_suspicion_is_taken_back_by_its_own_request_alone(store: Store) -> None:
    turns = rotation(1)
    subject = Subject("acc-k0", "fp-k0")
    await reported(store, Report("mine", (Rest(subject, 3600 * SECOND_US, "invalid_key", proved=False),)))
    assert await reported(store, Report("other", clears=(subject,)), "p") == Reported((), (False,), ())
    assert isinstance(await store.acquire(ask(turns), unexpected), Refusal)
    assert await reported(store, Report("mine", clears=(subject,)), "p") == Reported((), (True,), ())
    granted(await store.acquire(ask(turns), unexpected))


async def test_inspect_reads_any_number_of_fields(store: Store) -> None:
    """Lua returns at most 8,000 values at once; nobody notices."""
    turns = rotation(1, limit(1))
    granted(await store.acquire(ask(turns), unexpected))
    fields = [f"w|nobody|{i}" for i in range(9000)] + [window_field("acc-k0", limit(1))]
    inspected = await store.inspect(fields, [turns, rotation(2)])
    assert inspected.numbers == (1, None)
    assert [name for name, text in inspected.fields.items() if text is not None] == [fields[-1]]


async def test_registering_again_changes_nothing(place: Place, open_store: OpenStore) -> None:
    """A second replica finds the rotation where the first one left it."""
    turns: Any = rotation(3)
    first, second = open_store(place.open).store, open_store(place.open).store
    answers = [granted(await store.acquire(ask(turns), unexpected)) for store in (first, second, first, second)]
    assert [(grant.number, grant.member.id) for grant in answers] == [(0, "k0"), (1, "k1"), (2, "k2"), (3, "k0")]


async def test_namespaces_share_nothing(place: Place, open_store: OpenStore) -> None:
    turns = rotation(1, limit(1))
    one, two = open_store(place.open, "one").store, open_store(place.open, "two").store
    assert [granted(await store.acquire(ask(turns), unexpected)).number for store in (one, two)] == [0, 0]


async def test_replicas_are_counted_while_they_are_heard_of(store: Store) -> None:
    assert [await store.beat(replica, 60 * SECOND_US) for replica in ("a", "b", "a", "")] == [1, 2, 2, 2]


async def test_a_replica_that_leaves_is_counted_no_more(store: Store) -> None:
    for replica in ("a", "b"):
        await store.beat(replica, 60 * SECOND_US)
    assert [await store.beat("a", 60 * SECOND_US, leaves=True) for _ in range(2)] == [1, 1]
    assert await store.beat("", 60 * SECOND_US) == 1


async def test_state_is_kept_longer_than_the_longest_window(place: Place, store: Store) -> None:
    """What a TTL removes must be past all windows that a config may name, also a day before it is renewed."""
    granted(await store.acquire(ask(rotation(1, limit(1))), unexpected))
    day_s = 86_400
    assert place.raw.ttl(store.names.state) > LONGEST_US / SECOND_US + 2 * day_s
