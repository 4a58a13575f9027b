"""How long an account rests: what the answer names, else the zone's midnight, the month's end, or the pool's own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pytest

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import SECOND_US, Cooldowns, Override
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Member, Rest, Subject
from sidecar.pool import resting
from tests.unit.pool.configs import pool, provider

MEMBER = Member(0, 1, 0, "k0", "fp", "acc", 0)
COOLDOWNS = Cooldowns(default_us=7 * SECOND_US, max_us=70 * SECOND_US)
LOS_ANGELES = "America/Los_Angeles"
NOW_US = 1_767_225_600 * SECOND_US  # 2026-01-01 00:00 UTC


def at(text: str, zone: str) -> int:
    """The moment of a wall clock's text; an offset in it tells which of two equal times is meant."""
    when = datetime.fromisoformat(text)
    return round((when if when.tzinfo else when.replace(tzinfo=ZoneInfo(zone))).timestamp()) * SECOND_US


def rest(
    kind: Class,
    scope: Scope = Scope.KEY,
    delay_s: float | None = None,
    until: Literal["midnight", "month"] | None = None,
    now_us: int = NOW_US,
    zone: str = "UTC",
    bare: bool = False,
) -> Rest | None:
    outcome = Outcome(kind, scope, other=True, delay_s=delay_s, until=until, bare=bare)
    of = pool(of=replace(provider(), zone=zone), cooldowns=COOLDOWNS)
    return resting.rest(outcome, MEMBER, "m", of, now_us)


RESTING = sorted(set(Class) - {Class.OK, Class.BLOCKED, Class.INVALID_KEY, Class.PERMISSION})


@pytest.mark.parametrize("kind", RESTING)
def test_account_rests_for_all_models_or_for_this_one(kind: Class) -> None:
    for scope, model in ((Scope.KEY, None), (Scope.KEY_MODEL, "m")):
        found = rest(kind, scope, delay_s=100)
        assert found == Rest(Subject("acc", None, model), 100 * SECOND_US, kind, proved=True)


@pytest.mark.parametrize("scope", [Scope.PROVIDER, Scope.REQUEST])
@pytest.mark.parametrize("kind", list(Class))
def test_nothing_rests_for_a_fault_of_provider_or_request(kind: Class, scope: Scope) -> None:
    assert rest(kind, scope, delay_s=5) is None


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("kind", [Class.OK, Class.BLOCKED])
def test_answers_rest_nothing_whatever_their_scope(kind: Class, scope: Scope) -> None:
    assert rest(kind, scope, delay_s=5) is None


@pytest.mark.parametrize("kind", [Class.INVALID_KEY, Class.PERMISSION])
def test_refusals_are_left_to_blame(kind: Class) -> None:
    assert rest(kind, delay_s=5) is None


def test_refusal_is_of_the_key_and_the_rest_of_its_account() -> None:
    outcome = Outcome(Class.PERMISSION, Scope.KEY_MODEL, other=True)
    assert resting.subject(outcome, MEMBER, "m", of_key=True) == Subject("acc", "fp", "m")
    assert resting.subject(outcome, MEMBER, "m", of_key=False) == Subject("acc", None, "m")


@pytest.mark.parametrize(
    ("kind", "delay_s", "expected_s"),
    [
        (Class.RATE_LIMIT_MINUTE, None, 7),
        (Class.RATE_LIMIT_TOKENS, None, 7),
        (Class.RATE_LIMIT_DAY, None, 7),
        (Class.BILLING, None, 70),
        (Class.RATE_LIMIT_MINUTE, 0.174, 0.174),
        (Class.RATE_LIMIT_DAY, 579, 579),
        (Class.RATE_LIMIT_MINUTE, 100_000, 100_000),  # longer than max: the answer knows better
        (Class.BILLING, 100_000, 100_000),
        (Class.RATE_LIMIT_MINUTE, 0, 0.000001),  # a rest of nothing would be no rest
    ],
)
def test_delay_is_what_the_answer_names_else_the_pools(kind: Class, delay_s: float | None, expected_s: float) -> None:
    found = rest(kind, delay_s=delay_s)
    assert found is not None
    assert found.delay_us == round(expected_s * SECOND_US)


@pytest.mark.parametrize(
    ("said_s", "named_s", "expected_s"), [(None, 5, 70), (30.0, 30, 30), (30.0, 50, 50), (30.0, 5, 30), (90.0, 90, 90)]
)
def test_money_is_not_back_before_the_pool_says_so_whatever_an_answer_names(
    said_s: float | None, named_s: float, expected_s: int
) -> None:
    """By `cooldown.max`, or by the delay of its `outcomes:`."""
    unpaid = Override(Class.BILLING, Scope.KEY, other=True, delay_s=said_s)
    of = pool(of=replace(provider(), overrides=(unpaid,)), cooldowns=COOLDOWNS)
    outcome = Outcome(Class.BILLING, Scope.KEY, other=True, delay_s=named_s)
    found = resting.rest(outcome, MEMBER, "m", of, NOW_US)
    assert found is not None
    assert found.delay_us == expected_s * SECOND_US


