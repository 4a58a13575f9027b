"""Keys of one account: what bears on one bears on all, and they take turns all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sidecar.model.configured import LEASE_US, SECOND_US, Limit, Strategy
from sidecar.model.words import Grant, Refusal
from sidecar.store import calls
from sidecar.store.names import Names
from tests.store.asks import ask, limit, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
ROTATING = pytest.mark.parametrize("strategy", ["round_robin", "weighted", "priority"])


def served(place: Place, *limits: Limit, strategy: Strategy, every_us: int, times: int, lasts: int = 0) -> str:
    """Which of four keys were granted, by their last letters, by an ask at each of so many moments.

    `lasts`: how many asks later a request is over.
    """
    turns = rotation(4, *limits, account="acme", strategy=strategy)
    run(place.raw, calls.register(NAMES, turns, str(NOW)))
    asked, letters, running = ask(turns), "", list[Grant | None]()
    for step in range(times):
        now = NOW + step * every_us
        if len(running) > lasts and (over := running[-1 - lasts]) is not None:
            run(place.raw, calls.settle(NAMES, over, over.amounts, ["p"], now, str(now)))
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
def test_they_take_turns_where_some_have_room_at_once(place: Place, strategy: Strategy) -> None:
    """Three of four a window; whoever was left out comes first in the next."""
    got = served(place, limit(3, 1), strategy=strategy, every_us=150_000, times=70)
    assert got[:8] == "01230123"
    assert max(map(got.count, "0123")) - min(map(got.count, "0123")) <= 1


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
    run(place.raw, calls.register(NAMES, turns, str(NOW)))
    asked, letters = ask(turns), ""
    for step in range(60):
        now = NOW + step * 110_000
        answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, now, str(now))))
        letters += answer.member.id[-1] if isinstance(answer, Grant) else ""
    assert [letters.count(of) for of in "0123"] == [3, 3, 6, 6]
