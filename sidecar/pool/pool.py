"""Pools: a request asks for a key and gets one whose moment has come, or learns why not."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from sidecar.model.configured import SECOND_US, Config, Key, Pool, Target
from sidecar.model.events import Emit, KeyChanged
from sidecar.model.rotations import rotation
from sidecar.model.words import Ask, Exhausted, Grant, NotYet, Refusal, Report, Rest, Rotation, Subject, Withdrawn
from sidecar.pool.resting import DEAD
from sidecar.store.commands import Reported, Store
from sidecar.store.connect import StoreAway
from sidecar.store.names import rest_field
from sidecar.store.texts import read_rest

ROTATIONS_KEPT = 4096  # of this process, by pool and model: the names come from clients
CONFIRMS = 10  # how often one grant is confirmed, each time late or put off again, before it is given back
LONGEST_PUT_OFF_US = 5_000_000  # that a grant waits for those before it that came late
SUSPICION_S = 1.0  # after which one that was seen no longer explains a refusal
SUSPICION_PAUSE_S = 0.05  # before a request that met one asks again
WHY_S = 5.0  # how long an answer to `why` is good


@dataclass(slots=True)
class Search:
    """One request's search for a key: what it may use, what it has tried, how long it has waited."""

    request_id: str
    targets: tuple[Target, ...]  # each with its model; "" for a call without one
    deadline: float  # of the whole request, on the loop's clock
    max_wait_s: float | None = None  # replaces the pools' own
    tried: set[tuple[int, str]] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)  # targets that are not asked any more
    waited_s: float = 0.0
    acquire_s: float = 0.0

    @property
    def open(self) -> list[int]:
        """The targets that may still be asked."""
        return [index for index in range(len(self.targets)) if index not in self.closed]

    def model(self, held: Held) -> str:
        """The upstream model that a grant of this search is for; "" for a call without one."""
        return self.targets[held.target].model or ""


@dataclass(slots=True)
class Held:
    """A grant in hand whose moment has come. It may be sent once, until `send_by` on the loop's clock."""

    grant: Grant
    target: int  # of the search
    pool: Pool
    key: Key
    send_by: float
    moment_at: float  # when the grant's moment was, on the loop's clock
    in_hand: bool = True  # False: given back, or with a confirm whose answer is not known

    @property
    def model(self) -> str:
        """What rests for a model rest for: `*` where the rotation is shared by many."""
        return self.grant.rotation.model

    def now_us(self, at: float) -> int:
        """Redis's clock at a moment of the loop's."""
        return self.grant.moment_us + round((at - self.moment_at) * SECOND_US)


@dataclass(frozen=True, slots=True)
class Why:
    """How the keys of a rotation rest: how many for which reason, and the earliest end (microseconds from now)."""

    keys: int
    reasons: Mapping[str, int]
    ends_in_us: int
    proved: Mapping[str, str] = field(default_factory=dict)  # by key, the reason of each that is no suspicion
    suspected: frozenset[str] = frozenset()  # the other keys that rest


