"""What a request brings to the pools, and what it holds once they gave it a key."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from sidecar.model.configured import PLAIN, SECOND_US, Key, Pool, Route, Target
from sidecar.model.words import NOBODY, ONE, Amounts, Confirmed, Grant, NotYet, Total


@dataclass(slots=True)
class Search:
    """One request's search for a key: what it may use, what it has tried, how long it has waited."""

    request_id: str
    targets: tuple[Target, ...]  # each with its model ("" for a call without one), in the order to be tried
    deadline: float  # of the whole request, on the loop's clock
    max_wait_s: float | None = None  # replaces the pools' own
    expects: Callable[[], Amounts] = lambda: ONE  # what it may come to; asked once, and only where tokens are limited
    route: Route = PLAIN  # what is done with the answers
    unsure: bool = False  # its path names what nobody remembers: where it is not found, another account may have it
    batch: bool = False  # leaves a share of each budget to the others
    client: Total = NOBODY  # who calls, and what they may spend as a whole
    tried: set[tuple[int, str]] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)  # targets that are not asked any more
    came: float = field(default_factory=monotonic)  # on the loop's clock
    waited_before_s: float = 0.0
    waits_since: float | None = None  # on the loop's clock; None: it does not wait now
    acquire_s: float = 0.0
    ticket: int = 0  # by which it stands in the store's line for a place in flight; 0: it does not
    expected: Amounts | None = None  # once it was asked
    has_seat: bool = False  # among those who may wait
    is_counted: bool = False  # among those who do
    watchers: list[Callable[[bool], None]] = field(default_factory=list)  # told whether it waits, as that changes

    @property
    def open(self) -> list[int]:
        """The targets that may still be asked."""
        return [index for index in range(len(self.targets)) if index not in self.closed]

    @property
    def asked(self) -> list[tuple[int, Target]]:
        """As whom the open targets are asked, with their indices: one that prefers an account first as that one's."""
        found = []
        for index in self.open:
            target = self.targets[index]
            if target.prefers:
                found.append((index, replace(target, account=target.prefers)))
            found.append((index, target))
        return found

    @property
    def waited_s(self) -> float:
        """How long it has waited, until now."""
        return self.waited_before_s + (0.0 if self.waits_since is None else monotonic() - self.waits_since)

    @contextmanager
    def waiting(self, since: float | None = None) -> Iterator[None]:
        """It waits for as long as this takes, or since then; what is nested counts once."""
        if self.waits_since is not None:
            yield
            return
        self.waits_since = monotonic() if since is None else since
        try:
            self._tell(True)
            yield
        finally:
            self.waited_before_s, self.waits_since = self.waited_s, None
            self._tell(False)

    def _tell(self, waits: bool) -> None:
        for watcher in self.watchers:
            watcher(waits)

    @property
    def places(self) -> set[str]:
        """Whose requests in flight may be in its way: those of the pools that may still be asked, and of the client."""
        return {*self.client.places, *(self.targets[index].pool for index in self.open)}

    def model(self, held: Held) -> str:
        """The upstream model that a grant of this search is for; "" for a call without one."""
        return self.targets[held.target].model or ""

    def amounts(self, counts_tokens: bool) -> Amounts:
        """What the request is to be reserved."""
        if not counts_tokens:
            return ONE
        if self.expected is None:
            self.expected = self.expects()
        return self.expected


@dataclass(slots=True, eq=False)
class Held:
    """A grant in hand whose moment has come. It may be sent once, until `send_by` on the loop's clock."""

    grant: Grant
    target: int  # of the search
    pool: Pool
    key: Key
    send_by: float
    moment_at: float  # when the grant's moment was, on the loop's clock
    unpaid: Amounts = ONE  # what it came to, where its client was not charged for that
    in_hand: bool = True  # False: given back or over, or with a confirm whose answer is not known

    @property
    def may_be_sent(self) -> bool:
        """Whether it counts among the requests in flight, and it is not too late."""
        return self.grant.runs and monotonic() <= self.send_by

    def trade(self, other: Held) -> None:
        """Each holds what the other held."""
        # Written out, for of a thousand that wait for each other's moments each may trade with all.
        self.grant, other.grant = other.grant, self.grant
        self.target, other.target = other.target, self.target
        self.pool, other.pool = other.pool, self.pool
        self.key, other.key = other.key, self.key
        self.send_by, other.send_by = other.send_by, self.send_by
        self.moment_at, other.moment_at = other.moment_at, self.moment_at
        self.in_hand, other.in_hand = other.in_hand, self.in_hand

    def date(self, answer: Confirmed | NotYet, asked_at: float) -> None:
        """It counts as an answer says that was asked for at `asked_at`, on the loop's clock; it is in hand again."""
        ahead_us = answer.wait_us if isinstance(answer, NotYet) else -answer.age_us
        self.grant, self.in_hand = self.grant.dated(answer), True
        self.moment_at = asked_at + ahead_us / SECOND_US
        self.send_by = self.moment_at + guard_s(self.grant)

    @property
    def model(self) -> str:
        """What rests for a model rest for: `*` where the rotation is shared by many."""
        return self.grant.rotation.model

    def now_us(self, at: float) -> int:
        """Redis's clock at a moment of the loop's."""
        return self.grant.moment_us + round((at - self.moment_at) * SECOND_US)


def held(grant: Grant, target: int, pool: Pool, key: Key, asked_at: float) -> Held:
    """What a grant is in the hands of who asked for it at `asked_at`, of the loop's clock."""
    moment_at = asked_at + grant.wait_us / SECOND_US
    return Held(grant, target, pool, key, moment_at + guard_s(grant), moment_at)


def guard_s(grant: Grant) -> float:
    """How long after its moment the grant may be sent."""
    return math.inf if grant.guard_us is None else grant.guard_us / SECOND_US
