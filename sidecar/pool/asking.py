"""Asks the store for a key: what a request may have of each target, how long it may wait, and in which line."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from time import monotonic

from sidecar.model.configured import SECOND_US, Config, Target
from sidecar.model.room import need
from sidecar.model.words import Amounts, Ask, Exhausted, Grant, Refusal, Rotation, unit_of
from sidecar.pool.rotations import Rotations
from sidecar.pool.search import Search
from sidecar.pool.waiting import Full, Waiting
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway

Answer = Grant | Refusal | Exhausted


class TooLarge(Exception):
    """The request may come to more tokens than any of its targets' budgets holds; the text says how many."""


class Asking:
    """For the requests of one config. `orphaned` gets a grant that nobody waits for any more."""

    def __init__(
        self, config: Config, store: Store, rotation: Rotations, waiting: Waiting, orphaned: Callable[[Grant], None]
    ) -> None:
        self._config, self._store, self._rotation = config, store, rotation
        self._waiting, self._orphaned = waiting, orphaned

    async def next(self, search: Search, wait: bool) -> tuple[Answer, float]:
        """The store's answer, and when it was asked for, on the loop's clock.

        With `wait`, where requests in flight are in the way, once they are not, in the order of coming. Raises
        StoreAway when Redis cannot answer in the time that the request may wait, TooLarge where no budget could ever
        hold the request.
        """
        if not wait or not self._waiting.has_lines or not self._waiting.is_line(self._line(search)):
            answer, asked_at = await self.ask(search, math.inf if wait else 0.0)
            if not wait or not isinstance(answer, Refusal) or not answer.busy:
                return answer, asked_at
        try:
            return await self._next_in_line(search)
        except TimeoutError:
            return await self.ask(search, 0.0)
        except asyncio.CancelledError:
            self.leave_line(search)
            raise

    async def _next_in_line(self, search: Search) -> tuple[Answer, float]:
        first_in_line = self._waiting.first_in_line(self._line(search), search)
        with search.waiting():
            async with asyncio.timeout(self.most_patience_s(search)), first_in_line:
                while True:
                    ended = self._waiting.next_end(search.places)
                    answer, asked_at = await self.ask(search, math.inf)
                    if not isinstance(answer, Refusal) or not answer.busy:
                        return answer, asked_at
                    await self._waiting.until(ended, self._waiting.pause_s(search))

    def alike(self, search: Search) -> Hashable:
        """Who can use the same, of one config, has the same: one client's grant counts for nobody else."""
        names = tuple((one.pool, one.digest, one.model) for one in self._rotations(search))
        return self, names, search.batch, search.client

    def _line(self, search: Search) -> Hashable:
        """Those who stand in one line of this replica can use the same keys, and need about as much of them.

        So whoever is first in it asks for all, whatever the models; and nobody who needs little waits behind one who
        needs a lot.
        """
        rotations = self._rotations(search)
        targets, amounts = search.open, search.amounts(any(one.counts_tokens for one in rotations))
        tried = frozenset((target, key) for target, key in search.tried if target in targets)
        keys = tuple((one.pool, one.keys) for one in rotations)
        crowd = search.client if search.client.has_lease else None
        return keys, search.batch, tried, max(amounts).bit_length(), crowd

    def _rotations(self, search: Search) -> tuple[Rotation, ...]:
        return tuple(self._rotation(target, search.client) for _, target in search.asked)

    def _shares(self, search: Search) -> tuple[float, ...]:
        """Of each budget of what is asked, what it leaves to others; none where it leaves nothing."""
        pools = (self._config.pools[target.pool] for _, target in search.asked)
        return tuple(pool.interactive_share for pool in pools) if search.batch else ()

    def leave_line(self, search: Search) -> None:
        """The request waits for no place in flight any more."""
        if search.ticket:
            self._store.leave(search.ticket, self._rotations(search), self._shares(search))
            search.ticket = 0

    async def ask(self, search: Search, until: float) -> tuple[Answer, float]:
        """As `next`, at once: a moment that lies ahead, up to `until` of the loop's clock, or a place in line do."""
        while True:
            asked_at = monotonic()
            try:
                return await self._ask(search, until, asked_at), asked_at
            except StoreAway as away:
                await self.outlast(search, asked_at, away)

    async def look(self, search: Search, until: float) -> tuple[Grant, float] | None:
        """What it may have before `until`, now or reserved, if there is anything and Redis can tell."""
        asked_at = monotonic()
        try:
            answer = await self._ask(search, until, asked_at)
        except StoreAway:
            return None
        return (answer, asked_at) if isinstance(answer, Grant) else None

    async def _ask(self, search: Search, until: float, asked_at: float) -> Answer:
        answer = await self._store.acquire(self._asked(search, until), self._orphaned)
        search.acquire_s += monotonic() - asked_at
        search.ticket = answer.ticket if isinstance(answer, Refusal) and until > asked_at else 0
        return answer

    def counts_places(self, search: Search) -> bool:
        """Whether a place among requests in flight may be in its way."""
        return search.client.has_lease or any(one.line for one in self._rotations(search))

    def _asked(self, search: Search, until: float) -> Ask:
        asked, tried, rotations = search.asked, search.tried, self._rotations(search)
        amounts = search.amounts(any(one.counts_tokens for one in rotations))
        if search.expected is not None:
            _check_size(rotations, amounts)
        left_s = max(0.0, until - monotonic())
        patience_s = (min(left_s, self._patience_s(search, target)) for _, target in asked)
        return Ask(
            rotations=rotations,
            max_wait_us=tuple(round(one * SECOND_US) for one in patience_s),
            tried=frozenset((at, key) for at, (index, _) in enumerate(asked) for of, key in tried if of == index),
            amounts=amounts,
            shares=self._shares(search),
            waited_us=round(search.waited_s * SECOND_US),
            ticket=search.ticket,
        )

    def _patience_s(self, search: Search, target: Target) -> float:
        """How long the request may still wait for this target's room."""
        own_s = self._config.pools[target.pool].max_wait_us / SECOND_US
        wait_s = own_s if search.max_wait_s is None else search.max_wait_s
        return max(0.0, min(wait_s - search.waited_s, search.deadline - monotonic()))

    def dates(self, search: Search) -> tuple[float, ...]:
        """Until when it may wait for each of its targets, on the loop's clock."""
        now = monotonic()
        return tuple(now + self._patience_s(search, target) for target in search.targets)

    def most_patience_s(self, search: Search) -> float:
        """How long the request may still wait for any target's room."""
        return max((self._patience_s(search, search.targets[index]) for index in search.open), default=0.0)

    async def outlast(self, search: Search, since: float, away: StoreAway) -> None:
        """Waits for Redis to come back as the request would wait for room; raises `away` when that is over."""
        try:
            if self._store.up.is_set():  # away, and nobody brings it back: it was closed
                raise away
            with search.waiting(since), self._waiting.one_more(search):
                async with asyncio.timeout(self.most_patience_s(search)):
                    await self._store.up.wait()
        except (TimeoutError, Full):
            raise away from None
        finally:
            del away  # its traceback holds this frame: together they would wait for the collector


def _check_size(rotations: tuple[Rotation, ...], amounts: Amounts) -> None:
    """Raises TooLarge where every key of every target has a budget that could not hold the request, however empty."""
    for one in rotations:
        for limits in one.limits:
            holding = (limit for limit in (*limits, *one.total, *one.client.limits) if limit.enforce)
            if all(need(limit, amounts, 0) <= limit.max for limit in holding):
                return
    limits_of = ((*one.limits[0], *one.total, *one.client.limits) for one in rotations)
    tokens = [limit for limits in limits_of for limit in limits if unit_of(limit)]
    most = min(tokens, key=lambda limit: limit.max)
    raise TooLarge(f"It may come to {amounts[1]} tokens, and a budget is {most.max} {most.unit}.")
