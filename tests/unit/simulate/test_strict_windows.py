"""The strict provider's counts of tokens, calendars and requests in flight, by hand and against a plain count."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sidecar.simulate.budgets import SECOND_NS, Arrival, Budget, budget
from sidecar.simulate.ledger import Ledger, Violation

HOUR_NS = 3600 * SECOND_NS


def arrive(ledger: Ledger, at_ns: int, tokens: tuple[int, int, int] = (0, 0, 0), **fields: Any) -> Violation | None:
    read, written, cached = tokens
    given = {"key": "key", "account": "acme", "model": "m"} | fields
    arrival = Arrival(at_ns, "POST", "/", input=read, output=written, cached=cached, **given)
    ledger.begin(arrival)
    return ledger.enter(arrival)


def moment(zone: str, *parts: int) -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_NS  # type: ignore[arg-type, misc]


# --- tokens -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "cached", "held"),
    [
        ("tokens", True, 140),
        ("input_tokens", True, 120),
        ("output_tokens", True, 20),
        ("tokens", False, 80),
        ("input_tokens", False, 60),
        ("requests", True, 2),
    ],
)
def test_each_unit_counts_its_part(unit: Any, cached: bool, held: int) -> None:
    """With or without what came from the cache."""
    one = Budget(10_000, 60, unit=unit, cached=cached)
    ledger = Ledger([one])
    arrive(ledger, 0, (60, 10, 30))
    arrive(ledger, SECOND_NS, (60, 10, 30))
    assert ledger.worst("acme") == {one: held}


def test_tokens_have_room_again_when_enough_have_left_the_window() -> None:
    """60 at 0 s, 30 at 10 s, and 50 at 20 s are too many of 100; with them counted, 50 fit once the first two left."""
    ledger = Ledger([Budget(100, 60, unit="tokens")])
    assert arrive(ledger, 0, (50, 10, 0)) is None
    assert arrive(ledger, 10 * SECOND_NS, (30, 0, 0)) is None
    broken = arrive(ledger, 20 * SECOND_NS, (50, 0, 0))
    assert broken
    assert (broken.held, broken.retry_ns) == (140, 50 * SECOND_NS)
    assert [(peak.held, peak.overrun) for peak in ledger.peaks()] == [(140, 40)]


def test_a_call_without_tokens_breaks_no_token_budget() -> None:
    ledger = Ledger([Budget(10, 60, unit="tokens")])
    assert arrive(ledger, 0, (11, 0, 0))
    assert arrive(ledger, 1) is None


def test_several_budgets_hold_at_once_each_for_its_model_and_account() -> None:
    pro, all_, own = Budget(1, 60, "pro*"), Budget(50, 60, unit="tokens"), Budget(1, 60, account="other")
    ledger = Ledger([pro, all_, own])
    assert arrive(ledger, 0, (20, 0, 0), model="pro-1") is None
    assert arrive(ledger, 1, (20, 0, 0), model="flash") is None
    broken = arrive(ledger, 2, (20, 0, 0), model="pro-2")
    assert {found.budget for found in ledger.violations} == {pro, all_}
    assert broken
    assert arrive(ledger, 3, account="other") is None
    assert arrive(ledger, 4, account="other")
    assert ledger.worst("acme") == {pro: 2, all_: 60}


def test_the_live_count_and_the_recount_agree_with_a_plain_count() -> None:
    """Over random histories of several units, in any order of arrival; the plain count opens a window at each."""
    draw = random.Random(11)
    for _ in range(200):
        one = Budget(draw.randint(1, 60), draw.choice([0.5, 1, 2.5]), unit=draw.choice(["tokens", "input_tokens"]))
        ledger = Ledger([one])
        for _ in range(draw.randint(1, 25)):
            arrive(ledger, draw.randrange(40) * SECOND_NS // 4, (draw.randint(1, 20), draw.randint(0, 20), 0))
        told = [(arrival.at_ns, one.amount(arrival)) for arrival in ledger.arrivals]
        plain = max(sum(count for at, count in told if start <= at < start + one.window_ns) for start, _ in told)
        assert ledger.worst("acme") == {one: plain}
        assert max((found.held for found in ledger.violations), default=0) == (plain if plain > one.max else 0)


# --- calendars --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("UTC", (2026, 3, 8), 24),
        ("America/Los_Angeles", (2026, 3, 8), 23),
        ("America/Los_Angeles", (2026, 11, 1), 25),
        ("Asia/Kolkata", (2026, 3, 8), 24),
        ("America/Havana", (2026, 3, 8), 23),
        ("Africa/Cairo", (2026, 4, 24), 23),
    ],
)
def test_a_day_is_as_long_as_its_zone_says(zone: str, day: tuple[int, int, int], hours: int) -> None:
    """Also where it begins at one o'clock, there being no midnight."""
    begin = moment(zone, *day)
    ledger = Ledger([Budget(2, calendar="day", zone=zone)])
    assert arrive(ledger, begin - 1) is None
    assert arrive(ledger, begin) is None
    assert arrive(ledger, begin + hours * HOUR_NS - 1) is None
    broken = arrive(ledger, begin + HOUR_NS)
    assert broken
    assert broken.retry_ns == (hours - 1) * HOUR_NS
    assert arrive(ledger, begin + hours * HOUR_NS) is None
    assert [peak.held for peak in ledger.excess()] == [3]


