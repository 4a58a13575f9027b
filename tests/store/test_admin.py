"""What an operator does to a key holds for every replica, and outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from sidecar.model.configured import SECOND_US, Key, Secret
from sidecar.model.events import Drifted
from sidecar.model.words import Grant, Refusal, Report, Rest, Rotation, Subject
from sidecar.store.commands import Store
from sidecar.store.names import off_field, rest_field, window_field
from sidecar.store.texts import read_off
from tests.store.asks import ask, granted, limit, rotation, unexpected
from tests.store.conftest import OpenStore, Place

ONE = limit(1)
TURNS = rotation(2, ONE)
MANY = rotation(2, limit(100))


def key(name: str) -> Key:
    """As `asks.rotation` calls it."""
    return Key(name, Secret(name), f"fp-{name}", f"acc-{name}")


K0, K1 = key("k0"), key("k1")


async def acquire(store: Store, turns: Rotation = MANY) -> Grant | Refusal:
    answer = await store.acquire(ask(turns), unexpected)
    assert isinstance(answer, Grant | Refusal)
    return answer


async def ids(store: Store, count: int, turns: Rotation = MANY) -> list[str]:
    return [granted(await acquire(store, turns)).member.id for _ in range(count)]


async def rest(store: Store, *subjects: Subject) -> None:
    store.report(Report("r", tuple(Rest(one, 60 * SECOND_US, "invalid_key") for one in subjects)), (), lambda _: None)


async def fields(store: Store, names: Iterable[str]) -> set[str]:
    found = await store.inspect(list(names))
    return {name for name, text in found.fields.items() if text}


async def test_a_disabled_key_is_granted_by_no_replica_until_it_is_enabled(place: Place, open_store: OpenStore) -> None:
    one, other = open_store(place.open).store, open_store(place.open).store
    assert await ids(one, 2) == ["k0", "k1"]
    assert await one.disable(K0, "cli op@host")
    assert await ids(other, 3) + await ids(one, 2) == ["k1"] * 5
    assert await other.enable(K0, ["p"])
    assert sorted(await ids(one, 2)) == ["k0", "k1"]


async def test_a_disabled_key_stays_so_in_a_rotation_that_begins_later(store: Store) -> None:
    """As that of another model, of a changed config, or of a replica that starts."""
    await store.disable(K1, "op")
    assert await ids(store, 3, rotation(2, limit(9), model="later")) == ["k0"] * 3


async def test_of_keys_that_are_all_disabled_none_is_reserved(store: Store) -> None:
    await store.disable(K0, "op")
    await store.disable(K1, "op")
    refused = await store.acquire(ask(MANY, max_wait_s=3600), unexpected)
    assert not isinstance(refused, Grant)


async def test_a_reservation_of_a_key_that_is_disabled_meanwhile_is_withdrawn(store: Store) -> None:
    turns = rotation(1, limit(1, seconds=1))
    granted(await acquire(store, turns))
    reserved = granted(await store.acquire(ask(turns, max_wait_s=2), unexpected))
    await store.disable(K0, "op")

    async def confirmed() -> str:
        while True:
            answer = await store.confirm(reserved, ["p"], unexpected)
            if type(answer).__name__ != "NotYet":
                return type(answer).__name__

    assert await confirmed() == "Withdrawn"


async def test_who_disables_first_is_remembered(store: Store) -> None:
    assert await store.disable(K0, "first")
    assert not await store.disable(K0, "second")
    found = await store.inspect([off_field(K0.fingerprint)])
    text = found.fields[off_field(K0.fingerprint)]
    assert text is not None
    told = read_off(text)
    assert told.by == "first"
    assert 0 <= found.now_us - told.since_us < 60 * SECOND_US
    assert await store.enable(K0, ["p"])
    assert not await store.enable(K0, ["p"])


async def test_reset_forgets_the_rests_that_it_is_told_and_keeps_the_budget(store: Store) -> None:
    of_key, of_account = Subject("acc-k0", "fp-k0"), Subject("acc-k0", None, "m")
    granted(await acquire(store, TURNS))
    await rest(store, of_key, of_account)
    told = [rest_field(of_key), rest_field(of_account)]
    assert await store.reset(K0, told, ["p"]) == 2
    assert await fields(store, told) == set()
    assert await ids(store, 1, TURNS) == ["k1"]
    assert isinstance(await acquire(store, TURNS), Refusal)


async def test_reset_forgets_the_drift_of_the_key_and_of_no_other(store: Store) -> None:
    """An operator who has seen it wants to know whether it comes again."""
    grants = [granted(await acquire(store)) for _ in range(2)]
    counted = asyncio.Queue[int]()
    for grant in grants:
        event = Drifted("r", "p", grant.member.id, "m", "rate_limit_minute", (ONE,), None, "UTC", 0)
        store.drifted(grant.member.key, grant, event, counted.put_nowait)
    assert [await counted.get() for _ in grants] == [1, 1]
    assert await store.reset(K0, [], ["p"]) == 1
    _, kept = await store.drifts()
    assert list(kept) == [K1.fingerprint]
    assert await store.reset(K0, [], ["p"]) == 0


async def test_reset_with_its_windows_gives_a_spent_key_its_budget_again(store: Store) -> None:
    """Also in a rotation that has parked the key until its window would have room."""
    assert await ids(store, 2, TURNS) == ["k0", "k1"]
    assert isinstance(await acquire(store, TURNS), Refusal)
    assert await store.reset(K0, [window_field("acc-k0", ONE)], ["p"]) == 1
    assert await ids(store, 1, TURNS) == ["k0"]
    assert isinstance(await acquire(store, TURNS), Refusal)


@pytest.mark.parametrize("count", [0, 1, 2500])
async def test_reset_takes_any_number_of_fields(store: Store, count: int) -> None:
    told = [rest_field(Subject("acc-k0", None, f"m{n}")) for n in range(count)]
    for start in range(0, count, 500):
        await rest(store, *(Subject("acc-k0", None, f"m{n}") for n in range(start, min(count, start + 500))))
    assert await store.reset(K0, told, ["p"]) == count


async def test_a_key_is_disabled_by_its_secret_so_a_new_one_under_its_id_starts_enabled(store: Store) -> None:
    await store.disable(Key("k0", Secret("old"), "fp-old", "acc-k0"), "op")
    assert await ids(store, 2) == ["k0", "k1"]


async def seen(store: Store, *keys: Key) -> dict[str, str | None]:
    """What others did since the last look: who disabled a key; None: it was enabled."""
    found = await store.others_disabled([one.fingerprint for one in keys])
    return {name: told.by if told else None for name, told in found.items()}


async def test_what_others_do_is_seen_once_and_what_was_done_here_is_not(place: Place, open_store: OpenStore) -> None:
    one, other = open_store(place.open).store, open_store(place.open).store
    await one.disable(K0, "before")
    assert await seen(one, K0, K1) == await seen(other, K0, K1) == {}
    await one.disable(K1, "op")
    await other.enable(K0, ["p"])
    assert await seen(one, K0, K1) == {K0.fingerprint: None}
    assert await seen(other, K0, K1) == {K1.fingerprint: "op"}
    assert await seen(one, K0, K1) == await seen(other, K0, K1) == {}


async def test_a_key_that_a_reload_brings_is_no_news(store: Store, place: Place, open_store: OpenStore) -> None:
    await seen(store, K0)
    await open_store(place.open).store.disable(K1, "op")
    assert await seen(store, K0, K1) == {}


@pytest.mark.parametrize("looks", [True, False], ids=["a beat finds it", "a request finds it"])
async def test_a_disabled_key_stays_so_in_a_redis_that_was_emptied(
    place: Place, open_store: OpenStore, *, looks: bool
) -> None:
    """With all that was known of it; that it is so again is no news, and neither is it that Redis was emptied twice."""
    one, other = open_store(place.open), open_store(place.open)
    assert await ids(one.store, 2) == ["k0", "k1"]
    await one.store.disable(K0, "op")
    for witness in (one, other):
        await seen(witness.store, K0, K1)
    before = (await one.store.inspect([off_field(K0.fingerprint)])).fields
    for emptied in (1, 2):
        place.raw.flushall()
        if looks:
            assert await seen(other.store, K0, K1) == {}
        assert await ids(other.store, 2) == ["k1"] * 2
        assert await seen(one.store, K0, K1) == await seen(other.store, K0, K1) == {}
        assert await ids(one.store, 2) == ["k1"] * 2
        assert (await one.store.inspect(list(before))).fields == before
        assert (one.emptied, other.emptied) == (emptied, emptied)
    await one.store.enable(K0, ["p"])
    assert sorted(await ids(other.store, 2)) == ["k0", "k1"]


@pytest.mark.parametrize("looked", [True, False], ids=["seen", "not seen"])
@pytest.mark.parametrize("looks", [True, False], ids=["a beat finds it", "a request finds it"])
async def test_a_key_that_was_disabled_before_anything_else_stays_so_in_a_redis_that_was_emptied(
    place: Place, open_store: OpenStore, *, looked: bool, looks: bool
) -> None:
    """No rotation had begun the state; and Redis may be emptied before anybody has looked."""
    one = open_store(place.open)
    assert await seen(one.store, K0, K1) == {}
    await one.store.disable(K0, "op")
    if looked:
        assert await seen(one.store, K0, K1) == {}
    place.raw.flushall()
    if looks:
        assert await seen(one.store, K0, K1) == {}
    assert await ids(one.store, 2) == ["k1"] * 2
    assert await seen(one.store, K0, K1) == {}
    assert one.emptied == 1


async def test_what_another_enables_before_the_first_look_at_it_stays_enabled(
    place: Place, open_store: OpenStore
) -> None:
    one, other = open_store(place.open).store, open_store(place.open).store
    await one.disable(K0, "op")
    await other.enable(K0, ["p"])
    assert await seen(one, K0, K1) == {K0.fingerprint: None}
    assert await ids(one, 2) == ["k0", "k1"]


async def test_a_key_that_was_enabled_before_redis_was_emptied_stays_enabled(
    place: Place, open_store: OpenStore
) -> None:
    store = open_store(place.open).store
    await store.disable(K0, "op")
    await seen(store, K0, K1)
    await store.enable(K0, ["p"])
    place.raw.flushall()
    assert await seen(store, K0, K1) == {}
    assert await ids(store, 2) == ["k0", "k1"]
