"""What arrived when, and whether any account ever had more than its budget: counted without a clock or a socket.

Two counts that share no code: `enter` judges each arrival as it comes (windows.py), `worst` walks the list of all
arrivals afterwards (recount.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.simulate import recount
from sidecar.simulate.budgets import SECOND_NS, Arrival, Budget, Given, budget, matches
from sidecar.simulate.windows import Periods, Sliding

__all__ = ["SECOND_NS", "Arrival", "Budget", "Ledger", "Peak", "Violation", "matches"]


class Violation(NamedTuple):
    """An arrival through which a window held more than `budget.max`."""

    arrival: Arrival
    budget: Budget
    held: int
    retry_ns: int  # until as much has room again, if nothing comes before: the refused one counts as well


class Peak(NamedTuple):
    """The fullest window that an account had of one budget."""

    account: str
    budget: Budget
    held: int

    @property
    def overrun(self) -> int:
        return max(0, self.held - self.budget.max)


class Ledger:
    """Arrivals in the order they came. Every arrival of a known key counts, whatever it was answered."""

    def __init__(self, budgets: Iterable[Given] = (), epoch_ns: int = 0) -> None:
        """`epoch_ns` is added to an arrival's moment to get that of the wall clock, since 1970."""
        self.budgets = tuple(map(budget, budgets))
        self.arrivals: list[Arrival] = []
        self.violations: list[Violation] = []
        self._epoch_ns = epoch_ns
        self._steps = 0  # of all that came and left
        self._in_flight: list[Arrival] = []  # of those that were entered
        self._windows: dict[tuple[str, Budget], Sliding | Periods] = {}

    def begin(self, arrival: Arrival) -> None:
        """It came."""
        self._steps += 1
        arrival.came = self._steps
        self.arrivals.append(arrival)

    def end(self, arrival: Arrival) -> None:
        """It is no longer in flight; a second time says nothing new."""
        if not arrival.left:
            self._steps += 1
            arrival.left = self._steps
            self._in_flight = [one for one in self._in_flight if one is not arrival]

    def enter(self, arrival: Arrival) -> Violation | None:
        """Count it in its account's windows. The violation with the longest wait, where any is over its maximum.

        Arrivals may be entered in another order than they came: a body that is long on its way is entered late,
        at the moment of its headers.
        """
        if not arrival.left:  # a client may hang up while its body is read
            self._in_flight.append(arrival)
        counting = (one for one in self.budgets if one.concerns(arrival))
        broken = [found for one in counting if (found := self._enter(arrival, one))]
        self.violations += broken
        return max(broken, key=lambda found: found.retry_ns, default=None)

    def _enter(self, arrival: Arrival, one: Budget) -> Violation | None:
        amount = one.amount(arrival)
        if not amount:
            return None
        if one.unit == "concurrency":
            held, free_ns = self._flying(arrival, one), arrival.at_ns + SECOND_NS
        elif one.calendar:
            held, free_ns = self._enter_period(arrival, one, amount)
        else:
            window = self._windows.setdefault((one.holder(arrival), one), Sliding(one.window_ns))
            assert isinstance(window, Sliding)
            held, free_ns = window.enter(arrival.at_ns, amount), window.free_ns(amount, one.max)
        return Violation(arrival, one, held, free_ns - arrival.at_ns) if held > one.max else None

    def _flying(self, arrival: Arrival, one: Budget) -> int:
        holder = one.holder(arrival)
        return sum(one.concerns(other) and one.holder(other) == holder for other in self._in_flight)

    def _enter_period(self, arrival: Arrival, one: Budget, amount: int) -> tuple[int, int]:
        periods = self._windows.setdefault((one.holder(arrival), one), Periods(one.calendar, one.zone))
        assert isinstance(periods, Periods)
        wall_ns = arrival.at_ns + self._epoch_ns
        return periods.enter(wall_ns, amount), periods.free_ns(wall_ns) - self._epoch_ns

    def worst(self, account: str) -> dict[Budget, int]:
        """For each budget the most that any of its windows held for this account, or for the worst of its keys."""
        own = [arrival for arrival in self.arrivals if arrival.account == account]
        concerning = (one for one in self.budgets if one.account in {"", account})
        return {one: recount.fullest(own, one, self._epoch_ns) for one in concerning}

    def peaks(self) -> Iterator[Peak]:
        """Of every account and budget."""
        accounts = sorted({arrival.account for arrival in self.arrivals if arrival.account})
        return (Peak(account, *found) for account in accounts for found in self.worst(account).items())

    def excess(self) -> list[Peak]:
        """Every account and budget whose fullest window held more than its maximum: [] is the promise kept."""
        return [peak for peak in self.peaks() if peak.overrun]

    def most_in_flight(self, account: str = "") -> int:
        """The most requests that were open at once, of an account or of all."""
        return recount.most_at_once(one for one in self.arrivals if account in {"", one.account})

    def reset(self) -> None:
        """Forget every arrival; the budgets stay, and what is in flight counts as such."""
        self.arrivals.clear()
        self.violations.clear()
        self._windows.clear()
