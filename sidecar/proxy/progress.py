"""What the attempts of one request have taught, and what is to be done next: decided without I/O."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from enum import Enum

from sidecar.model.classes import Class, Scope
from sidecar.model.configured import Key, Pool, Proxy, Target
from sidecar.model.outcomes import Outcome
from sidecar.model.words import Report
from sidecar.pool import resting
from sidecar.pool.blame import PROOFS, Blame, is_refusal
from sidecar.pool.drifting import drifted
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.providers.catalogue import probe

MOST_ATTEMPTS = 20  # of a request at one target, whatever they come to
BRIEF_US = 10_000  # a rest that need not keep this request from its key
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 2.0  # doubled, with full jitter

FAULTS = frozenset({Class.OVERLOADED, Class.SERVER_ERROR, Class.TIMEOUT, Class.CONNECT})  # of the provider


class Next(Enum):
    """What follows an attempt."""

    PASS = "this answer goes to the client"  # noqa: S105
    FIRST = "the answer on which a second opinion was asked goes to the client"
    AGAIN = "another key"
    LATER = "another key, after the backoff"
    OVER = "another target, for its route takes no such answer"


@dataclass(slots=True)
class Progress:
    """One request's attempts so far.

    `again` are the keys that met a fault of the provider: they may be tried again when all were tried. `left` are the
    targets that the route's `fallback_on` left at such a fault: they are asked on when no other serves.
    """

    pools: Pools
    search: Search
    repeatable: Callable[[], bool]  # whether executing the call twice does no harm
    attempts: int = 0
    kinds: list[Class] = field(default_factory=list)
    blames: dict[str, Blame] = field(default_factory=dict)  # by pool, from the first key that refused
    again: set[tuple[int, str]] = field(default_factory=set)
    asked: Counter[int] = field(default_factory=Counter)  # attempts, for each target
    capped: set[int] = field(default_factory=set)  # targets that are asked no more, though they may have other keys
    faults: Counter[int] = field(default_factory=Counter)  # of the provider, for each target
    doors: set[str] = field(default_factory=set)  # of the providers that were asked
    failing: set[tuple[str, str]] = field(default_factory=set)  # way and model, of those whose fault was told
    left: set[int] = field(default_factory=set)
    stays: bool = False  # no target is left any more at a fault
    second_opinion: bool = False  # one key of another account is asked, once

    def learn(self, held: Held, outcome: Outcome, status: int | None, now: float) -> Next:
        """Takes an attempt's outcome in; reports what must rest. `status` None: no answer came."""
        self.attempts += 1
        self.asked[held.target] += 1
        self.kinds.append(outcome.kind)
        blame = self.blames.get(held.pool.name)
        if blame is not None and outcome.kind in PROOFS:
            self.pools.report(blame.proved(held.pool.cooldowns.max_us, probe(held.pool.provider) is not None), held)
        rested = self.rest(held, outcome, now)
        self._of_provider(held, outcome, now)
        if outcome.kind is Class.OK or self._was_done(held, outcome, status):
            follows = Next.PASS
        elif self._falls_back(held, outcome, status):
            follows = Next.OVER if outcome.scope is not Scope.PROVIDER else self._met_fault(held, now)
        elif outcome.kind is Class.BLOCKED:
            follows = Next.PASS
        elif self.second_opinion:
            acted = outcome.scope is Scope.PROVIDER and not self._may_repeat(held, outcome, status)
            follows = Next.PASS if acted else Next.FIRST
        elif is_refusal(outcome.kind, outcome.scope):
            follows = self._refused(held, outcome)
        elif rested:
            follows = Next.AGAIN
        elif outcome.scope is Scope.PROVIDER:
            follows = self._provider(held, outcome, status, now)
        else:
            follows = self._request(held, outcome, status)
        self._cap(held.target)
        if follows in {Next.PASS, Next.FIRST}:
            self.take_back(held)
        elif not self.search.open and self.come_back(now):
            follows = Next.LATER
        return follows

    def _cap(self, index: int) -> None:
        """After so many attempts the next target has its turn, if there is one."""
        if self.asked[index] >= MOST_ATTEMPTS and index not in self.search.closed:
            self.search.closed.add(index)
            self.capped.add(index)

    def _of_provider(self, held: Held, outcome: Outcome, now: float) -> None:
        """What the attempt says of its provider to all others: a request came to it, and it failed or it works."""
        door, request_id = held.pool.provider.door, self.search.request_id
        if door not in self.doors:
            self.doors.add(door)
            self.pools.retries.asked(door, now)
        if outcome.kind in FAULTS and not outcome.works:
            self.failed(held)
        elif outcome.kind in {Class.OK, Class.BLOCKED}:
            self.pools.succeeded(held, request_id)
        else:
            self.pools.answered(held, request_id)

    def failed(self, held: Held) -> None:
        """Tells of a provider's fault: how often it fails this request says nothing of others."""
        where = held.pool.way, held.model
        self.pools.failed(held, self.search.request_id, again=where in self.failing)
        self.failing.add(where)

    def _falls_back(self, held: Held, outcome: Outcome, status: int | None) -> bool:
        """Whether the route sends such an answer's request to another target; this one is asked no more, then.

        Where it is the last one all is as on any route: its other keys may do better, or the answer is the client's. So
        it is where none of the others could serve, and those that were left at a fault are asked on.
        """
        if not meant(self.search.route.fallback_on, outcome.kind, status) or self.search.open == [held.target]:
            return False
        if outcome.scope is Scope.PROVIDER:
            if self.stays or not (outcome.other and self._may_repeat(held, outcome, status)):
                return False
            self.left.add(held.target)
        self.search.closed.add(held.target)
        return True

    def come_back(self, now: float) -> bool:
        """Whether targets that were left at a fault are asked on; they are, then, as without `fallback_on`, as far as
        the retry budget goes."""
        left = {self._asks(index): index for index in self.left}
        able = {asks for asks, index in left.items() if self._may_retry(index, now)}
        self.search.closed -= {index for index in self.left if self._asks(index) in able}
        self.left, self.stays = set(), True
        return bool(able)

    def _may_repeat(self, held: Held, outcome: Outcome, status: int | None) -> bool:
        """Whether the request was surely not executed, or does no harm twice."""
        executed = outcome.kind is not Class.CONNECT and status not in {401, 403, 429, 529}
        return not executed or self.is_harmless(held)

    def _was_done(self, held: Held, outcome: Outcome, status: int | None) -> bool:
        """Whether its provider has begun, as every 2xx says, what does harm twice: then the answer is the client's."""
        return status is not None and status < 300 and not self._may_repeat(held, outcome, status)

    def is_harmless(self, held: Held) -> bool:
        """Whether its pool takes it that the call may be executed twice, or that does no harm."""
        return held.pool.retry_unsafe or self.repeatable()

    def take_back(self, held: Held) -> None:
        """Ends every suspicion that nothing has proved: the request goes no further."""
        for blame in self.blames.values():
            self.pools.report(blame.taken_back(), held)

    def rest(self, held: Held, outcome: Outcome, now: float) -> bool:
        """Whether the key's account rests from here on, so that the next acquire passes it over untold."""
        grant = held.grant
        rest = resting.rest(outcome, grant.member, held.model, held.pool, held.now_us(now))
        if rest is None:
            return False
        drift = drifted(self.search.request_id, held.pool, grant, self.search.model(held), outcome)
        self.pools.report(Report(self.search.request_id, rests=(rest,)), held, drift)
        if rest.delay_us < BRIEF_US:
            # Over before the next acquire looks: at `retry-after: 0` the same key would be asked without a pause.
            self.search.tried.add((held.target, held.key.id))
        return True

    def _refused(self, held: Held, outcome: Outcome) -> Next:
        blame = self.blames.setdefault(held.pool.name, Blame(self.search.request_id))
        member = held.grant.member
        subject = resting.subject(outcome, member, held.model, of_key=True)
        if subject.model is None:
            self.search.tried |= self.pools.of_account(self.search, member.account, member.key)
        self.search.tried.add((held.target, held.key.id))
        others = self.pools.untried(self.search, held.target) > 0
        self.pools.report(blame.refused(outcome.kind, subject, others), held)
        if blame.is_the_requests:
            here = self.search.targets[held.target]
            self._close(lambda target: target.pool == here.pool and (subject.model is None or target == here))
        return Next.AGAIN

    def _provider(self, held: Held, outcome: Outcome, status: int | None, now: float) -> Next:
        if not outcome.other:
            self._shut_door(held)
            return Next.AGAIN if self.search.open or self.left else Next.PASS
        return self._met_fault(held, now) if self._may_repeat(held, outcome, status) else Next.PASS

    def _met_fault(self, held: Held, now: float) -> Next:
        """Who asks the provider for the same again is asked as far as the retry budget goes; others are at once."""
        tried = held.target, held.key.id
        self.search.tried.add(tried)
        self.again.add(tried)
        self.faults[held.target] += 1
        if self.faults[held.target] >= held.pool.max_attempts:
            self.search.closed.add(held.target)
            self.left.discard(held.target)
        alike = {index for index in self.search.open if self._asks(index) == self._asks(held.target)}
        if alike and self._may_retry(held.target, now):
            return Next.LATER
        self.search.closed |= alike
        return Next.AGAIN

    def _may_retry(self, index: int, now: float) -> bool:
        pool = self._pool(index)
        return self.pools.retries.allow(pool.provider.door, pool.retry_budget, now)

    def _asks(self, index: int) -> tuple[str, str | None]:
        """What a target's faults say of others: that they fail too who ask the same provider for the same model."""
        return self._pool(index).provider.door, self.search.targets[index].model

    def _pool(self, index: int) -> Pool:
        return self.pools.config.pools[self.search.targets[index].pool]

    def _shut_door(self, held: Held) -> None:
        """Whoever stands before the same door, sent by the same address, is refused alike; a key may have a proxy of
        its own."""
        door = _way_in(held.pool, held.key)
        pools = [self.pools.config.pools[target.pool] for target in self.search.targets]
        for index, pool in enumerate(pools):
            same = {(index, key.id) for key in pool.keys if _way_in(pool, key) == door}
            self.search.tried |= same
            if same and len(same) == len(pool.keys):
                self.search.closed.add(index)
                self.left.discard(index)

    def _request(self, held: Held, outcome: Outcome, status: int | None) -> Next:
        if not outcome.other and not (status == 404 and self.search.unsure):
            return Next.PASS
        self.second_opinion = True
        same = self.pools.of_account(self.search, held.grant.member.account)
        self.search.tried |= same
        self.again -= same
        return Next.AGAIN

    def _close(self, which: Callable[[Target], bool]) -> None:
        self.search.closed |= {index for index, target in enumerate(self.search.targets) if which(target)}

    @property
    def may_try_again(self) -> bool:
        """Whether a key that met a fault of the provider may be tried again."""
        return any(target not in self.search.closed for target, _ in self.again)

    @property
    def waits(self) -> bool:
        """Whether room may be waited for: room now on any key beats that, and so does a key that met a passing fault of
        the provider, or a target that was left at one."""
        return not (self.may_try_again or self.second_opinion or self.left)

    def try_again(self) -> bool:
        """Whether keys that met a fault of the provider may be tried again; they are, then."""
        able = self.may_try_again
        self.search.tried -= self.again
        self.again.clear()
        return able

    @property
    def met_faults_alone(self) -> bool:
        """Whether every attempt met a fault of the provider."""
        return bool(self.kinds) and FAULTS.issuperset(self.kinds)

    @property
    def over(self) -> bool:
        """Whether nothing is left to ask."""
        return not self.search.open

    @property
    def backoff_s(self) -> float:
        """Full jitter: replicas that failed together do not come back together."""
        faults = sum(self.faults.values())
        return random.uniform(0, min(LAST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (faults - 1)))  # noqa: S311


def meant(fallback_on: Set[str], kind: Class, status: int | None) -> bool:
    """Whether an answer is one of those that a route names; one of a bad request may go by three names."""
    if not fallback_on:
        return False
    wide = kind is Class.CONTEXT_TOO_LONG and Class.BAD_REQUEST in fallback_on
    unfound = kind is Class.BAD_REQUEST and status == 404 and "not_found" in fallback_on
    return kind in fallback_on or wide or unfound


def _way_in(pool: Pool, key: Key) -> tuple[str, Proxy]:
    """What refuses whoever comes so: a provider's door, by the address that a proxy lends."""
    return pool.provider.door, key.proxy or pool.proxy
