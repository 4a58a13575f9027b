"""A calendar's window as pairs (start of a period, count), ascending: the twin of `lua/parts/window_calendar.lua`.

A grant within the guard of a boundary counts on both of its sides. What was counted from another start belongs to the
period in which that start lies.
"""

from __future__ import annotations

from itertools import pairwise

from sidecar.model.calendars import Boundaries, periods
from sidecar.model.configured import Limit

Counts = tuple[tuple[int, int], ...]
_Period = tuple[int, int]  # its start and its end


def boundaries(limit: Limit, now: int) -> Boundaries:
    """What the scripts are told of the periods around now."""
    assert limit.calendar is not None
    return periods(limit.calendar, now)


def _touched(limit: Limit, bounds: Boundaries, moment: int) -> list[_Period]:
    guard = limit.guard_us
    return [(start, end) for start, end in pairwise(bounds) if start - guard <= moment < end + guard]


def _count(counts: Counts, period: _Period) -> int:
    return sum(count for start, count in counts if period[0] <= start < period[1])


def free_at(limit: Limit, counts: Counts, t: int, need: int, now: int) -> int:
    """The first moment from `t` on at which every period that it touches has room for `need` more."""
    bounds = boundaries(limit, now)
    while full := [p for p in _touched(limit, bounds, t) if _count(counts, p) + need > limit.max]:
        t = full[-1][1] + limit.guard_us
    return t


def enter(limit: Limit, counts: Counts, moment: int, now: int, amount: int) -> Counts:
    """The counts with a grant more, and without periods that are over."""
    bounds = boundaries(limit, now)
    oldest = _touched(limit, bounds, now)[0][0]
    found = {start: count for start, count in counts if start >= oldest}
    for period in _touched(limit, bounds, moment):
        start = max((start for start in found if period[0] <= start < period[1]), default=period[0])
        found[start] = found.get(start, 0) + amount
    return tuple(sorted(found.items()))


def leave(limit: Limit, counts: Counts, moment: int, now: int, amount: int) -> tuple[Counts, bool]:
    """The counts without the grant of `moment`, and whether any period still held it."""
    found = dict(counts)
    held = False
    for period in _touched(limit, boundaries(limit, now), moment):
        if starts := [start for start in found if period[0] <= start < period[1]]:
            held = True
            found[max(starts)] -= amount
    return tuple((start, count) for start, count in sorted(found.items()) if count > 0), held


def read(text: str) -> Counts:
    """The pairs of a window's text as Redis holds it."""
    return tuple((int(text[i : i + 16]), int(text[i + 16 : i + 32])) for i in range(0, len(text), 32))


def used(limit: Limit, counts: Counts, now: int) -> int:
    """How much of the maximum is taken in the period of `now`."""
    bounds = boundaries(limit, now)
    return _count(counts, (bounds[1], bounds[2]))
