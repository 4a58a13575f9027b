"""A day begins when the local date becomes that day, in every zone and over every change of its clock."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import calendars
from sidecar.model.calendars import periods, zones
from sidecar.model.configured import SECOND_US, Calendar

ZONES = sorted(zones())
QUARTER_US = 900 * SECOND_US
HOUR_US = 4 * QUARTER_US
LOS_ANGELES, HAVANA, APIA, ST_JOHNS = "America/Los_Angeles", "America/Havana", "Pacific/Apia", "America/St_Johns"


def at(text: str) -> int:
    """A moment from a text with an offset."""
    return round(datetime.fromisoformat(text).timestamp()) * SECOND_US


def local_date(zone: str, moment_us: int) -> date:
    """To the microsecond, which `fromtimestamp` of a float would not be."""
    exact = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment_us)
    return exact.astimezone(ZoneInfo(zone)).date()


def changes(zone: str, year: int) -> list[datetime]:
    """Noons (UTC) of a year after which the offset is another within a day."""
    noons = [datetime(year, 1, 1, 12, tzinfo=UTC) + timedelta(days=day) for day in range(366)]
    offsets = [noon.astimezone(ZoneInfo(zone)).utcoffset() for noon in noons]
    return [noon for noon, (one, other) in zip(noons, pairwise(offsets), strict=False) if one != other]


@st.composite
def zoned_moments(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a moment, half of them within three days of a change of its clock."""
    zone, year = draw(st.sampled_from(ZONES)), draw(st.integers(2012, 2060))
    near = changes(zone, year) if draw(st.booleans()) else []
    if near:
        around_s = round(draw(st.sampled_from(near)).timestamp())
        return zone, around_s * SECOND_US + draw(st.integers(-72 * HOUR_US, 72 * HOUR_US))
    return zone, at(f"{year}-01-01T00:00+00:00") + draw(st.integers(0, 365 * 24 * HOUR_US))


@given(zoned_moments(), st.sampled_from(["day", "month"]))
def test_moment_lies_in_the_second_of_five_ascending_periods(
    where: tuple[str, int], period: Literal["day", "month"]
) -> None:
    zone, now_us = where
    before, current, following, second, third = periods(Calendar(period, zone), now_us)
    assert before < current <= now_us < following < second < third


@given(zoned_moments())
def test_local_date_changes_at_the_boundaries_of_days_and_nowhere_between(where: tuple[str, int]) -> None:
    zone, now_us = where
    found = periods(Calendar("day", zone), now_us)
    for begin, end in pairwise(found):
        assert local_date(zone, begin - 1) < local_date(zone, begin)
        assert {local_date(zone, moment) for moment in (*range(begin, end, QUARTER_US), end - 1)} == {
            local_date(zone, begin)
        }


@given(zoned_moments())
def test_local_month_changes_at_the_boundaries_of_months_and_nowhere_between(where: tuple[str, int]) -> None:
    zone, now_us = where
    for begin, end in pairwise(periods(Calendar("month", zone), now_us)):
        dates = {local_date(zone, moment) for moment in (*range(begin, end, 6 * HOUR_US), end - 1)}
        assert local_date(zone, begin).day == 1
        assert {(day.year, day.month) for day in dates} == {(min(dates).year, min(dates).month)}
        assert local_date(zone, begin - 1) < min(dates)


@given(zoned_moments())
def test_every_moment_of_a_period_has_the_same_boundaries(where: tuple[str, int]) -> None:
    """Also where the last answer is used again, and at its very edges."""
    zone, now_us = where
    day = Calendar("day", zone)
    found = periods(day, now_us)
    assert [periods(day, moment) for moment in (found[1], found[2] - 1)] == [found, found]
    assert periods(day, found[2])[:4] == found[1:]
    assert periods(day, found[1] - 1)[1:] == found[:4]


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        (LOS_ANGELES, "2026-03-08T12:00-07:00", 23),
        (LOS_ANGELES, "2026-11-01T12:00-08:00", 25),
        ("Australia/Lord_Howe", "2026-10-04T12:00+11:00", 23.5),
        (HAVANA, "2025-11-02T12:00-05:00", 25),  # midnight comes twice
        ("America/Sao_Paulo", "2018-11-04T12:00-02:00", 23),  # midnight does not come
        ("Africa/Cairo", "2026-04-24T12:00+03:00", 23),
        ("Asia/Beirut", "2025-03-30T12:00+03:00", 23),
        (APIA, "2011-12-29T12:00-10:00", 24),
    ],
)
def test_day_is_as_long_as_its_clock_makes_it(zone: str, now: str, hours: float) -> None:
    _, begin, end, _, _ = periods(Calendar("day", zone), at(now))
    assert end - begin == hours * HOUR_US


