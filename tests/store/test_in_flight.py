"""Who is counted as in flight: who runs, once, and nobody in somebody else's name."""

from __future__ import annotations

from dataclasses import replace

from sidecar.model.configured import LEASE_US, SECOND_US, Limit
from sidecar.model.words import Confirmed, Grant, Withdrawn
from sidecar.store import calls, upkeep
from sidecar.store.names import Names
from tests.store.asks import ask, rotation, run
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
TURNS = rotation(1, Limit("requests", 2, 3 * SECOND_US, 300_000), Limit("concurrency", 1, LEASE_US, LEASE_US))


def acquire(place: Place, now: int, max_wait_s: float = 0) -> Grant:
    asked = ask(TURNS, max_wait_s=max_wait_s)
    answer = calls.read_acquire(asked, run(place.raw, calls.acquire(NAMES, asked, now, str(now))))
    assert isinstance(answer, Grant), answer
    return answer


def confirm(place: Place, grant: Grant) -> Confirmed | Withdrawn:
    at = grant.moment_us
    answer = calls.read_confirm(run(place.raw, calls.confirm(NAMES, grant, ["p"], at, str(at))))
    assert isinstance(answer, Confirmed | Withdrawn)
    return answer


def over(place: Place, grant: Grant, now: int) -> None:
    run(place.raw, calls.settle(NAMES, grant, grant.amounts, grant.amounts, ["p"], now, str(now)))


def two_of_one_moment(place: Place) -> tuple[Grant, Grant]:
    """Two are spent, two wait, the first of them goes, and who comes then is given the moment of the second."""
    run(place.raw, upkeep.register(NAMES, TURNS, str(NOW)))
    for second in range(2):
        over(place, acquire(place, NOW + second * SECOND_US), NOW + second * SECOND_US)
    now = NOW + 2 * SECOND_US
    first, second_one = acquire(place, now, max_wait_s=9), acquire(place, now, max_wait_s=9)
    run(place.raw, calls.release(NAMES, first, ["p"], now, str(now)))
    third = acquire(place, now, max_wait_s=9)
    assert third.moment_us == second_one.moment_us
    return second_one, third


def test_of_two_reservations_of_one_moment_one_runs(place: Place) -> None:
    one, other = two_of_one_moment(place)
    assert isinstance(confirm(place, one), Confirmed)
    assert confirm(place, other) == Withdrawn()


def test_a_reservation_that_is_given_back_leaves_who_runs_in_its_place(place: Place) -> None:
    one, other = two_of_one_moment(place)
    assert isinstance(confirm(place, one), Confirmed)
    now = other.moment_us
    run(place.raw, calls.release(NAMES, other, ["p"], now, str(now)))
    runs = replace(one, runs=True)
    asked = ask(TURNS)
    reply = run(place.raw, calls.acquire(NAMES, asked, now, str(now)))
    assert not isinstance(calls.read_acquire(asked, reply), Grant)
    over(place, runs, now)
    later = now + 4 * SECOND_US
    assert acquire(place, later).member.id == "k0"
