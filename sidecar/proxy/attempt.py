"""The only loop of the data plane: grant, send, outcome, next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from sidecar.model.amounts import amounts, no_less
from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Secret, Target
from sidecar.model.events import CANCELLED, Attempted, Emit
from sidecar.model.outcomes import HOLLOW, TIMED_OUT, UNREACHED, Outcome
from sidecar.model.words import ONE, Amounts, Exhausted, Refusal
from sidecar.pool.asking import TooLarge
from sidecar.pool.drifting import RATE_LIMITS
from sidecar.pool.pool import Pools
from sidecar.pool.resting import DEAD, DISABLED
from sidecar.pool.search import Held, Search
from sidecar.providers.dialect import BadCall, Reader
from sidecar.proxy.call import Call
from sidecar.proxy.errors import (
    LONGEST_RETRY_AFTER_US,
    Refused,
    busy,
    crowded,
    more_keys,
    out_of_budget,
    over_limit,
    overloaded,
    retry_after,
    store_away,
    unanswered,
)
from sidecar.proxy.inflate import unpacked
from sidecar.proxy.origin.connections import NotSent
from sidecar.proxy.origin.gate import Late
from sidecar.proxy.origin.incoming import Lost
from sidecar.proxy.progress import Next, Progress
from sidecar.proxy.upstream import Reply, Upstream
from sidecar.store.connect import StoreAway, StoreUnable

TOLD_BYTES = 64 * 1024  # of a failure's body: more than is kept of it, so that a secret at the cut can be found whole
LATE_GRANTS = 3  # that a request may lose to its own connections before it is told to come back

_EXECUTED = frozenset({Class.OK, Class.BLOCKED, Class.SERVER_ERROR, Class.TIMEOUT})  # or may have been
_THE_CLIENTS = frozenset(
    {Class.OK, Class.BLOCKED, Class.BAD_REQUEST, Class.CONTEXT_TOO_LONG}
)  # to judge: no other attempt does better
_SDKS_REPEAT = frozenset({408, 429, *range(500, 600)})  # a 409 too, but its lock may be free by then


@dataclass(slots=True)
class Answer:
    """What a request came to: the provider's reply and the grant that it answered."""

    reply: Reply
    held: Held
    target: Target
    sent_at: float

    @property
    def model(self) -> str:
        """The upstream's; "" for a call without one."""
        return self.target.model or ""

    @property
    def secrets(self) -> tuple[tuple[Secret, str], ...]:
        """What was sent that its client must not read, even where the provider repeats it, and what stands for it."""
        return (self.held.key.secret, self.held.key.id), *self.target.secrets

    @property
    def is_final(self) -> bool:
        """Whether its client's SDK should not go on: it is a failure that was retried as far as it may be, be it for a
        second opinion, or the request's own in spite of its status."""
        outcome = self.reply.outcome
        return outcome.kind not in _THE_CLIENTS or outcome.other or self.reply.status in _SDKS_REPEAT

    def attempted(self, request_id: str, client: str, outcome: Outcome) -> Attempted:
        """The event of this attempt, as far as it has come."""
        return Attempted(
            request_id=request_id,
            pool=self.held.pool.name,
            key=self.held.key.id,
            model=self.model,
            outcome=outcome.kind,
            status=self.reply.status,
            first_byte_s=self.reply.first_byte_at - self.sent_at,
            usage=self.reply.reader.usage if self.reply.reader else None,
            client=client,
            fingerprint=self.held.key.fingerprint,
            told=b"" if outcome.kind is Class.OK else self._told(),
        )

    def _told(self) -> bytes:
        """The beginning of a failure's body, unpacked; of an answer that its client got in part, what says the error.

        The rest of such an answer is the client's.
        """
        if self.reply.streams:
            return self.reply.reader.failing if self.reply.reader else b""
        return unpacked(self.reply.response.headers.get("Content-Encoding", ""), self.reply.held, TOLD_BYTES)[0]


