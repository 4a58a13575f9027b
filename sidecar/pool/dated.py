"""Who waits for a reserved moment: in one queue those of a replica who can use the same.

Redis dates reservations, first come first served over all replicas. Which of its own is whose a replica may say without
Redis: who came first has the earliest, so what a client leaves, or what is found before the last, moves forward all who
come after it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right, insort
from dataclasses import dataclass, field

from sidecar.pool.search import Held, Search

MOST_PUT_OFF_S = 1.0  # that who waits is put off beyond what it may wait, for others that came late or for a rest


@dataclass(slots=True, eq=False)
class Dated:
    """Who waits for the moment of what it holds; `told` when it comes first, or holds another."""

    search: Search
    held: Held
    until: tuple[float, ...]  # of each of the search's targets: how late a moment it may have, on the loop's clock
    told: asyncio.Event = field(default_factory=asyncio.Event)
    needs: tuple[object, ...] = field(init=False)  # who needs the same may have what the other holds

    def __post_init__(self) -> None:
        search = self.search
        self.needs = (search.targets, frozenset(search.closed), frozenset(search.tried), self.held.grant.amounts)

    @property
    def came(self) -> float:
        """When its request came, on the loop's clock."""
        return self.search.came

    @property
    def waits_until(self) -> float:
        """On the loop's clock: its moment, unless it was put off for much longer than it may wait."""
        until = self.until[self.held.target]
        return self.held.moment_at if self.held.moment_at <= until + MOST_PUT_OFF_S else until

    def may_wait_for(self, held: Held) -> bool:
        """Whether it may wait as long as that."""
        return held.moment_at <= self.until[held.target]


def _moment(dated: Dated) -> float:
    return dated.held.moment_at


class Queue:
    """In the order of their moments, which is that of coming for those who need the same."""

    def __init__(self) -> None:
        self._dated: list[Dated] = []
        self._last_came = 0.0

    def __bool__(self) -> bool:
        return bool(self._dated)

    @property
    def first(self) -> Dated:
        return self._dated[0]

    def last_like(self, one: Dated) -> Dated:
        """The last who needs the same, which may be itself."""
        return next(other for other in reversed(self._dated) if other.needs == one.needs and other.held.in_hand)

    def enter(self, mine: Dated) -> None:
        """Who came before has what is sooner, as far as each may wait for what it gets instead."""
        at = bisect_right(self._dated, mine.held.moment_at, key=_moment)
        sooner = self._dated[:at] if mine.came < self._last_came else []
        self.pass_on(mine)
        for other in reversed(sooner):
            if other.came > mine.came and other.may_wait_for(mine.held):
                self._trade(mine, other)
        self._last_came = max(self._last_came, mine.came)
        if sooner:
            self._dated.sort(key=_moment)
        insort(self._dated, mine, key=_moment)
        self.first.told.set()

    def pass_on(self, mine: Dated) -> None:
        """What it holds goes to who came before and has a later moment, that one's to the next, while it may wait."""
        later = self._dated[bisect_right(self._dated, mine.held.moment_at, key=_moment) :]
        for other in later:
            if other.came < mine.came and mine.may_wait_for(other.held):
                self._trade(mine, other)
        if later:
            self._dated.sort(key=_moment)
            self.first.told.set()

    def moved(self, mine: Dated) -> None:
        """It has another moment, and it is in hand again."""
        self._dated.remove(mine)
        self.enter(mine)

    def leave(self, mine: Dated, gone: bool) -> None:
        """It waits no more; if it is `gone`, what it holds goes down the queue, and it is left with the last one's."""
        at = self._dated.index(mine)
        later = self._dated[at + 1 :] if gone else []
        del self._dated[at]
        traded = [self._trade(mine, other) for other in later]
        if not all(traded):  # else each has what was the one's before it
            self._dated.sort(key=_moment)
        if self._dated:
            self.first.told.set()

    def give(self, sooner: Held, like: Dated) -> Held | None:
        """Gives that to the first with the same needs whose moment is later, that one's to the next, and so on.

        Returns what holds it now; None: nobody could use it. `sooner` is left with the last one's.
        """
        taken = None
        for other in self._dated:
            if other.needs == like.needs and other.held.in_hand and other.held.moment_at > sooner.moment_at:
                other.held.trade(sooner)
                other.told.set()
                taken = taken or other.held
        self._dated.sort(key=_moment)
        self.first.told.set()
        return taken

    def _trade(self, one: Dated, other: Dated) -> bool:
        may = one.held.in_hand and other.held.in_hand and one.needs == other.needs
        if may:
            one.held.trade(other.held)
            other.told.set()
        return may
