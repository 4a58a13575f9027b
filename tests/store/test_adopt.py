"""What an account has spent, and that it rests, is known under the name that a reload gives it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import LEASE_US, SECOND_US, Limit
from sidecar.model.words import Amounts, Ask, Confirmed, Exhausted, Grant, Refusal, Report, Rest, Rotation, Subject
from sidecar.store.commands import Store
from tests.store.asks import ask, granted, limit, rotation, unexpected
from tests.store.conftest import OpenStore, Place

TEN = limit(10)
COARSE = limit(100)


def renamed(turns: Rotation, **accounts: str) -> Rotation:
    """The rotation of a config that gives these keys another account."""
    members = tuple(replace(one, account=accounts.get(one.id, one.account)) for one in turns.members)
    return replace(turns, members=members, digest=f"{turns.digest}-{'-'.join(accounts.values())}")


def tokens(maximum: int) -> Limit:
    return Limit("tokens", maximum, 60 * SECOND_US, 0)


def of(count: int) -> Amounts:
    return 1, count, count, 0, count, count


async def acquire(store: Store, turns: Rotation) -> Grant | Refusal | Exhausted:
    return await store.acquire(ask(turns), unexpected)


async def spend(store: Store, turns: Rotation, count: int) -> None:
    for _ in range(count):
        granted(await acquire(store, turns))


async def left(store: Store, turns: Rotation) -> int:
    """How many more grants there are."""
    count = 0
    while isinstance(await acquire(store, turns), Grant):
        count += 1
    return count


def adopt(store: Store, turns: Rotation) -> None:
    """A replica with the config of this rotation starts, or reloads."""
    store.follow(accounts(turns))
    store.adopt()


def accounts(turns: Rotation) -> dict[str, str]:
    return {member.key: member.account for member in turns.members}


@pytest.mark.parametrize("budget", [TEN, COARSE], ids=["exact", "rounded"])
async def test_what_was_spent_counts_under_the_new_name(store: Store, budget: Limit) -> None:
    turns = rotation(1, budget)
    after = renamed(turns, k0="=acme")
    adopt(store, turns)
    await spend(store, turns, 7)
    adopt(store, after)
    assert await left(store, after) == budget.max - 7


async def test_config_that_was_changed_while_nobody_ran_counts_on(place: Place, open_store: OpenStore) -> None:
    """Its first grant under the new name knows what was spent."""
    turns = rotation(1, TEN)
    after = renamed(turns, k0="=acme")
    first = open_store(place.open).store
    first.follow(accounts(turns))
    await spend(first, turns, 6)
    second = open_store(place.open).store
    second.follow(accounts(after))
    assert await left(second, after) == 4


async def test_whose_a_key_is_is_told_again_to_a_store_that_was_emptied(place: Place, open_store: OpenStore) -> None:
    turns = rotation(1, TEN)
    after = renamed(turns, k0="=acme")
    first = open_store(place.open).store
    first.follow(accounts(turns))
    await spend(first, turns, 6)
    place.raw.flushall()
    await spend(first, turns, 7)
    second = open_store(place.open).store
    second.follow(accounts(after))
    assert await left(second, after) == 3


@pytest.mark.parametrize("budget", [TEN, COARSE], ids=["exact", "rounded"])
async def test_keys_that_join_one_account_have_spent_what_both_had(store: Store, budget: Limit) -> None:
    turns = rotation(2, budget)
    after = renamed(turns, k0="=acme", k1="=acme")
    adopt(store, turns)
    await spend(store, turns, 7)
    adopt(store, after)
    adopt(store, after)  # another replica reloads: nothing is left to add
    assert await left(store, after) == budget.max - 7


async def test_replicas_that_have_not_reloaded_yet_spend_the_same_budget(store: Store) -> None:
    turns = rotation(1, TEN)
    after = renamed(turns, k0="=acme")
    adopt(store, turns)
    await spend(store, turns, 3)
    adopt(store, after)
    await spend(store, after, 2)
    await spend(store, turns, 1)
    adopt(store, after)
    await spend(store, turns, 1)
    assert await left(store, after) == 3
    assert await left(store, turns) == 0


async def test_keys_that_have_joined_share_a_budget_for_those_too_who_do_not_know_it(store: Store) -> None:
    turns = rotation(2, TEN)
    adopt(store, turns)
    adopt(store, renamed(turns, k0="=acme", k1="=acme"))
    assert await left(store, turns) == 10


async def test_a_name_leads_to_the_last_of_several_and_back_to_itself(store: Store) -> None:
    turns = rotation(1, TEN)
    acme, corp = renamed(turns, k0="=acme"), renamed(turns, k0="=corp")
    adopt(store, turns)
    await spend(store, turns, 4)
    adopt(store, acme)
    adopt(store, corp)
    await spend(store, turns, 1)
    await spend(store, acme, 1)
    adopt(store, turns)
    assert await left(store, turns) == 4
    assert await left(store, corp) == 0


async def test_a_name_that_another_key_is_given_stands_for_itself(store: Store) -> None:
    """It stood for the account of the key that had it before."""
    turns = rotation(2, TEN)
    first = renamed(turns, k0="=acme")
    adopt(store, first)
    adopt(store, renamed(turns, k0="=corp"))
    second = renamed(turns, k0="=corp", k1="=acme")
    adopt(store, second)
    assert await left(store, second) == 20


async def test_keys_that_change_places_take_along_what_each_has_spent(store: Store) -> None:
    before = renamed(rotation(2, TEN), k0="=acme", k1="=corp")
    after = renamed(before, k0="=corp", k1="=acme")
    adopt(store, before)
    for _ in range(4):
        granted(await store.acquire(ask(before, tried=[(0, "k1")]), unexpected))
    adopt(store, after)
    assert await left(store, replace(after, members=after.members[:1], digest="k0")) == 6
    assert await left(store, replace(after, members=after.members[1:], digest="k1")) == 10


async def test_who_waits_under_the_old_name_hears_of_what_ends_under_the_new(store: Store) -> None:
    """And its rotation, whose key was parked until the end of the lease, looks at it at once."""
    turns = rotation(2, Limit("concurrency", 1, LEASE_US, 0))
    after = renamed(turns, k0="=acme")
    adopt(store, turns)
    first = granted(await acquire(store, turns))
    granted(await acquire(store, turns))
    assert isinstance(await acquire(store, turns), Refusal)
    adopt(store, after)
    store.settle(replace(first, rotation=after, member=after.members[0]), first.amounts, first.amounts, ("p",))
    assert granted(await acquire(store, turns)).member.id == "k0"


async def test_what_was_granted_under_the_old_name_is_given_back_settled_and_rests(store: Store) -> None:
    """Requests end with the config that they began with."""
    turns = rotation(1, tokens(100))
    after = renamed(turns, k0="=acme")
    adopt(store, turns)
    large, other = [granted(await store.acquire(Ask((turns,), (0,), amounts=of(40)), unexpected)) for _ in range(2)]
    adopt(store, after)
    assert isinstance(await store.acquire(Ask((after,), (0,), amounts=of(40)), unexpected), Refusal)
    store.settle(large, of(10), of(10), ("p",))
    confirmed = await store.confirm(other, ("p",), lambda _: None)
    assert isinstance(confirmed, Confirmed)
    store.release(replace(other, moment_us=confirmed.moment_us), ("p",))
    await store.inspect(())
    again = granted(await store.acquire(Ask((after,), (0,), amounts=of(90)), unexpected))
    rest = Rest(Subject("acc-k0"), 600 * SECOND_US, "rate_limit_day")
    store.report(Report("r", (rest,), moment_us=large.moment_us), ("p",), lambda _: None)
    store.release(again, ("p",))
    await store.inspect(())
    refused = await acquire(store, after)
    assert isinstance(refused, Refusal)
    assert refused.wait_us > 590 * SECOND_US


async def test_a_request_in_flight_under_the_old_name_keeps_its_place(store: Store) -> None:
    turns = rotation(1, Limit("concurrency", 1, LEASE_US, 0))
    after = renamed(turns, k0="=acme")
    adopt(store, turns)
    running = granted(await acquire(store, turns))
    adopt(store, after)
    store.renew([running])
    assert isinstance(await acquire(store, after), Refusal)
    store.settle(running, running.amounts, running.amounts, ("p",))
    granted(await acquire(store, after))


@pytest.mark.parametrize("replicas", [1, 3])
async def test_a_key_that_leaves_others_takes_a_copy_however_many_reload(store: Store, replicas: int) -> None:
    """Nobody knows which of them spent it, so it counts for both, and for each once."""
    turns = renamed(rotation(2, COARSE), k0="=acme", k1="=acme")
    apart = renamed(turns, k1="acc-k1")
    adopt(store, turns)
    await spend(store, turns, 7)
    for _ in range(replicas):
        adopt(store, apart)
    assert await left(store, apart) == 2 * (COARSE.max - 7)


async def test_an_account_that_falls_apart_leaves_each_key_what_it_had_spent(store: Store) -> None:
    turns = renamed(rotation(2, TEN), k0="=acme", k1="=acme")
    adopt(store, turns)
    await spend(store, turns, 7)
    adopt(store, rotation(2, TEN))
    assert await left(store, rotation(2, TEN)) == 6


async def test_requests_in_flight_go_along(store: Store) -> None:
    turns = rotation(2, Limit("concurrency", 3, LEASE_US, 0))
    after = renamed(turns, k0="=acme", k1="=acme")
    adopt(store, turns)
    await spend(store, turns, 2)
    adopt(store, after)
    assert await left(store, after) == 1


@pytest.mark.parametrize("model", [None, "m"])
@pytest.mark.parametrize("names", [("acc-k0", "=acme"), ("=acme", "acc-k0")])
async def test_an_account_rests_on_under_its_new_name_and_the_longer_rest_stays(
    store: Store, names: tuple[str, str], model: str | None
) -> None:
    old, new = names
    adopt(store, renamed(rotation(1, TEN), k0=old))
    for account, seconds in ((old, 600), (new, 60)):
        rest = Rest(Subject(account, None, model), seconds * SECOND_US, "rate_limit_day")
        store.report(Report("r", (rest,)), (), lambda _: None)
    after = renamed(rotation(1, TEN), k0=new)
    adopt(store, after)
    refused = await acquire(store, after)
    assert isinstance(refused, Refusal)
    assert 590 * SECOND_US < refused.wait_us <= 600 * SECOND_US