@dataclass(slots=True)
class Attempts:
    """One request on its way to an answer. What it counts is read for the log line, also when it fails."""

    call: Call
    pools: Pools
    upstream: Upstream
    emit: Emit
    search: Search
    client: str = ""  # the id
    progress: Progress = field(init=False)
    last: Answer | None = None
    doubted: Answer | None = None  # the one on which a second opinion is asked
    passed_over: Answer | None = None  # the first that a client would have got, but for its route's fallback
    held: Held | None = None  # the latest key
    place: str = ""  # the origin at which it has one of a bounded number
    under_way: bool = False  # whether it is at the provider now
    answered: bool = False  # whether it has the answer for its client
    began_upstream: float | None = None

    def __post_init__(self) -> None:
        self.progress = Progress(self.pools, self.search, self.call.repeatable)

    @property
    def count(self) -> int:
        """How many attempts were made, the one under way included."""
        return self.progress.attempts + self.under_way

    @property
    def may_have_acted(self) -> bool:
        """Whether the call does harm twice and is at a provider, or was answered; what a key refused was not done."""
        held = self.held
        if held is None or not (self.answered or (self.under_way and held.in_hand)):  # else it was given back
            return False
        return not self.progress.is_harmless(held)

    async def run(self) -> Answer:
        """The answer for the client. Raises Refused with the sidecar's own where there is none."""
        try:
            async with asyncio.timeout_at(self.search.deadline):
                return await self._run()
        except TimeoutError:
            if self.held is not None and self.under_way:
                outcome = TIMED_OUT if self.held.in_hand else UNREACHED  # given back: it was not sent
                self.progress.failed(self.held)
                self._unanswered(self.held, outcome.kind)
            raise Refused(504, "timeout", "No answer within the pool's timeout.") from None
        except (StoreAway, StoreUnable) as error:
            raise store_away(str(error)) from None
        except TooLarge as error:
            raise Refused(413, "request_too_large", f"{error} Send less, or lower its max_tokens.") from None
        except asyncio.CancelledError:
            if self.held is not None and self.under_way and self.held.in_hand:  # sent: else it was given back
                self.pools.left(self.held, self.search.request_id)
                self._unanswered(self.held, CANCELLED)
            raise
        finally:
            if self.held is not None:
                self.progress.take_back(self.held)  # of a request that goes no further nothing more is learnt

    async def _run(self) -> Answer:
        late = 0
        while not self.progress.over:
            wait = self.progress.waits
            self._leave()
            got, self.place = await self.upstream.places.acquire(self.pools, self.search, wait)
            if not isinstance(got, Held):
                if self.progress.left:
                    if self.progress.come_back(monotonic()):
                        await asyncio.sleep(self.progress.backoff_s)
                    continue
                if self.progress.try_again():
                    continue
                if wait and isinstance(got, Refusal) and await self._outlast_suspicion():
                    continue
                return await self._end(got)
            self.held = got
            try:
                follows = await self._attempt(got)
            except Late:
                late += 1
                if late == LATE_GRANTS:
                    raise Refused(
                        503, "late", "Connections are slower than the budgets' guard.", {"Retry-After": "1"}
                    ) from None
                continue
            if follows is Next.PASS:
                return self._passed(self.last)
            if follows is Next.FIRST:
                return self._passed(self.doubted)
            if follows is Next.LATER and not self.progress.over:
                await asyncio.sleep(self.progress.backoff_s)
        return await self._end(None)

    async def _outlast_suspicion(self) -> bool:
        """Whether to ask again. What this request suspects is let go first: two could wait for each other."""
        if self.held is not None:
            self.progress.take_back(self.held)
        return await self.pools.outlast_suspicion(self.search)

    async def _attempt(self, held: Held) -> Next:
        """Sends once and learns from what comes. Raises Late, and Refused where what had no answer is not repeated."""
        sent_at = monotonic()
        self.began_upstream = self.began_upstream or sent_at
        self.under_way = True
        try:
            reply = await self.upstream.send(self.call, self.search, held, self.pools)
        except (NotSent, Lost) as error:
            self.under_way = False
            outcome = UNREACHED if isinstance(error, NotSent) else error.outcome
            if isinstance(error, Lost):
                self.search.client = self.search.client.again
            self._unanswered(held, outcome.kind, str(error))
            self.pools.finish(held, None, again=True)
            follows = self.progress.learn(held, outcome, None, monotonic())
            if follows is Next.PASS:  # what may have been done: the answer of a key before it is none to that
                raise unanswered([outcome.kind]) from None
            return follows
        except (Late, StoreAway, BadCall):
            self.under_way = False
            raise
        self.under_way = False
        self.last = Answer(reply, held, self.search.targets[held.target], sent_at)
        follows = self.progress.learn(held, reply.outcome, reply.status, monotonic())
        if self.progress.second_opinion:
            self.doubted = self.doubted or self.last
        if follows is Next.OVER and reply.outcome.scope is Scope.REQUEST:
            self.passed_over = self.passed_over or self.last
        if follows is not Next.PASS:
            reply.incoming.close()
            self.pools.finish(held, self._came_to(self.last), again=True)
            self.search.client = self.search.client.again
        if follows is not Next.PASS or not reply.streams:
            self.emit(self.last.attempted(self.search.request_id, self.client, reply.outcome))
        return follows

    def _unanswered(self, held: Held, outcome: str, why: str = "") -> None:
        of, key, model = self.search.request_id, held.key, self.search.model(held)
        who = self.client, key.fingerprint
        self.emit(Attempted(of, held.pool.name, key.id, model, outcome, None, None, None, *who, why.encode()))

    def finished(self, answer: Answer) -> Outcome:
        """The bytes of a 2xx have passed, or its client is gone: only now its usage and its true outcome are known."""
        reply, held = answer.reply, answer.held
        if reply.reader is None or not reply.streams:
            self.pools.finish(held, self._came_to(answer))
            if reply.reader is not None and reply.reader.usage is not None:
                self.pools.charge(held)
            return reply.outcome
        outcome = reply.reader.outcome(held.pool.provider, reply.seen)
        if outcome.kind is Class.OK and reply.broke is not None:
            outcome = reply.broke
        self.pools.finish(held, self._told(reply.reader, held, outcome))
        self.progress.rest(held, outcome, monotonic())
        self.emit(answer.attempted(self.search.request_id, self.client, outcome))
        return outcome

    def _told(self, reader: Reader, held: Held, outcome: Outcome) -> Amounts | None:
        """What an answer came to, as far as it says so itself; None: nobody asks."""
        if not held.grant.counts_tokens:
            return None
        estimate = self.call.estimate(self.search.targets)
        whole = reader.complete and (outcome.kind in {Class.OK, Class.BLOCKED} or outcome == HOLLOW)
        return amounts(reader.usage if whole else no_less(reader.usage, estimate), estimate)

    def _came_to(self, answer: Answer) -> Amounts | None:
        """What an answer cost of which nothing more is read: a refusal no tokens; None: of a fault nobody knows.

        An error within a 2xx comes from a provider that had begun.
        """
        reply = answer.reply
        if reply.reader is not None:
            return self._told(reply.reader, answer.held, reply.outcome)
        return None if reply.outcome.kind in _EXECUTED else ONE

    def _passed(self, answer: Answer | None) -> Answer:
        if answer is None:
            raise unanswered(self.progress.kinds)
        self.held, self.answered = answer.held, True
        return answer

    def close(self) -> None:
        """The request is over, however it ended: what it still held of a key's room is free, its budget counted."""
        if self.held is not None:
            self.pools.finish(self.held, None)
        self._leave()

    def _leave(self) -> None:
        if self.place:
            self.upstream.places.leave(self.place)
            self.place = ""

    # --- the end without a final answer -----------------------------------------------------------

    async def _end(self, got: Refusal | Exhausted | None) -> Answer:
        """The answer when no key is left to ask: the first of the rules that applies."""
        if self.progress.second_opinion:
            return self._passed(self.doubted)
        kinds = set(self.progress.kinds)
        dead = got is not None and await self._all_dead()
        if isinstance(got, Refusal) and got.by_client:
            raise crowded(self.client) if got.busy else over_limit(self.client, got.wait_us)
        if await self._leaves_keys():
            raise more_keys(self.progress.attempts)
        if isinstance(got, Refusal) and not dead:
            unasked_us = await self.pools.sight.unasked_us(self.search)
            if unasked_us is not None:
                if self.last is not None and self.progress.met_faults_alone:
                    return self._passed(self.last)
                raise overloaded(unasked_us)
            raise busy() if got.busy else out_of_budget(got.wait_us)
        if kinds and kinds <= RATE_LIMITS:
            raise out_of_budget(await self._earliest_us())
        if len(kinds) == 1 and self.last is not None:
            return self._passed(self.last)
        if self.passed_over is not None:
            return self._passed(self.passed_over)
        if dead:
            raise await self._dead(got.wait_us if isinstance(got, Refusal) else LONGEST_RETRY_AFTER_US)
        if not kinds or self.last is None:
            raise unanswered(self.progress.kinds)
        told = ", ".join(sorted(kinds))
        raise Refused(
            502, "upstream_failed", f"No key led to an answer; {self.progress.attempts} attempts met: {told}."
        )

    async def _leaves_keys(self) -> bool:
        """Whether keys are left that may serve, since a request asks only so many of a target.

        Where all said the same, and it was no rate limit, or it was the provider that failed, others would say it too.
        """
        kinds = set(self.progress.kinds)
        if (len(kinds) == 1 and not kinds <= RATE_LIMITS) or self.progress.met_faults_alone:
            return False
        for index in self.progress.capped:
            why = await self.pools.sight.why(self.search.targets[index])
            met = {key for at, key in self.search.tried if at == index}
            if len(met | why.proved.keys() | why.suspected) < why.keys:
                return True
        return False

    async def _all_dead(self) -> bool:
        """Whether every key that this request has not tried rests, proved, for what no budget cures."""
        for index, target in enumerate(self.search.targets):
            why = await self.pools.sight.why(target)
            dead = {key for key, reason in why.proved.items() if reason in DEAD | {DISABLED}}
            if len(dead | {key for at, key in self.search.tried if at == index}) < why.keys:
                return False
        return True

    async def _earliest_us(self) -> int:
        """The earliest end of the rests that this request has met."""
        whys = [await self.pools.sight.why(target) for target in self.search.targets]
        return min((why.ends_in_us for why in whys if why.ends_in_us), default=1_000_000)

    async def _dead(self, wait_us: int) -> Refused:
        told = []
        for name in dict.fromkeys(target.pool for target in self.search.targets):
            why = await self.pools.sight.why(next(target for target in self.search.targets if target.pool == name))
            counts = ", ".join(f"{count} for {reason}" for reason, count in why.reasons.items())
            until = f", the first until {why.ends_in_us // 1_000_000} s from now" if why.ends_in_us else ""
            told.append(f"pool {name}: {counts} of {why.keys} keys{until}")
        message = f"Every key rests ({'; '.join(told)}). See `sidecar status`."
        return Refused(503, "no_usable_key", message, retry_after(wait_us))
