"""What an account holds now of a budget, told at each arrival: how much, and until when it has no room for it again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.simulate.budgets import SECOND_NS

DAY = timedelta(days=1)


class Sliding:
    """Moments in order, and beside each the sum of all amounts up to it."""

    def __init__(self, window_ns: int) -> None:
        self._window_ns = window_ns
        self._moments: list[int] = []
        self._sums: list[int] = []

    def enter(self, at_ns: int, amount: int) -> int:
        """The most that any window with this arrival holds. It may come out of order."""
        place = bisect_right(self._moments, at_ns)
        self._moments.insert(place, at_ns)
        self._sums.insert(place, self._sum(place))
        for behind in range(place, len(self._sums)):
            self._sums[behind] += amount
        first = bisect_left(self._moments, at_ns)
        return max(self._held(end) for end in range(first, bisect_left(self._moments, at_ns + self._window_ns)))

    def _sum(self, count: int) -> int:
        return self._sums[count - 1] if count else 0

    def _held(self, end: int) -> int:
        """By the window that ends with this arrival."""
        begin = bisect_right(self._moments, self._moments[end] - self._window_ns)
        return self._sums[end] - self._sum(begin)

    def free_ns(self, amount: int, most: int) -> int:
        """The moment from which so much more has room. What never has: a window after the last arrival."""
        leaves = bisect_left(self._sums, self._sums[-1] + amount - most)
        return self._moments[min(leaves, len(self._moments) - 1)] + self._window_ns


class Periods:
    """Days or months of a zone, known by the date that its clocks show: no period has a length."""

    def __init__(self, calendar: str, zone: str) -> None:
        self._monthly, self._zone = calendar == "month", ZoneInfo(zone)
        self._held: Counter[date] = Counter()

    def begin(self, wall_ns: int) -> date:
        """The first day of the period in which this moment, since 1970, lies."""
        day = datetime.fromtimestamp(wall_ns // SECOND_NS, self._zone).date()
        return day.replace(day=1) if self._monthly else day

    def enter(self, wall_ns: int, amount: int) -> int:
        self._held[self.begin(wall_ns)] += amount
        return self._held[self.begin(wall_ns)]

    def free_ns(self, wall_ns: int) -> int:
        """The first moment of the next period."""
        day = self.begin(wall_ns)
        after = (day.replace(day=28) + 4 * DAY).replace(day=1) if self._monthly else day + DAY
        return int(datetime(after.year, after.month, after.day, tzinfo=self._zone).timestamp()) * SECOND_NS
