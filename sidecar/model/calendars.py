"""When the days and months of a zone begin: the only reader of the clock changes in the pinned `tzdata`.

A day begins at the first moment whose local date is that day or a later one. So a midnight that the clock skips is the
moment of the skip, of one that comes twice the first counts, and a day that a zone left out has no beginning.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

from sidecar.model.configured import SECOND_US, Calendar

reset_tzpath(())  # a day ends alike on all replicas: by the pinned tzdata, whatever zones their images have

Boundaries = tuple[int, int, int, int, int]

_AROUND = range(-2, 7)  # periods looked at: one left out and a date gone back, and there are still five
_latest: dict[Calendar, Boundaries] = {}  # true until their current period ends, so at most one for each calendar


def zones() -> frozenset[str]:
    """The names that `Calendar.zone` may have."""
    return frozenset(available_timezones())


def periods(calendar: Calendar, now_us: int) -> Boundaries:
    """Moments at which begin: the period before that of `now_us`, its own, and the next three. They ascend strictly.

    Costs a look-up where the last answer for this calendar still holds, a few dozen microseconds where not. Raises
    ZoneInfoNotFoundError for a zone that is none of `zones`.
    """
    found = _latest.get(calendar)
    if found is None or not found[1] <= now_us < found[2]:
        found = _latest[calendar] = _periods(calendar, now_us)
    return found


def _periods(calendar: Calendar, now_us: int) -> Boundaries:
    zone = ZoneInfo(calendar.zone)
    days = _days if calendar.period == "day" else _firsts_of_months
    begins = sorted({_begin(zone, day) * SECOND_US for day in days(_local_date(zone, now_us // SECOND_US))})
    at = bisect_right(begins, now_us)
    before, current, following, second, third = begins[at - 2 : at + 3]
    return before, current, following, second, third


def _days(today: date) -> Iterator[date]:
    return (today + timedelta(days=ahead) for ahead in _AROUND)


def _firsts_of_months(today: date) -> Iterator[date]:
    months = (today.year * 12 + today.month - 1 + ahead for ahead in _AROUND)
    return (date(month // 12, month % 12 + 1, 1) for month in months)


def _local_date(zone: ZoneInfo, at_s: int) -> date:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone).date()


def _begin(zone: ZoneInfo, day: date) -> int:
    """Seconds since 1970 at the first moment of a day.

    Python reads a wall clock's time twice: as the clock was before a change (fold 0), and as after it (fold 1). Of a
    midnight that comes twice fold 0 is the first. Around one that was skipped they lie the other way about, the change
    between them.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    before, after = round(midnight.timestamp()), round(midnight.replace(fold=1).timestamp())
    if before <= after:
        return before
    return after + bisect_left(range(after, before), True, key=lambda at_s: _local_date(zone, at_s) >= day)