@pytest.mark.parametrize(
    ("zone", "now", "begin"),
    [
        (HAVANA, "2025-11-02T00:30-05:00", "2025-11-02T00:00-04:00"),  # the second half past twelve of that day
        ("America/Sao_Paulo", "2018-11-04T12:00-02:00", "2018-11-04T01:00-02:00"),
        ("Africa/Cairo", "2026-04-24T12:00+03:00", "2026-04-24T01:00+03:00"),
        ("Asia/Beirut", "2025-03-30T12:00+03:00", "2025-03-30T01:00+03:00"),
        (
            "America/Toronto",
            "1919-03-31T12:00-04:00",
            "1919-03-31T00:30-04:00",
        ),  # half past eleven became half past twelve
        (
            ST_JOHNS,
            "2009-10-31T23:30-03:30",
            "2009-11-01T00:00-02:30",
        ),  # it was November for a minute, then October again
    ],
)
def test_day_begins_at_the_first_moment_of_its_date(zone: str, now: str, begin: str) -> None:
    assert periods(Calendar("day", zone), at(now))[1] == at(begin)


def test_month_that_begins_twice_begins_at_the_first() -> None:
    assert periods(Calendar("month", ST_JOHNS), at("2009-10-31T23:30-03:30"))[1] == at("2009-11-01T00:00-02:30")


def test_day_that_a_zone_left_out_has_no_period() -> None:
    """On Samoa the 31st of December 2011 followed the 29th."""
    begins = [at(text) for text in ("2011-12-28T00:00-10:00", "2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00")]
    begins += [at(text) for text in ("2012-01-01T00:00+14:00", "2012-01-02T00:00+14:00")]
    assert periods(Calendar("day", APIA), at("2011-12-29T12:00-10:00")) == tuple(begins)


def test_month_is_that_of_the_zone() -> None:
    """December in Los Angeles, when it is January in UTC already."""
    told = ("2026-11-01T00:00-07:00", "2026-12-01T00:00-08:00", "2027-01-01T00:00-08:00", "2027-02-01T00:00-08:00")
    now_us = at("2027-01-01T05:00+00:00")
    assert periods(Calendar("month", LOS_ANGELES), now_us)[:4] == tuple(map(at, told))


def test_calendars_do_not_share_their_last_answer() -> None:
    now_us = at("2026-06-15T12:00+00:00")
    begins = [periods(calendar, now_us)[1] for calendar in (Calendar("day", "UTC"), Calendar("month", "UTC"))]
    assert begins == [at("2026-06-15T00:00+00:00"), at("2026-06-01T00:00+00:00")]
    assert periods(Calendar("day", LOS_ANGELES), now_us)[1] == at("2026-06-15T00:00-07:00")


def test_last_answer_is_used_again_while_its_period_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    day, now_us = Calendar("day", "Europe/Berlin"), at("2026-06-15T12:00+00:00")
    found = periods(day, now_us)
    monkeypatch.setattr(calendars, "_periods", lambda *_: pytest.fail("computed again"))
    assert periods(day, now_us + HOUR_US) is found


def test_unknown_zone_is_an_error() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        periods(Calendar("day", "Mars/Olympus"), 0)


def test_zones_are_those_of_the_pinned_data() -> None:
    """An image's own may be older: its replica would end the day at another moment."""
    assert zoneinfo.TZPATH == ()
    assert {"UTC", LOS_ANGELES, HAVANA} <= zones()
