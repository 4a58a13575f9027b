"""Pools: a request asks for a key and gets one whose moment has come, or learns why not."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic

from sidecar.model.adoption import owners
from sidecar.model.configured import SECOND_US, Config, Key, Pool, Target
from sidecar.model.events import Drifted, Emit
from sidecar.model.room import need, subjects
from sidecar.model.rotations import rotation
from sidecar.model.words import (
    Amounts,
    Ask,
    Confirmed,
    Exhausted,
    Grant,
    NotYet,
    Refusal,
    Report,
    Reported,
    Rotation,
    Withdrawn,
    unit_of,
)
from sidecar.pool.lasting import Lasting
from sidecar.pool.rotations import Rotations
from sidecar.pool.search import Held, Search, guard_s, held
from sidecar.pool.sight import Sight
from sidecar.pool.telling import Telling
from sidecar.pool.waiting import SOONER_S, Full
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway

CONFIRMS = 10  # how often one grant is confirmed, each time late or put off again, before it is given back
LONGEST_PUT_OFF_US = 5_000_000  # that a grant waits for those before it that came late
SUSPICION_PAUSE_S = 0.05  # before a request that met one asks again


class TooLarge(Exception):
    """The request may come to more tokens than any of its targets' budgets holds; the text says how many."""


class Pools:
    """The pools of one config over one store."""

    def __init__(self, config: Config, store: Store, emit: Emit, lasting: Lasting | None = None) -> None:
        self.config, self.store, self._telling = config, store, Telling(config, store, emit)
        lasting = lasting or Lasting(store)
        lasting.follow(config)
        store.follow(owners(config))
        self.running, self.waiting, self._pools_of = lasting.running, lasting.waiting, lasting.pools_of
        self.rotation = Rotations(config)
        self.sight = Sight(config.pools, store, self.rotation)
        self._keys = {pool.name: {key.id: key for key in pool.keys} for pool in config.pools.values()}

    def untried(self, search: Search, target: int) -> int:
        """How many keys of a target the request has not tried."""
        return len(self.rotation(search.targets[target]).members) - sum(t == target for t, _ in search.tried)

    def of_account(self, search: Search, account: str, key: str | None = None) -> set[tuple[int, str]]:
        """All (target, key) of a request that belong to an account, or to one key of it by its fingerprint."""
        return {
            (index, member.id)
            for index, target in enumerate(search.targets)
            for member in self.rotation(target).members
            if member.account == account and key in {None, member.key}
        }

    # --- a key --------------------------------------------------------------------------------------

    async def acquire(self, search: Search, wait: bool = True) -> Held | Refusal | Exhausted:
        """A key whose moment has come; with `wait` it may be waited for as long as the request may.

        Raises StoreAway when Redis cannot answer in that time, TooLarge where no budget could ever hold the request. A
        caller that is cancelled leaves no grant.
        """
        while True:
            targets, wait = search.open, wait and not self.waiting.full
            answer, asked_at = await self._next(search, targets, wait)
            if not isinstance(answer, Grant):
                return answer
            got = self._held(answer, targets[answer.target], asked_at)
            if not answer.wait_us or await self._wait(search, got):
                return got

    async def _next(self, search: Search, targets: list[int], wait: bool) -> tuple[Grant | Refusal | Exhausted, float]:
        """The store's answer; where requests in flight are in the way, once they are not, in the order of coming."""
        if not wait or not self.waiting.has_lines or not self.waiting.is_line(self._line(search, targets)):
            answer, asked_at = await self._ask(search, targets, wait)
            if not wait or not isinstance(answer, Refusal) or not answer.busy:
                return answer, asked_at
        line, waited_s, began = self._line(search, targets), search.waited_s, self._now()
        try:
            async with asyncio.timeout(self._most_patience_s(search)), self.waiting.first_in_line(line, search):
                while True:
                    search.waited_s = waited_s + self._now() - began
                    ended = self.waiting.next_end()
                    answer, asked_at = await self._ask(search, targets, wait)
                    if not isinstance(answer, Refusal) or not answer.busy:
                        return answer, asked_at
                    await self.waiting.until(ended)
        except (TimeoutError, Full):
            return await self._ask(search, targets, wait=False)
        except asyncio.CancelledError:
            self._leave_line(search, targets)
            raise
        finally:
            search.waited_s = waited_s + self._now() - began

    def _line(self, search: Search, targets: list[int]) -> Hashable:
        """Those who stand in one line of this replica can use the same keys, and need about as much of them.

        So whoever is first in it asks for all, whatever the models; and nobody who needs little waits behind one who
        needs a lot.
        """
        rotations = [self.rotation(search.targets[index]) for index in targets]
        amounts = search.amounts(any(one.counts_tokens for one in rotations))
        tried = frozenset((target, key) for target, key in search.tried if target in targets)
        keys = tuple((one.pool, one.keys) for one in rotations)
        return keys, search.batch, tried, max(amounts).bit_length()

    def _leave_line(self, search: Search, targets: list[int]) -> None:
        if search.ticket:
            self.store.leave(search.ticket, [self.rotation(search.targets[index]) for index in targets])
            search.ticket = 0

    async def _ask(self, search: Search, targets: list[int], wait: bool) -> tuple[Grant | Refusal | Exhausted, float]:
        while True:
            asked_at = self._now()
            ask = self._asked(search, targets, wait)
            try:
                answer = await self.store.acquire(ask, self._release)
            except StoreAway as away:
                await self._outlast(search, asked_at, away)
            else:
                search.acquire_s += self._now() - asked_at
                search.ticket = answer.ticket if isinstance(answer, Refusal) and wait else 0
                return answer, asked_at

    def _asked(self, search: Search, targets: list[int], wait: bool) -> Ask:
        rotations = tuple(self.rotation(search.targets[index]) for index in targets)
        amounts = search.amounts(any(one.counts_tokens for one in rotations))
        if search.expected is not None:
            _check_size(rotations, amounts)
        return Ask(
            rotations=rotations,
            max_wait_us=tuple(
                round(self._patience_s(search, search.targets[index]) * SECOND_US) * wait for index in targets
            ),
            tried=frozenset((targets.index(target), key) for target, key in search.tried if target in targets),
            amounts=amounts,
            shares=self._shares(search, targets) if search.batch else (),
            waited_us=round(search.waited_s * SECOND_US),
            ticket=search.ticket,
        )

    def _shares(self, search: Search, targets: list[int]) -> tuple[float, ...]:
        return tuple(self.config.pools[search.targets[index].pool].interactive_share for index in targets)

    async def probe(self, pool: Pool, key: Key) -> Held | None:
        """A key that rests as dead, for one cheap call, if it is time to try it: for one replica at a time."""
        one = rotation(replace(pool, keys=(replace(key, models=()),)), self.config.budgets, "")
        alone = replace(one, digest=f"{one.digest}-probe")
        asked_at = self._now()
        answer = await self.store.acquire(Ask((alone,), (0,), probing=True), self._release)
        return self._held(answer, 0, asked_at) if isinstance(answer, Grant) else None

    def _patience_s(self, search: Search, target: Target) -> float:
        """How long the request may still wait for this target's room."""
        own_s = self.config.pools[target.pool].max_wait_us / SECOND_US
        wait_s = own_s if search.max_wait_s is None else search.max_wait_s
        return max(0.0, min(wait_s - search.waited_s, search.deadline - self._now()))

    def _most_patience_s(self, search: Search) -> float:
        return max((self._patience_s(search, search.targets[index]) for index in search.open), default=0.0)

    async def _outlast(self, search: Search, since: float, away: StoreAway) -> None:
        """Waits for Redis to come back as the request would wait for room; raises `away` when that is over."""
        if self.store.up.is_set():  # away, and nobody brings it back: it was closed
            raise away
        search.waited_s += self._now() - since
        patience_s = self._most_patience_s(search)
        try:
            with self._timed(search), self.waiting.one_more(search):
                async with asyncio.timeout(patience_s):
                    await self.store.up.wait()
        except (TimeoutError, Full):
            raise away from None

    @contextmanager
    def _timed(self, search: Search) -> Iterator[None]:
        """What it takes is time that the request has waited."""
        began = self._now()
        try:
            yield
        finally:
            search.waited_s += self._now() - began

    async def _wait(self, search: Search, held: Held) -> bool:
        """Sleeps until a reserved grant's moment and confirms it; False: it is gone, ask again."""
        try:
            with self.waiting.one_more(search):
                await self._until_its_moment(search, held)
            return held.in_hand and await self.renew(search, held)
        except Full:
            self.release(held)
            return False
        except (asyncio.CancelledError, StoreAway):
            self.release(held)
            raise

    async def _until_its_moment(self, search: Search, held: Held) -> None:
        """Sleeps; the moment moves forward when requests have come to fewer tokens than was expected of them.

        Only who has the earliest moment asks for an earlier one, so that the others follow in their order.
        """
        if not held.grant.counts_tokens:
            await self._sleep(search, held.grant.wait_us)
            return
        with self._timed(search), self.waiting.dated(held.pool.name, held.moment_at) as is_first:
            while held.in_hand and (left_s := held.moment_at - self._now()) > 0:
                if is_first.is_set():
                    ended = self.waiting.next_end()
                    await self._advance(held)
                    await self.waiting.until(ended, min(SOONER_S, max(0.0, held.moment_at - self._now())))
                else:
                    await self.waiting.until(is_first, left_s)

    async def _advance(self, held: Held) -> None:
        """An earlier moment for a reservation, where there is one; not in hand any more where nobody can tell which."""
        asked_at, held.in_hand = self._now(), False
        try:
            answer = await self.store.advance(held.grant, self._pools_of[held.grant.member.account], self._release)
        except StoreAway as away:
            held.in_hand = not away.sent
        else:
            held.in_hand, held.moment_at = True, asked_at + answer.wait_us / SECOND_US
            held.grant = replace(held.grant, moment_us=answer.moment_us)

    async def _sleep(self, search: Search, wait_us: int) -> None:
        with self._timed(search):
            await asyncio.sleep(wait_us / SECOND_US)

    async def renew(self, search: Search, held: Held) -> bool:
        """Makes a grant that is late, or was reserved, good for sending now; False: it is gone, ask anew.

        It was given back then; or Redis went away over it, so that nobody can tell what it counts as, and it stays
        counted. Raises StoreAway when Redis is away for longer than the request may wait. A caller that is cancelled,
        or gets that, releases the grant, as before a renewal.
        """
        for _ in range(CONFIRMS):
            asked_at = self._now()
            # Until the answer is known it may count at either moment: a release of the wrong one could take out
            # another's. Where nobody waits for the answer any more, it releases the grant itself.
            held.in_hand = False
            try:
                answer = await self.store.confirm(held.grant, self._pools_of[held.grant.member.account], self._release)
            except StoreAway as away:
                held.in_hand = not away.sent
                await self._outlast(search, asked_at, away)
                if away.sent:
                    self._ended(held)
                    return False
                continue
            if isinstance(answer, Withdrawn):
                self._ended(held)
                return False
            held.in_hand = True
            held.grant = replace(held.grant, moment_us=answer.moment_us, runs=isinstance(answer, Confirmed))
            if isinstance(answer, NotYet):
                self._ended(held)
                if answer.wait_us > LONGEST_PUT_OFF_US:
                    break
                await self._sleep(search, answer.wait_us)
                continue
            self.running.began(held)
            held.moment_at = asked_at - answer.age_us / SECOND_US
            held.send_by = held.moment_at + guard_s(held.grant)
            if self._now() <= held.send_by:
                return True
        self.release(held)
        return False

    def release(self, held: Held) -> None:
        """Gives back a grant that surely was not sent; once, however often it is called."""
        if held.in_hand:
            held.in_hand = False
            self._release(held.grant)
        self._ended(held)

    def _release(self, grant: Grant) -> None:
        self.store.release(grant, self._pools_of[grant.member.account])

    def finish(self, held: Held, actual: Amounts | None) -> None:
        """The request of a grant that was sent is over, and came to this much (None: nobody knows, so to what was
        expected); once, however often it is called."""
        actual = held.grant.amounts if actual is None or not held.grant.counts_tokens else actual
        if self._ended(held) or (held.in_hand and actual != held.grant.amounts):
            self.store.settle(held.grant, actual, self._pools_of[held.grant.member.account])
            self.waiting.ended()
        held.in_hand = False

    def _ended(self, held: Held) -> bool:
        was_running = self.running.ended(held)
        if was_running:
            self.waiting.ended()
        return was_running

    def _held(self, grant: Grant, target: int, asked_at: float) -> Held:
        pool = grant.rotation.pool
        got = held(grant, target, self.config.pools[pool], self._keys[pool][grant.member.id], asked_at)
        if not grant.wait_us:
            self.running.began(got)
        return got

    def _now(self) -> float:
        return monotonic()  # not the loop's own: uvloop's counts whole milliseconds

    # --- what was learnt ----------------------------------------------------------------------------

    def report(self, report: Report, held: Held, drift: Drifted | None = None) -> None:
        """Queues what an attempt with this key taught, ahead of every later acquire.

        `drift`: what it is that the provider refused, if a key rests for it.
        """
        if not (report.rests or report.clears or report.ends):
            return
        report = replace(report, moment_us=held.grant.moment_us)
        if not all(rest.proved for rest in report.rests):
            self.sight.suspect(held.pool.name, held.key.id)
        accounts = {rest.subject.account for rest in report.rests if rest.throttle}
        accounts |= {subject.account for subject in (*report.clears, *report.ends)}
        pools = {pool for account in accounts for pool in self._pools_of[account]}

        def told(reported: Reported) -> None:
            self.sight.forget()
            self._telling.told(report, held, reported, drift)

        self.store.report(report, pools, told)

    def succeeded(self, held: Held, request_id: str) -> None:
        """A request was served with this key. Where the key rested, or does still, it rests no more."""
        if held.grant.finds:
            ends = subjects(held.grant.member, held.model)
            self.report(Report(request_id, ends=ends, pool=held.pool.name), held)

    async def outlast_suspicion(self, search: Search) -> bool:
        """After a refusal: pauses where an untried key rests or just rested on suspicion, for that ends with an answer.

        False where none did, or the request may not wait any longer.
        """
        patience_s = self._most_patience_s(search)
        if patience_s <= 0 or not await self.sight.met_suspicion(search):
            return False
        pause_s = min(SUSPICION_PAUSE_S, patience_s)
        await asyncio.sleep(pause_s)
        search.waited_s += pause_s
        return True


def _check_size(rotations: tuple[Rotation, ...], amounts: Amounts) -> None:
    """Raises TooLarge where every key of every target has a budget that could not hold the request, however empty."""
    for one in rotations:
        for limits in one.limits:
            holding = (limit for limit in (*limits, *one.total) if limit.enforce)
            if all(need(limit, amounts, 0) <= limit.max for limit in holding):
                return
    tokens = [limit for one in rotations for limit in (*one.limits[0], *one.total) if unit_of(limit)]
    most = min(tokens, key=lambda limit: limit.max)
    raise TooLarge(f"It may come to {amounts[1]} tokens, and a budget is {most.max} {most.unit}.")
