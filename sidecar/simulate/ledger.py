"""What arrived when, and whether any account ever had more than its budget: counted without a clock or a socket.

Two counts that share no code: `enter` keeps sorted moments and judges each arrival as it comes, `worst` walks the
list of all arrivals afterwards.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

SECOND_NS = 1_000_000_000


@lru_cache(maxsize=1024)
def matches(pattern: str, name: str) -> bool:
    """Whether a pattern with `*` covers the name. A call that names no model is covered by "" alone."""
    if not pattern or not name:
        return not pattern
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


class Budget(NamedTuple):
    """So many arrivals an account in any window [t, t + window_s).

    `model` is a name or a pattern with `*`: one budget for all names that match it; "" counts every arrival.
    """

    max: int
    window_s: float
    model: str = ""

    @property
    def window_ns(self) -> int:
        return round(self.window_s * SECOND_NS)


@dataclass(slots=True)
class Arrival:
    """One request, from its headers on. Fields fill as more of it is known."""

    at_ns: int  # monotonic, when its headers were read
    method: str
    path: str  # as it came, without the query
    key: str = ""  # the secret presented; "" where none or several were
    account: str = ""  # "" for a key that is not known
    model: str = ""  # "" until the body is read, and for a call without one
    status: int = 0  # 0: nothing was answered (yet)
    ended: Literal["open", "answered", "cancelled", "closed"] = "open"  # cancelled by the client, closed by a fault


class Violation(NamedTuple):
    """An arrival through which a window held more than `budget.max`."""

    arrival: Arrival
    budget: Budget
    held: int
    retry_ns: int  # until one more has room, if none comes before: the refused one counts as well


class Peak(NamedTuple):
    """The fullest window that an account had of one budget."""

    account: str
    budget: Budget
    held: int


class Ledger:
    """Arrivals in the order they came. Every arrival of a known key counts, whatever it was answered."""

    def __init__(self, budgets: Iterable[tuple[int, float] | tuple[int, float, str]] = ()) -> None:
        self.budgets = tuple(Budget(*budget) for budget in budgets)
        for budget in self.budgets:
            if budget.max < 1 or budget.window_s <= 0:
                raise ValueError(f"{budget} allows nothing: at least 1 arrival in a window longer than 0 s")
        self.arrivals: list[Arrival] = []
        self.violations: list[Violation] = []
        self._moments: dict[tuple[str, Budget], list[int]] = {}

    def enter(self, arrival: Arrival) -> Violation | None:
        """Count it in its account's windows. The violation with the longest wait, where any is over its maximum.

        Arrivals may be entered in another order than they came: a body that is long on its way is entered late,
        at the moment of its headers.
        """
        counting = (budget for budget in self.budgets if matches(budget.model, arrival.model))
        broken = [found for budget in counting if (found := self._enter(arrival, budget))]
        self.violations += broken
        return max(broken, key=lambda found: found.retry_ns, default=None)

    def _enter(self, arrival: Arrival, budget: Budget) -> Violation | None:
        moments = self._moments.setdefault((arrival.account, budget), [])
        insort(moments, arrival.at_ns)
        first = bisect_left(moments, arrival.at_ns)
        behind = bisect_left(moments, arrival.at_ns + budget.window_ns)
        ends = range(first, behind)
        held = max(end + 1 - bisect_right(moments, moments[end] - budget.window_ns) for end in ends)
        if held <= budget.max:
            return None
        return Violation(arrival, budget, held, moments[-budget.max] + budget.window_ns - arrival.at_ns)

    def worst(self, account: str) -> dict[Budget, int]:
        """For each budget the most arrivals that any of its windows held for this account."""
        return {budget: self._fullest(account, budget) for budget in self.budgets}

    def _fullest(self, account: str, budget: Budget) -> int:
        held: deque[int] = deque()
        fullest = 0
        for moment in sorted(self._counted(account, budget)):
            held.append(moment)
            while moment - held[0] >= budget.window_ns:
                held.popleft()
            fullest = max(fullest, len(held))
        return fullest

    def _counted(self, account: str, budget: Budget) -> Iterator[int]:
        return (
            arrival.at_ns
            for arrival in self.arrivals
            if arrival.account == account and matches(budget.model, arrival.model)
        )

    def excess(self) -> list[Peak]:
        """Every account and budget whose fullest window held more than its maximum: [] is the promise kept."""
        accounts = sorted({arrival.account for arrival in self.arrivals if arrival.account})
        peaks = [Peak(account, budget, held) for account in accounts for budget, held in self.worst(account).items()]
        return [peak for peak in peaks if peak.held > peak.budget.max]

    def reset(self) -> None:
        """Forget every arrival; the budgets stay."""
        self.arrivals.clear()
        self.violations.clear()
        self._moments.clear()