class Pools:
    """The pools of one config over one store."""

    def __init__(self, config: Config, store: Store, emit: Emit) -> None:
        self.config, self.store, self._emit = config, store, emit
        self._keys = {pool.name: {key.id: key for key in pool.keys} for pool in config.pools.values()}
        self._pools_of: dict[str, set[str]] = {}
        for pool in config.pools.values():
            for key in pool.keys:
                self._pools_of.setdefault(key.account, set()).add(pool.name)
        self._rotations: OrderedDict[tuple[str, str], Rotation] = OrderedDict()
        self._why: dict[Rotation, tuple[float, Why]] = {}
        self._suspected: dict[tuple[str, str], float] = {}  # pool and key -> when it was last seen under suspicion

    def rotation(self, target: Target) -> Rotation:
        """The rotation of a target, made on its first use."""
        name = target.pool, target.model or ""
        found = self._rotations.get(name)
        if found is None:
            found = rotation(self.config.pools[target.pool], self.config.budgets, name[1])
            self._rotations[name] = found
            if len(self._rotations) > ROTATIONS_KEPT:
                self._rotations.popitem(last=False)
        self._rotations.move_to_end(name)
        return found

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

        Raises StoreAway when Redis cannot answer in that time. A caller that is cancelled leaves no grant.
        """
        while True:
            targets = search.open
            answer, asked_at = await self._ask(search, targets, wait)
            if not isinstance(answer, Grant):
                return answer
            held = self._held(answer, targets[answer.target], asked_at)
            if not answer.wait_us or await self._wait(search, held):
                return held

    async def _ask(self, search: Search, targets: list[int], wait: bool) -> tuple[Grant | Refusal | Exhausted, float]:
        while True:
            asked_at = self._now()
            ask = Ask(
                rotations=tuple(self.rotation(search.targets[index]) for index in targets),
                max_wait_us=tuple(
                    round(self._patience_s(search, search.targets[index]) * SECOND_US) * wait for index in targets
                ),
                tried=frozenset((targets.index(target), key) for target, key in search.tried if target in targets),
            )
            try:
                answer = await self.store.acquire(ask, self._release)
            except StoreAway as away:
                await self._outlast(search, asked_at, away)
            else:
                search.acquire_s += self._now() - asked_at
                return answer, asked_at

    def _patience_s(self, search: Search, target: Target) -> float:
        """How long the request may still wait for this target's room."""
        own_s = self.config.pools[target.pool].max_wait_us / SECOND_US
        wait_s = own_s if search.max_wait_s is None else search.max_wait_s
        return max(0.0, min(wait_s - search.waited_s, search.deadline - self._now()))

    async def _outlast(self, search: Search, since: float, away: StoreAway) -> None:
        """Waits for Redis to come back as the request would wait for room; raises `away` when that is over."""
        if self.store.up.is_set():  # away, and nobody brings it back: it was closed
            raise away
        now = self._now()
        search.waited_s += now - since
        patience_s = max((self._patience_s(search, search.targets[index]) for index in search.open), default=0.0)
        try:
            async with asyncio.timeout(patience_s):
                await self.store.up.wait()
        except TimeoutError:
            raise away from None
        finally:
            search.waited_s += self._now() - now

    async def _wait(self, search: Search, held: Held) -> bool:
        """Sleeps until a reserved grant's moment and confirms it; False: it is gone, ask again."""
        try:
            await self._sleep(search, held.grant.wait_us)
            return await self.renew(search, held)
        except (asyncio.CancelledError, StoreAway):
            self.release(held)
            raise

    async def _sleep(self, search: Search, wait_us: int) -> None:
        began = self._now()
        try:
            await asyncio.sleep(wait_us / SECOND_US)
        finally:
            search.waited_s += self._now() - began

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
                    return False
                continue
            if isinstance(answer, Withdrawn):
                return False
            held.in_hand = True
            held.grant = replace(held.grant, moment_us=answer.moment_us)
            if isinstance(answer, NotYet):
                if answer.wait_us > LONGEST_PUT_OFF_US:
                    break
                await self._sleep(search, answer.wait_us)
                continue
            held.moment_at = asked_at - answer.age_us / SECOND_US
            held.send_by = held.moment_at + _guard_s(held.grant)
            if self._now() <= held.send_by:
                return True
        self.release(held)
        return False

    def release(self, held: Held) -> None:
        """Gives back a grant that surely was not sent; once, however often it is called."""
        if held.in_hand:
            held.in_hand = False
            self._release(held.grant)

    def _release(self, grant: Grant) -> None:
        self.store.release(grant, self._pools_of[grant.member.account])

    def _held(self, grant: Grant, target: int, asked_at: float) -> Held:
        key = self._keys[grant.rotation.pool][grant.member.id]
        moment_at = asked_at + grant.wait_us / SECOND_US
        return Held(grant, target, self.config.pools[grant.rotation.pool], key, moment_at + _guard_s(grant), moment_at)

    def _now(self) -> float:
        return monotonic()  # not the loop's own: uvloop's counts whole milliseconds

    # --- what was learnt ----------------------------------------------------------------------------

    def report(self, report: Report, held: Held) -> None:
        """Queues what an attempt with this key taught, ahead of every later acquire."""
        if not report.rests and not report.clears:
            return
        if not all(rest.proved for rest in report.rests):
            self._suspected[held.pool.name, held.key.id] = self._now()
        pools = {pool for subject in report.clears for pool in self._pools_of.get(subject.account, ())}

        def told(reported: Reported) -> None:
            self._why.clear()
            ends, cleared = reported
            for rest, rests_us in zip(report.rests, ends, strict=True):
                self._emit(self._changed(report, rest.subject, held, rest, rests_us))
            for subject, taken_back in zip(report.clears, cleared, strict=True):
                if taken_back:
                    self._emit(self._changed(report, subject, held, None, 0))

        self.store.report(report, pools, told)

    def _changed(self, report: Report, subject: Subject, held: Held, rest: Rest | None, rests_us: int) -> KeyChanged:
        pool, key = self._named(subject, held)
        return KeyChanged(
            pool=pool.name,
            key=key.id,
            model=subject.model,
            reason=rest.reason if rest else "taken back",
            seconds=rests_us / SECOND_US,
            proved=rest is not None and rest.proved,
            request_id=report.request,
        )

    def _named(self, subject: Subject, held: Held) -> tuple[Pool, Key]:
        """A pool and a key that the subject means: those at hand where they fit, else the first in config order."""
        pools = (held.pool, *self.config.pools.values())
        known = [(held.pool, held.key), *((pool, key) for pool in pools for key in pool.keys)]
        return next(
            (pool, key)
            for pool, key in known
            if key.account == subject.account and subject.key in {None, key.fingerprint}
        )

    async def why(self, target: Target) -> Why:
        """How the keys of a target rest, at most WHY_S old: for words about a refusal, not for decisions of a grant."""
        asked = self.rotation(target)
        known = self._why.get(asked)
        if known is None or self._now() - known[0] > WHY_S:
            if len(self._why) > ROTATIONS_KEPT:
                self._why.clear()
            self._why[asked] = known = self._now(), await self._look(asked)
        looked_at, found = known
        age_us = round((self._now() - looked_at) * SECOND_US)
        return replace(found, ends_in_us=max(0, found.ends_in_us - age_us))

    async def usable(self, pool: str) -> int:
        """How many of a pool's keys do not rest, proved, as dead for all models."""
        keys = self.config.pools[pool].keys
        fields = [[rest_field(Subject(key.account, whose)) for whose in (key.fingerprint, None)] for key in keys]
        found = await self.store.inspect([name for names in fields for name in names])
        rests = [[read_rest(text) for name in names if (text := found.fields[name])] for names in fields]
        return sum(
            not any(rest.proved and rest.reason in DEAD and rest.until_us > found.now_us for rest in of_key)
            for of_key in rests
        )

    async def outlast_suspicion(self, search: Search) -> bool:
        """After a refusal: pauses where an untried key rests or just rested on suspicion, for that ends with an answer.

        False where none did, or the request may not wait any longer.
        """
        patience_s = max((self._patience_s(search, search.targets[index]) for index in search.open), default=0.0)
        if patience_s <= 0 or not await self._met_suspicion(search):
            return False
        pause_s = min(SUSPICION_PAUSE_S, patience_s)
        await asyncio.sleep(pause_s)
        search.waited_s += pause_s
        return True

    async def _met_suspicion(self, search: Search) -> bool:
        """Also of one that was taken back between the refusal and now."""
        met = False
        for index in search.open:
            target = search.targets[index]
            for key in (await self.why(target)).suspected:
                self._suspected[target.pool, key] = self._now()
            untried = (key.id for key in self.config.pools[target.pool].keys if (index, key.id) not in search.tried)
            long_ago = self._now() - SUSPICION_S
            met |= any(self._suspected.get((target.pool, key), long_ago) > long_ago for key in untried)
        return met

    async def _look(self, asked: Rotation) -> Why:
        asked = self.store.serving(asked)
        fields = {
            member: [
                rest_field(Subject(member.account, key, model))
                for key in (member.key, None)
                for model in (None, asked.model)
            ]
            for member in asked.members
        }
        found = await self.store.inspect([name for names in fields.values() for name in names])
        reasons: dict[str, int] = {}
        ends: list[int] = []
        proved: dict[str, str] = {}
        suspected: set[str] = set()
        for member, names in fields.items():
            rests = [read_rest(text) for name in names if (text := found.fields[name])]
            longest = max(rests, key=lambda rest: rest.until_us, default=None)
            if longest is not None and longest.until_us > found.now_us:
                reasons[longest.reason] = reasons.get(longest.reason, 0) + 1
                ends.append(longest.until_us - found.now_us)
                if longest.proved:
                    proved[member.id] = longest.reason
                else:
                    suspected.add(member.id)
        return Why(len(asked.members), reasons, min(ends, default=0), proved, frozenset(suspected))


def _guard_s(grant: Grant) -> float:
    return math.inf if grant.guard_us is None else grant.guard_us / SECOND_US
