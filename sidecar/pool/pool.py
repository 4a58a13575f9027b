"""Pools: a request asks for a key and gets one whose moment has come, or learns why not."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sidecar.model.events import Emit, KeyChanged
from sidecar.model.rotations import rotation
from sidecar.model.words import (
    SECOND_US,
    Ask,
    Config,
    Confirmed,
    Exhausted,
    Grant,
    Key,
    NotYet,
    Pool,
    Refusal,
    Report,
    Rest,
    Rotation,
    Subject,
    Target,
)
from sidecar.store.commands import Reported, Store
from sidecar.store.connect import StoreAway
from sidecar.store.names import rest_field

ROTATIONS_KEPT = 4096  # of this process, by pool and model: the names come from clients
CONFIRMS = 3  # how often one late grant is confirmed before it is given back
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


@dataclass(slots=True)
class Held:
    """A grant in hand whose moment has come. It may be sent once, until `send_by` on the loop's clock."""

    grant: Grant
    target: int  # of the search
    pool: Pool
    key: Key
    send_by: float
    moment_at: float  # when the grant's moment was, on the loop's clock

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

    def rotation(self, target: Target) -> Rotation:
        """The rotation of a target, made on its first use."""
        name = target.pool, target.model or ""
        found = self._rotations.get(name)
        if found is None:
            found = rotation(self.config.pools[target.pool], self.config.budgets, name[1])
            self._rotations[name] = found
            if len(self._rotations) > ROTATIONS_KEPT:
                self._rotations.popitem(last=False)
        return found

    def untried(self, search: Search, target: int) -> int:
        """How many keys of a target the request has not tried."""
        return len(self.rotation(search.targets[target]).members) - sum(t == target for t, _ in search.tried)

    # --- a key --------------------------------------------------------------------------------------

    async def acquire(self, search: Search) -> Held | Refusal | Exhausted:
        """A key whose moment has come, waiting for it as long as the request may.

        Raises StoreAway when Redis cannot answer in that time. A caller that is cancelled leaves no grant.
        """
        while True:
            targets = [index for index in range(len(search.targets)) if index not in search.closed]
            answer, asked_at = await self._ask(search, targets)
            if not isinstance(answer, Grant):
                return answer
            held = self._held(answer, targets[answer.target], asked_at)
            if not answer.wait_us or await self._wait(search, held):
                return held

    async def _ask(self, search: Search, targets: list[int]) -> tuple[Grant | Refusal | Exhausted, float]:
        while True:
            asked_at = self._now()
            ask = Ask(
                rotations=tuple(self.rotation(search.targets[index]) for index in targets),
                max_wait_us=tuple(
                    round(self._patience_s(search, search.targets[index]) * SECOND_US) for index in targets
                ),
                tried=frozenset((targets.index(target), key) for target, key in search.tried if target in targets),
            )
            try:
                answer = await self.store.acquire(ask, self._release)
            except StoreAway:
                await self._outlast(search)
                continue
            finally:
                search.acquire_s += self._now() - asked_at
            return answer, asked_at

    def _patience_s(self, search: Search, target: Target) -> float:
        """How long the request may still wait for this target's room."""
        own_s = self.config.pools[target.pool].max_wait_us / SECOND_US
        wait_s = own_s if search.max_wait_s is None else search.max_wait_s
        return max(0.0, min(wait_s - search.waited_s, search.deadline - self._now()))

    async def _outlast(self, search: Search) -> None:
        """Waits for Redis to come back as the request would wait for room; StoreAway when that is over."""
        patience_s = max(self._patience_s(search, target) for target in search.targets)
        began = self._now()
        try:
            async with asyncio.timeout(patience_s):
                await self.store.up.wait()
        except TimeoutError:
            raise StoreAway(self.store.reason) from None
        finally:
            search.waited_s += self._now() - began

    async def _wait(self, search: Search, held: Held) -> bool:
        """Sleeps until a reserved grant's moment and confirms it; False: given back, ask again."""
        began = self._now()
        try:
            await asyncio.sleep(held.grant.wait_us / SECOND_US)
        except asyncio.CancelledError:
            self.release(held)
            raise
        finally:
            search.waited_s += self._now() - began
        return await self.renew(held)

    async def renew(self, held: Held) -> bool:
        """Makes a grant that is late, or was reserved, good for sending now; False: it was given back.

        Raises StoreAway; the grant then stays counted.
        """
        for _ in range(CONFIRMS):
            asked_at = self._now()
            answer = await self.store.confirm(held.grant, self._pools_of[held.grant.member.account], self._release)
            match answer:
                case Confirmed(moment_us, age_us):
                    held.grant = replace(held.grant, moment_us=moment_us)
                    held.moment_at = asked_at - age_us / SECOND_US
                    held.send_by = held.moment_at + _guard_s(held.grant)
                case NotYet(wait_us):
                    await asyncio.sleep(wait_us / SECOND_US)
                case _:
                    return False
            if self._now() <= held.send_by:
                return True
        self.release(held)
        return False

    def release(self, held: Held) -> None:
        """Gives back a grant that surely was not sent."""
        self._release(held.grant)

    def _release(self, grant: Grant) -> None:
        self.store.release(grant, self._pools_of[grant.member.account])

    def _held(self, grant: Grant, target: int, asked_at: float) -> Held:
        key = self._keys[grant.rotation.pool][grant.member.id]
        moment_at = asked_at + grant.wait_us / SECOND_US
        # A reserved grant must be confirmed before it is sent, so until then its time to be sent is over.
        send_by = -math.inf if grant.wait_us else moment_at + _guard_s(grant)
        return Held(grant, target, self.config.pools[grant.rotation.pool], key, send_by, moment_at)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- what was learnt ----------------------------------------------------------------------------

    def report(self, report: Report, held: Held) -> None:
        """Queues what an attempt with this key taught, ahead of every later acquire."""
        if not report.rests and not report.clears:
            return
        pools = {pool for subject in report.clears for pool in self._pools_of.get(subject.account, ())}

        def told(reported: Reported) -> None:
            ends, cleared = reported
            for rest, rests_us in zip(report.rests, ends, strict=True):
                self._emit(self._changed(report, rest.subject, held, rest, rests_us))
            for subject, taken_back in zip(report.clears, cleared, strict=True):
                if taken_back:
                    self._emit(self._changed(report, subject, held, None, 0))

        self.store.report(report, pools, told)

    def _changed(self, report: Report, subject: Subject, held: Held, rest: Rest | None, rests_us: int) -> KeyChanged:
        members = held.grant.rotation.members
        ids = (m.id for m in members if subject.key in {None, m.key} and m.account == subject.account)
        return KeyChanged(
            pool=held.pool.name,
            key=next(ids, held.key.id),
            model=subject.model,
            reason=rest.reason if rest else "taken back",
            seconds=rests_us / SECOND_US,
            proved=rest is not None and rest.proved,
            request_id=report.request,
        )

    async def why(self, target: Target) -> Why:
        """How the keys of a target rest, at most WHY_S old: for words about a refusal, not for decisions of a grant."""
        asked = self.rotation(target)
        known = self._why.get(asked)
        if known is None or self._now() - known[0] > WHY_S:
            if len(self._why) > ROTATIONS_KEPT:
                self._why.clear()
            self._why[asked] = known = self._now(), await self._look(asked)
        return known[1]

    async def _look(self, asked: Rotation) -> Why:
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
        for names in fields.values():
            rests = [text for name in names if (text := found.fields[name]) and int(text[:16]) > found.now_us]
            if rests:
                longest = max(rests)
                reason = longest.rsplit("|", 1)[1]
                reasons[reason] = reasons.get(reason, 0) + 1
                ends.append(int(longest[:16]) - found.now_us)
        return Why(len(asked.members), reasons, min(ends, default=0))


def _guard_s(grant: Grant) -> float:
    return math.inf if grant.guard_us is None else grant.guard_us / SECOND_US
