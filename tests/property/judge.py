"""A third party: knows only what may be on its way, and counts every window by itself."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.model.configured import Limit
from sidecar.model.words import Amounts, unit_of

Window = tuple[str, Limit]  # whose it is


@dataclass(frozen=True)
class Sent:
    """What is on its way: when, how much, and the maximum that it was under."""

    moment: int
    amount: int
    maximum: int


def _moment(sent: Sent) -> int:
    return sent.moment


class Judge:
    """Of a request that came to more than it had reserved only that counts: nobody could have known."""

    def __init__(self) -> None:
        self.sent: dict[tuple[str, str], list[Sent]] = defaultdict(list)
        self.running: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)  # moment, end of the lease

    def granted(self, of: Iterable[Window], moment: int, amounts: Amounts, now: int) -> None:
        """No window that holds this grant is over the maximum of its last, wherever within their guards all arrive."""
        for account, limit in of:
            name, amount = (account, limit.name), amounts[unit_of(limit)]
            if not limit.enforce or not amount:
                continue
            if limit.kind == "leases":
                live = [one for one in self.running[name] if one[1] > now]
                assert len(live) < limit.max, f"{account}: {len(live)} in flight"
                self.running[name] = [*live, (moment, now + limit.window_us)]
                continue
            sent = self.sent[name]
            at = bisect_right(sent, moment, key=_moment)
            sent.insert(at, Sent(moment, amount, limit.max))
            if limit.calendar is None:
                self._slides(account, limit, sent, at)
            else:
                self._begins_anew(account, limit, sent, moment)

    @staticmethod
    def _slides(account: str, limit: Limit, sent: list[Sent], new: int) -> None:
        """Arrivals are up to a guard late: the worst that it can do is to bring the first closer to the last."""
        for at in range(new, len(sent)):
            reach = sent[at].moment - limit.window_us - limit.guard_us
            if sent[new].moment > reach:
                total = sum(one.amount for one in sent[: at + 1] if one.moment > reach)
                assert total <= sent[at].maximum, f"{account} {limit}: {total} in a window"

    @staticmethod
    def _begins_anew(account: str, limit: Limit, sent: list[Sent], moment: int) -> None:
        for ahead in (-limit.guard_us, 0, limit.guard_us):
            start, end = period(limit, moment + ahead)
            inside = [s for s in sent if start - limit.guard_us <= s.moment < end + limit.guard_us]
            total = sum(one.amount for one in inside)
            assert total <= limit.max, f"{account} {limit}: {total} in a period"

    def given_back(self, of: Iterable[Window], moment: int, amounts: Amounts) -> None:
        for account, limit in of:
            name, amount = (account, limit.name), amounts[unit_of(limit)]
            if limit.kind == "leases":
                self._ended(name, moment)
            elif limit.enforce and amount:
                self.sent[name].remove(self._find(name, moment, amount))

    def _find(self, name: tuple[str, str], moment: int, amount: int) -> Sent:
        return next(one for one in self.sent[name] if (one.moment, one.amount) == (moment, amount))

    def _ended(self, name: tuple[str, str], moment: int) -> None:
        running = self.running[name]
        at = next((at for at, (granted, _) in enumerate(running) if granted == moment), None)
        if at is not None:
            del running[at]

    def settled(self, of: Iterable[Window], moment: int, expected: Amounts, actual: Amounts) -> None:
        for account, limit in of:
            name, unit = (account, limit.name), unit_of(limit)
            if limit.kind == "leases":
                self._ended(name, moment)
            elif limit.enforce and expected[unit]:
                known = self._find(name, moment, expected[unit])
                at = self.sent[name].index(known)
                self.sent[name][at] = replace(known, amount=min(expected[unit], actual[unit]))

    def renewed(self, account: str, limit: Limit, moment: int, now: int) -> None:
        """A replica says that the request runs, even if nobody believed it any more."""
        name = account, limit.name
        others = [one for one in self.running[name] if one[0] != moment]
        count = max(1, sum(one[1] > now for one in self.running[name] if one[0] == moment))
        self.running[name] = [*others, *[(moment, now + limit.window_us)] * count]


def period(limit: Limit, moment: int) -> tuple[int, int]:
    """Start and end of the day or month of a moment, by the wall clock of its zone."""
    assert limit.calendar is not None
    zone = ZoneInfo(limit.calendar.zone)
    day = datetime.fromtimestamp(moment / 1e6, UTC).astimezone(zone).date()
    if limit.calendar.period == "day":
        return _midnight(zone, day), _midnight(zone, day + timedelta(days=1))
    first = day.replace(day=1)
    return _midnight(zone, first), _midnight(zone, (first + timedelta(days=31)).replace(day=1))


def _midnight(zone: ZoneInfo, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1e6)
