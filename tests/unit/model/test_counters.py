"""A calendar's window counts from midnight to midnight, on both sides of one that is near, and never too little."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import counters
from sidecar.model.configured import SECOND_US, Calendar, Limit

HOUR_US = 3600 * SECOND_US
GUARD_US = 10 * SECOND_US


def moment(text: str, zone: str = "UTC") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_US


def limit(maximum: int = 3, zone: str = "UTC", period: str = "day") -> Limit:
    return Limit("requests", maximum, 0, GUARD_US, "", Calendar(period, zone))  # type: ignore[arg-type]


NOON = moment("2026-06-15T12:00")
MIDNIGHT = moment("2026-06-16T00:00")


def test_room_is_back_a_guard_after_midnight() -> None:
    """Not at midnight: the provider's clock may be as much behind."""
    counts = counters.enter(limit(1), (), NOON, NOON, 1)
    assert counters.free_at(limit(1), counts, NOON, 1, NOON) == MIDNIGHT + GUARD_US
    assert counters.free_at(limit(2), counts, NOON, 1, NOON) == NOON
    assert counters.free_at(limit(2), counts, NOON, 2, NOON) == MIDNIGHT + GUARD_US


@pytest.mark.parametrize("aside_us", [-GUARD_US, -1, 0, GUARD_US - 1])
def test_grant_near_midnight_counts_on_both_sides(aside_us: int) -> None:
    """It may reach the provider on either."""
    counts = counters.enter(limit(), (), MIDNIGHT + aside_us, MIDNIGHT + aside_us, 1)
    assert [count for _, count in counts] == [1, 1]
    assert counters.leave(limit(), counts, MIDNIGHT + aside_us, MIDNIGHT, 1) == ((), True)


@pytest.mark.parametrize("aside_us", [-GUARD_US - 1, GUARD_US])
def test_grant_further_from_midnight_counts_once(aside_us: int) -> None:
    assert len(counters.enter(limit(), (), MIDNIGHT + aside_us, MIDNIGHT + aside_us, 1)) == 1


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("America/Los_Angeles", "2026-03-08", 23), ("America/Los_Angeles", "2026-11-01", 25), ("UTC", "2026-03-08", 24)],
)
def test_day_is_as_long_as_the_zones_clock_makes_it(zone: str, day: str, hours: int) -> None:
    """What was spent at its first second is back when it is over, not a day of 24 hours later."""
    one, began = limit(1, zone), moment(f"{day}T00:00", zone) + 2 * GUARD_US
    counts = counters.enter(one, (), began, began, 1)
    assert counters.free_at(one, counts, began, 1, began) == moment(f"{day}T00:00", zone) + hours * HOUR_US + GUARD_US


def test_month_ends_with_its_last_day() -> None:
    one, now = limit(1, period="month"), moment("2028-02-03T12:00")
    counts = counters.enter(one, (), now, now, 1)
    assert counters.free_at(one, counts, now, 1, now) == moment("2028-03-01T00:00") + GUARD_US


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 30 * 3600), st.integers(1, 3), st.booleans()), min_size=1, max_size=40),
)
def test_no_day_holds_more_than_the_maximum(maximum: int, steps: list[tuple[int, int, bool]]) -> None:
    """Wherever in its guard a grant arrives: by a provider's own count of whatever may have reached it that day."""
    one, now = limit(maximum), NOON
    counts: counters.Counts = ()
    sent: list[tuple[int, int]] = []
    for gap_s, amount, wait in steps:
        now += gap_s * SECOND_US
        if amount > maximum:
            continue
        at = counters.free_at(one, counts, now, amount, now)
        if at > now + wait * 24 * HOUR_US:  # nobody waits for longer, and further boundaries are not told
            continue
        counts = counters.enter(one, counts, at, now, amount)
        sent.append((at, amount))
    first = moment("2026-06-15T00:00")
    for day in range(first, max((at for at, _ in sent), default=first) + 24 * HOUR_US, 24 * HOUR_US):
        end = day + 24 * HOUR_US
        assert sum(amount for at, amount in sent if day - GUARD_US <= at < end + GUARD_US) <= maximum


def test_counts_of_periods_that_are_over_are_forgotten() -> None:
    counts = counters.enter(limit(), (), NOON, NOON, 1)
    later = NOON + 72 * HOUR_US
    assert counters.enter(limit(), counts, later, later, 1) == ((moment("2026-06-18T00:00"), 1),)


def test_count_from_another_beginning_belongs_to_the_period_it_lies_in() -> None:
    """A replica with another edition of the time zones counted from an hour later: that is not forgotten."""
    counts = ((moment("2026-06-15T01:00"), 3),)
    assert counters.free_at(limit(), counts, NOON, 1, NOON) == MIDNIGHT + GUARD_US
    assert counters.used(limit(), counts, NOON) == 3
    assert counters.enter(limit(9), counts, NOON, NOON, 1) == ((moment("2026-06-15T01:00"), 4),)


def test_what_is_not_there_is_not_given_back() -> None:
    assert counters.leave(limit(), (), NOON, NOON, 1) == ((), False)


def test_text_of_redis_is_read() -> None:
    assert counters.read("".join(f"{number:016}" for number in (MIDNIGHT, 17))) == ((MIDNIGHT, 17),)
    assert counters.read("") == ()