@pytest.mark.parametrize("month", [1, 2, 4, 12])
def test_a_month_ends_at_the_midnight_of_the_first(month: int) -> None:
    zone = "Europe/Berlin"
    end = moment(zone, 2026 + month // 12, month % 12 + 1, 1)
    ledger = Ledger([Budget(100, calendar="month", zone=zone, unit="tokens")])
    assert arrive(ledger, moment(zone, 2026, month, 1), (90, 0, 0)) is None
    broken = arrive(ledger, end - SECOND_NS, (20, 0, 0))
    assert broken
    assert broken.retry_ns == SECOND_NS
    assert arrive(ledger, end, (100, 0, 0)) is None


def test_a_monotonic_clock_is_dated_by_its_epoch() -> None:
    ledger = Ledger([Budget(1, calendar="day")], epoch_ns=moment("UTC", 2026, 5, 5) - 7)
    assert arrive(ledger, 6) is None
    assert arrive(ledger, 7) is None
    assert arrive(ledger, 8)
    assert [peak.held for peak in ledger.excess()] == [2]


# --- in flight --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per", "third"), [("account", True), ("key", False)])
def test_concurrency_counts_what_has_not_left_for_an_account_or_each_key(per: Any, third: bool) -> None:
    one = Budget(2, unit="concurrency", per=per)
    ledger = Ledger([one])
    arrive(ledger, 0, key="a")
    arrive(ledger, 0, key="a")
    assert (arrive(ledger, 0, key="b") is not None) == third
    assert arrive(ledger, 0, account="other", key="c") is None
    assert ledger.most_in_flight() == 4
    assert ledger.worst("acme") == {one: 3 if third else 2}


def test_who_left_makes_room_and_leaving_twice_makes_no_more() -> None:
    ledger = Ledger([Budget(1, unit="concurrency")])
    for at in (0, 1):
        assert arrive(ledger, at) is None
        ledger.end(ledger.arrivals[at])
        ledger.end(ledger.arrivals[at])
    assert arrive(ledger, 2) is None
    assert arrive(ledger, 3)
    assert ledger.most_in_flight("acme") == 2


def test_who_left_before_the_body_was_read_takes_no_room() -> None:
    ledger = Ledger([Budget(1, unit="concurrency")])
    lost = Arrival(0, "POST", "/", "key", "acme", "m")
    ledger.begin(lost)
    ledger.end(lost)
    assert ledger.enter(lost) is None
    assert arrive(ledger, 1) is None


@pytest.mark.parametrize(
    "given",
    [
        {"max": 1},
        {"max": 1, "window_s": 60, "calendar": "day"},
        {"max": 1, "calendar": "week"},
        {"max": 1, "window_s": 60, "unit": "token"},
        {"max": 1, "window_s": 60, "unit": "concurrency"},
        {"max": 1, "window_s": 60, "per": "pool"},
        {"max": 0, "unit": "concurrency"},
    ],
)
def test_what_is_no_budget_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Budget"):
        budget(given)