@pytest.mark.parametrize("kind", RESTING)
def test_length_that_nobody_named_doubles_up_to_the_pools_longest(kind: Class) -> None:
    """A named one is the provider's word, and money does not come back sooner for asking again and again."""
    found = rest(kind)
    assert found is not None
    assert found.most_us == (0 if kind is Class.BILLING else 70 * SECOND_US)
    for named in (rest(kind, delay_s=5), rest(kind, until="midnight")):
        assert named is not None
        assert (named.most_us, named.throttle) == (0, "")


@pytest.mark.parametrize("kind", RESTING)
def test_only_a_minutes_limit_without_details_may_be_the_providers_throttle(kind: Class) -> None:
    for found in (rest(kind), rest(kind, bare=True), rest(kind, delay_s=120, bare=True)):
        assert found is not None
        assert found.throttle == ("p" if kind is Class.RATE_LIMIT_MINUTE else "")


def test_length_that_is_named_without_a_quota_is_kept_though_it_may_be_the_providers_throttle() -> None:
    found = rest(Class.RATE_LIMIT_MINUTE, delay_s=120, bare=True)
    assert found == Rest(Subject("acc"), 120 * SECOND_US, Class.RATE_LIMIT_MINUTE, throttle="p")


@pytest.mark.parametrize(("named_s", "expected_s"), [(None, 3600), (60, 3600), (3600, 3600), (7200, 7200)])
def test_named_delay_beyond_midnight_is_kept(named_s: float | None, expected_s: int) -> None:
    """Of several moments the latest; a named one never ends the day early."""
    found = rest(Class.RATE_LIMIT_DAY, delay_s=named_s, until="midnight", now_us=NOW_US - 3600 * SECOND_US)
    assert found is not None
    assert found.delay_us == expected_s * SECOND_US


def test_quota_of_a_month_rests_to_the_first_of_the_next_one() -> None:
    found = rest(Class.BILLING, until="month", now_us=at("2026-02-10T12:00", "UTC"))
    assert found is not None
    assert found.delay_us == at("2026-03-01T00:00", "UTC") - at("2026-02-10T12:00", "UTC")


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("UTC", "2026-06-15T10:00", "2026-06-16T00:00"),
        ("UTC", "2026-06-15T00:00", "2026-06-16T00:00"),
        ("UTC", "2026-06-15T23:59:59", "2026-06-16T00:00"),
        ("UTC", "2026-12-31T23:00", "2027-01-01T00:00"),
        ("UTC", "2028-02-28T12:00", "2028-02-29T00:00"),
        (LOS_ANGELES, "2026-07-01T23:30", "2026-07-02T00:00"),
        (LOS_ANGELES, "2026-03-08T00:30", "2026-03-09T00:00-07:00"),  # a day of 23 hours
        (LOS_ANGELES, "2026-03-08T12:00", "2026-03-09T00:00-07:00"),
        (LOS_ANGELES, "2026-03-07T23:30", "2026-03-08T00:00-08:00"),
        (LOS_ANGELES, "2026-11-01T00:30", "2026-11-02T00:00-08:00"),  # a day of 25 hours
        (LOS_ANGELES, "2026-11-01T01:30-07:00", "2026-11-02T00:00-08:00"),
        (LOS_ANGELES, "2026-11-01T01:30-08:00", "2026-11-02T00:00-08:00"),  # the second 01:30
        ("Asia/Kathmandu", "2026-05-01T12:00", "2026-05-02T00:00+05:45"),
        ("America/Havana", "2025-11-01T23:30", "2025-11-02T00:00-04:00"),  # midnight comes twice: the first
        ("America/Havana", "2025-11-02T00:30-05:00", "2025-11-03T00:00-05:00"),
        ("Africa/Cairo", "2026-04-23T22:00", "2026-04-24T01:00+03:00"),  # midnight is skipped: the clock says one
    ],
)
def test_midnight_is_where_the_zones_wall_clock_says(zone: str, now: str, expected: str) -> None:
    assert resting.until("midnight", zone, at(now, zone)) == at(expected, zone)


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("UTC", "2026-01-31T12:00", "2026-02-01T00:00"),
        ("UTC", "2026-02-28T23:59:59", "2026-03-01T00:00"),
        ("UTC", "2028-02-29T12:00", "2028-03-01T00:00"),
        ("UTC", "2026-04-30T12:00", "2026-05-01T00:00"),
        ("UTC", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("UTC", "2026-12-31T23:59:59", "2027-01-01T00:00"),
        (LOS_ANGELES, "2026-10-31T12:00", "2026-11-01T00:00-07:00"),
        (LOS_ANGELES, "2026-11-01T12:00", "2026-12-01T00:00-08:00"),  # over the change of the clock
        (LOS_ANGELES, "2026-03-01T12:00", "2026-04-01T00:00-07:00"),
        ("Pacific/Auckland", "2026-12-31T23:00", "2027-01-01T00:00+13:00"),
    ],
)
def test_month_ends_at_the_zones_first(zone: str, now: str, expected: str) -> None:
    assert resting.until("month", zone, at(now, zone)) == at(expected, zone)


def test_last_microsecond_of_a_day_belongs_to_it() -> None:
    midnight = at("2026-06-16T00:00", LOS_ANGELES)
    assert resting.until("midnight", LOS_ANGELES, midnight - 1) == midnight
    assert resting.until("midnight", LOS_ANGELES, midnight) == at("2026-06-17T00:00", LOS_ANGELES)
