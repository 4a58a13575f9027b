"""Keys of one account: what bears on one bears on all, and they take turns all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import LEASE_US, SECOND_US, Limit, Strategy
from sidecar.model.words import Grant, Refusal, Rotation
from sidecar.store import calls, upkeep
from sidecar.store.names import Names
from tests.store.asks import ask, limit, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
EVERY = pytest.mark.parametrize("strategy", ["round_robin", "weighted", "priority", "least_used"])
ROTATING = pytest.mark.parametrize("strategy", ["round_robin", "weighted", "priority"])


def served(place: Place, *limits: Limit, strategy: Strategy, every_us: int, times: int, lasts: int = 0) -> str:
    """Which of four keys were granted, by their last letters, by an ask at each of so many moments.

    `lasts`: how many asks later a request is over.
    """
    turns = rotation(4, *limits, account="acme", strategy=strategy)
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    asked, letters, running = ask(turns), "", list[Grant | None]()
    for step in range(times):
        now = NOW + step * every_us
        if len(running) > lasts and (over := running[-1 - lasts]) is not None:
            run(place.raw, calls.settle(NAMES, over, over.amounts, over.amounts, ["p"], now, str(now)))
        answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, now, str(now))))
        assert isinstance(answer, Grant | Refusal)
        running.append(answer if isinstance(answer, Grant) else None)
        letters += answer.member.id[-1] if isinstance(answer, Grant) else ""
    return letters


@ROTATING
def test_they_take_turns_where_one_at_a_time_has_room(place: Place, strategy: Strategy) -> None:
    got = served(place, limit(1, 1), strategy=strategy, every_us=150_000, times=70)
    assert got == "0123" * 2 + "01"


@ROTATING
@pytest.mark.parametrize("most", [2, 3, 4, 5, 6, 7])
def test_they_take_turns_where_some_have_room_at_once(place: Place, strategy: Strategy, most: int) -> None:
    """Whoever was left out in a window comes first in the next."""
    got = served(place, limit(most, 1), strategy=strategy, every_us=105_000, times=100)
    assert len(got) == 10 * most
    assert got == ("0123" * len(got))[: len(got)]


@ROTATING
def test_they_take_turns_at_places_in_flight(place: Place, strategy: Strategy) -> None:
    got = served(
        place,
        Limit("concurrency", 1, LEASE_US, LEASE_US),
        strategy=strategy,
        every_us=SECOND_US // 2,
        times=24,
        lasts=2,
    )
    assert got == "01230123"


def test_they_take_turns_also_where_other_accounts_are_served_in_between(place: Place) -> None:
    turns = rotation(4, limit(1, 1), account="acme")
    others = tuple(replace(one, account=f"acc-{one.id}") for one in turns.members[2:])
    turns = replace(turns, members=(*turns.members[:2], *others), digest="mixed")
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    asked, letters = ask(turns), ""
    for step in range(60):
        now = NOW + step * 110_000
        answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, now, str(now))))
        letters += answer.member.id[-1] if isinstance(answer, Grant) else ""
    assert [letters.count(of) for of in "0123"] == [3, 3, 6, 6]


def reserved(place: Place, turns: Rotation, times: int) -> str:
    """The keys, by their last letters, of so many asks of one moment that may wait."""
    asked, letters = ask(turns, max_wait_s=600), ""
    for _ in range(times):
        answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, NOW, str(NOW))))
        assert isinstance(answer, Grant)
        letters += answer.member.id[-1]
    return letters


@EVERY
def test_who_waits_is_given_them_in_turn(place: Place, strategy: Strategy) -> None:
    turns = rotation(4, limit(1, 10), account="acme", strategy=strategy)
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    assert reserved(place, turns, 16) == "0123" * 4


@EVERY
def test_who_waits_is_given_keys_in_turn_that_have_room_at_one_moment(place: Place, strategy: Strategy) -> None:
    """Each of the sixtieths in which a burst was granted frees many at once."""
    turns = rotation(3, limit(100, 60), strategy=strategy)
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    reserved(place, turns, 300)
    assert reserved(place, turns, 12) == "012" * 4


def test_who_waits_is_given_the_lowest_priority_that_has_room_at_the_moment(place: Place) -> None:
    turns = rotation(3, limit(100, 60), strategy="priority")
    members = tuple(replace(one, priority=2 - one.order) for one in turns.members)
    turns = replace(turns, members=members, digest="other")
    run(place.raw, upkeep.register(NAMES, turns, str(NOW)))
    reserved(place, turns, 300)
    assert reserved(place, turns, 12) == "2" * 12
