"""Pools: a request asks for a key and gets one whose moment has come, or learns why not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from time import monotonic

from sidecar.model.adoption import owners
from sidecar.model.bearing import resting_provider, subjects
from sidecar.model.configured import Config, Key, Pool
from sidecar.model.events import Drifted, Emit
from sidecar.model.rotations import rotation
from sidecar.model.words import (
    ONE,
    Amounts,
    Ask,
    Confirmed,
    Exhausted,
    Failed,
    Grant,
    NotYet,
    Refusal,
    Report,
    Reported,
    Subject,
    unit_of,
)
from sidecar.pool.asking import Asking
from sidecar.pool.dated import Dated, Queue
from sidecar.pool.lasting import Lasting
from sidecar.pool.rotations import Rotations
from sidecar.pool.search import Held, Search, held
from sidecar.pool.sight import Sight
from sidecar.pool.telling import Telling
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway
from sidecar.store.made import Maker

CONFIRMS = 10  # how often one grant is confirmed, each time late or put off again, before it is given back
SUSPICION_PAUSE_S = 0.05  # before a request that met one asks again


class Pools:
    """The pools of one config over one store."""

    def __init__(self, config: Config, store: Store, emit: Emit, lasting: Lasting | None = None) -> None:
        self.config, self.store, self._telling = config, store, Telling(config, store, emit)
        lasting = lasting or Lasting(store)
        lasting.follow(config)
        store.follow(owners(config))
        self.running, self.waiting, self.retries = lasting.running, lasting.waiting, lasting.retries
        self.rotation = Rotations(config)
        self.sight = Sight(config.pools, store, self.rotation)
        self._lasting = lasting
        self._doubted: set[Subject | None] = set()  # providers of which a fault was told here, and no success since
        self._asking = Asking(config, store, self.rotation, self.waiting, lasting.give_back)
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

    async def makers(self, search: Search, things: Mapping[str, int]) -> dict[str, Maker]:
        """Who made each of these, as `Made.makers` says. Raises StoreAway where Redis cannot tell in the time that the
        request may wait."""
        while True:
            asked_at = monotonic()
            try:
                return await self.store.made.makers(things)
            except StoreAway as away:
                await self._asking.outlast(search, asked_at, away)

    def patience_s(self, search: Search) -> float:
        """How long the request may still wait for any target's room."""
        return self._asking.most_patience_s(search)

    # --- a key --------------------------------------------------------------------------------------

    async def acquire(self, search: Search, wait: bool = True) -> Held | Refusal | Exhausted:
        """A key whose moment has come; with `wait` it may be waited for as long as the request may.

        Raises StoreAway when Redis cannot answer in that time, TooLarge where no budget could ever hold the request. A
        caller that is cancelled leaves no grant.
        """
        waits = wait and self._asking.most_patience_s(search) > 0
        with self.waiting.seat(search) if waits else nullcontext(False) as may_wait:
            while True:
                answer, asked_at = await self._asking.next(search, may_wait)
                if not isinstance(answer, Grant):
                    return answer
                got = self._held(answer, search.asked[answer.target][0], asked_at)
                self._began(got)
                if got.grant.runs and may_wait and self.waiting.has_queues:
                    self._pass_on(search, got)
                if got.grant.runs:
                    return got
                if waited := await self._wait(search, got):
                    return waited

    def _pass_on(self, search: Search, got: Held) -> None:
        """What who has just come may send now goes to those who wait for the same; it gets what the last had."""
        queue = self.waiting.queue(self._asking.alike(search))
        if queue is not None:
            queue.pass_on(self._dated(search, got))

    async def probe(self, pool: Pool, key: Key) -> Held | None:
        """A key that rests as dead, for one cheap call, if it is time to try it: for one replica at a time."""
        one = rotation(replace(pool, keys=(replace(key, models=()),)), self.config.budgets, "")
        alone = replace(one, digest=f"{one.digest}-probe")
        asked_at = monotonic()
        answer = await self.store.acquire(Ask((alone,), (0,), probing=True), self._lasting.give_back)
        if not isinstance(answer, Grant):
            return None
        got = self._held(answer, 0, asked_at)
        self._began(got)
        return got

    async def _wait(self, search: Search, held: Held) -> Held | None:
        """Waits for a reservation's moment, or for one that is sooner, and confirms it; None: it is gone, ask again."""
        confirms, is_good = 0, False
        try:
            with self.waiting.one_more(search), search.waiting():
                while not is_good and confirms < CONFIRMS and await self._until_its_moment(search, held):
                    is_good = held.may_be_sent or await self._confirm(search, held)
                    confirms += 1
        finally:
            if not is_good:
                self.release(held)
            self._asking.leave_line(search)
        return held if is_good else None

    async def _until_its_moment(self, search: Search, held: Held) -> bool:
        """Returns at its moment, which others who wait, or who come and go, may move; False: it came to nothing.

        Only who has the earliest moment looks for a sooner one, so that the others follow in their order.
        """
        if not held.in_hand or held.moment_at <= monotonic():
            return held.in_hand
        mine = self._dated(search, held)
        with self.waiting.dated(self._asking.alike(search), mine) as queue:
            while held.in_hand and (left_s := mine.waits_until - monotonic()) > 0:
                if queue.first is not mine:
                    mine.told.clear()
                    await self.waiting.until(mine.told, left_s)
                    continue
                ended = self.waiting.next_end(search.places)
                if await self._advance(held):
                    queue.moved(mine)
                if held.in_hand:
                    await self._look(queue, mine)
                await self.waiting.until(ended, min(mine.waits_until - monotonic(), self.waiting.pause_s(search)))
            return held.in_hand and held.moment_at <= monotonic()

    async def _look(self, queue: Queue, mine: Dated) -> None:
        """Looks for what is sooner than the moment of the last who needs the same: all from there on move forward.

        Where places in flight are counted, only for what is sooner than its own: for a place it is the first to ask.
        """
        last = mine if self._asking.counts_places(mine.search) else queue.last_like(mine)
        found = await self._asking.look(last.search, last.held.moment_at)
        if found is None:
            return
        grant, asked_at = found
        sooner = self._held(grant, last.search.asked[grant.target][0], asked_at)
        taken = queue.give(sooner, mine)
        if taken is not None:
            self._began(taken)
        self._give_back(sooner)

    async def _advance(self, held: Held) -> bool:
        """Whether a reservation has an earlier moment now; it is not in hand any more where nobody can tell which."""
        grant, pools = held.grant, self._lasting.pools(held.grant)
        try:
            seen = await self.store.advance(grant, pools, lambda _: None, only_tells=True)
        except StoreAway:
            return False
        if seen.moment_us >= grant.moment_us or held.grant is not grant:
            return False
        asked_at, held.in_hand = monotonic(), False
        try:
            answer = await self.store.advance(held.grant, pools, self._lasting.give_back)
        except StoreAway as away:
            held.in_hand = not away.sent
            return False
        held.date(answer, asked_at)
        return True

    async def _confirm(self, search: Search, held: Held) -> bool:
        """Whether a grant may be sent now; if not it is put off, its moment ahead, or it is not in hand any more.

        It was given back then; or Redis went away over it, so that nobody can tell what it counts as, and it stays
        counted. Raises StoreAway when Redis is away for longer than the request may wait.
        """
        # Until the answer is known it may count at either moment: a release of the wrong one could take out
        # another's. Where nobody waits for the answer any more, it releases the grant itself.
        asked_at, held.in_hand = monotonic(), False
        ran = self.running.ended(held.grant)  # a sign of life would bring back what it gives up
        try:
            answer = await self.store.confirm(held.grant, self._lasting.pools(held.grant), self._lasting.give_back)
        except StoreAway as away:
            if not away.sent:
                held.in_hand = True
                self._began(held)
            await self._asking.outlast(search, asked_at, away)
            return False
        if isinstance(answer, Confirmed | NotYet):
            held.date(answer, asked_at)
            self._began(held)
        if ran and not isinstance(answer, Confirmed):
            self.waiting.ended(self._lasting.places(held.grant))
        return held.in_hand and held.may_be_sent

    async def renew(self, search: Search, held: Held) -> bool:
        """Makes a grant that is late good for sending now; False: it is gone, ask anew.

        Raises StoreAway when Redis is away for longer than the request may wait. A caller that is cancelled, or gets
        that, releases the grant, as before a renewal.
        """
        for _ in range(CONFIRMS):
            if await self._confirm(search, held):
                return True
            if not held.in_hand or self._dated(search, held).waits_until < held.moment_at:
                break
            with search.waiting():
                await asyncio.sleep(held.moment_at - monotonic())
        self.release(held)
        return False

    def release(self, held: Held) -> None:
        """Gives back a grant that surely was not sent; once, however often it is called."""
        if self._give_back(held):
            self.waiting.ended(self._lasting.places(held.grant))

    def _give_back(self, held: Held) -> bool:
        """Whether it had been in hand, or in flight."""
        was = self.running.ended(held.grant) or held.in_hand
        if held.in_hand:
            held.in_hand = False
            self._lasting.give_back(held.grant)
        return was

    def finish(self, held: Held, actual: Amounts | None, again: bool = False) -> None:
        """The request of a grant that was sent is over, and came to this much (None: nobody knows, so to what was
        expected); once, however often it is called.

        `again`: another attempt may follow. What this one cost its client does not pay: the tokens that it has reserved
        are free before the next acquire, which reserves them anew.
        """
        grant, pools = held.grant, self._lasting.pools(held.grant)
        actual = grant.amounts if actual is None or not grant.counts_tokens else actual
        charged = ONE if again and any(map(unit_of, grant.rotation.client.limits)) else actual
        if self.running.ended(grant) or (held.in_hand and not actual == charged == grant.amounts):
            self.store.settle(grant, actual, charged, pools)
            self.waiting.ended(self._lasting.places(grant))
            held.unpaid = ONE if charged == actual else actual
        held.in_hand = False

    def charge(self, held: Held) -> None:
        """The client gets the answer after all behind which another attempt was made: it pays what that came to."""
        if held.unpaid != ONE:
            asked = replace(
                held.grant, amounts=ONE
            )  # as the client's windows hold it now; the others keep what they do
            self.store.settle(asked, ONE, held.unpaid, self._lasting.pools(asked))
            held.unpaid = ONE

    def _held(self, grant: Grant, target: int, asked_at: float) -> Held:
        pool = grant.rotation.pool
        return held(grant, target, self.config.pools[pool], self._keys[pool][grant.member.id], asked_at)

    def _began(self, held: Held) -> None:
        """What was granted for now is in flight."""
        if held.grant.runs:
            self.running.began(held.grant)

    def _dated(self, search: Search, held: Held) -> Dated:
        return Dated(search, held, self._asking.dates(search))

    # --- what was learnt ----------------------------------------------------------------------------

    def report(self, report: Report, held: Held, drift: Drifted | None = None) -> None:
        """Queues what an attempt with this key taught, ahead of every later acquire.

        `drift`: what it is that the provider refused, if a key rests for it.
        """
        if not (report.rests or report.clears or report.ends or report.works or report.failed or report.left):
            return
        report = replace(report, moment_us=held.grant.moment_us)
        if not all(rest.proved for rest in report.rests):
            self.sight.suspect(held.pool.name, held.key.id)
        accounts = {rest.subject.account for rest in report.rests if rest.throttle}
        accounts |= {subject.account for subject in (*report.clears, *report.ends)}
        pools = {pool for account in accounts for pool in self._lasting.pools_of[account]}

        def told(reported: Reported) -> None:
            self.sight.forget()
            if report.clears or report.ends:
                self.waiting.ended(pools)
            self._telling.told(report, held, reported, drift)

        self.store.report(report, pools, told)

    def succeeded(self, held: Held, request_id: str) -> None:
        """A request was served with this key. Where the key rested, or does still, it rests no more."""
        if held.grant.finds:
            provider, ends = _provider(held), subjects(held.grant.member, held.model)
            self._doubted.discard(provider)
            self.report(Report(request_id, ends=ends, pool=held.pool.name, works=provider), held)
        else:
            self.answered(held, request_id)

    def answered(self, held: Held, request_id: str) -> None:
        """A request was answered by a provider that works, so far as that was in doubt.

        Also where nobody doubted it yet when the request was granted: an answer may take longer than many faults.
        """
        if held.grant.finds or (self._doubted and _provider(held) in self._doubted):
            provider = _provider(held)
            self._doubted.discard(provider)
            self.report(Report(request_id, works=provider), held)

    def failed(self, held: Held, request_id: str, again: bool) -> None:
        """The provider was at fault: it failed, or did not answer. `again`: the request has told of that before."""
        breaker, provider = held.pool.breaker, _provider(held)
        if breaker is not None and provider is not None and (held.grant.finds or not again):
            self._doubted.add(provider)
            failed = Failed(provider, breaker.failures, breaker.within_us, breaker.pause_us, again)
            self.report(Report(request_id, failed=failed), held)

    def left(self, held: Held, request_id: str) -> None:
        """The client went away before the provider answered: another request may find out whether it works again."""
        if held.grant.finds:
            self.report(Report(request_id, left=_provider(held)), held)

    async def outlast_suspicion(self, search: Search) -> bool:
        """After a refusal: pauses where an untried key rests or just rested on suspicion, for that ends with an answer.

        False where none did, or the request may not wait any longer.
        """
        patience_s = self._asking.most_patience_s(search)
        if patience_s <= 0 or not await self.sight.met_suspicion(search):
            return False
        with search.waiting():
            await asyncio.sleep(min(SUSPICION_PAUSE_S, patience_s))
        return True


def _provider(held: Held) -> Subject | None:
    """What rests when its provider's breaker is open; None: it has none."""
    way = held.grant.rotation.way
    return resting_provider(way, held.model) if way else None
