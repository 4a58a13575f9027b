"""The count afterwards, over the list of all arrivals: slow, plain, and no code of windows.py in it."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sidecar.simulate.budgets import Arrival, Budget

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fullest(arrivals: Iterable[Arrival], budget: Budget, epoch_ns: int) -> int:
    """The most that any window held, of whoever of these had the most."""
    by_holder: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if budget.concerns(arrival):
            by_holder[budget.holder(arrival)].append(arrival)
    return max((_fullest(held, budget, epoch_ns) for held in by_holder.values()), default=0)


def _fullest(arrivals: Sequence[Arrival], budget: Budget, epoch_ns: int) -> int:
    if budget.unit == "concurrency":
        return most_at_once(arrivals)
    if budget.calendar:
        return _in_a_period(arrivals, budget, epoch_ns)
    held: deque[tuple[int, int]] = deque()
    most = now = 0
    for moment, amount in sorted((arrival.at_ns, budget.amount(arrival)) for arrival in arrivals):
        held.append((moment, amount))
        now += amount
        while moment - held[0][0] >= budget.window_ns:
            now -= held.popleft()[1]
        most = max(most, now)
    return most


def _in_a_period(arrivals: Iterable[Arrival], budget: Budget, epoch_ns: int) -> int:
    length = len("2026-01") if budget.calendar == "month" else len("2026-01-01")
    held: Counter[str] = Counter()
    for arrival in arrivals:
        moment = _EPOCH + timedelta(microseconds=(arrival.at_ns + epoch_ns) // 1000)
        held[moment.astimezone(ZoneInfo(budget.zone)).isoformat()[:length]] += budget.amount(arrival)
    return max(held.values(), default=0)


def most_at_once(arrivals: Iterable[Arrival]) -> int:
    """How many were open at once, headers to last byte, by the order in which they came and left: no clock in it."""
    steps: list[tuple[int, int]] = []
    for arrival in arrivals:
        steps += [(arrival.came, 1), (arrival.left, -1)] if arrival.left else [(arrival.came, 1)]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return most
