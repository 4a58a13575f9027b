"""How keys rest, read for words about a refusal and for health: no grant is decided by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic

from sidecar.model import rests
from sidecar.model.bearing import resting_provider
from sidecar.model.configured import SECOND_US, Pool, Target
from sidecar.model.words import Rotation, Subject
from sidecar.pool.resting import DEAD
from sidecar.pool.search import Search
from sidecar.store.commands import Store
from sidecar.store.names import off_field, rest_field

MOST = 4096  # rotations that are remembered: the names come from clients
SUSPICION_S = 1.0  # after which one that was seen no longer explains a refusal
WHY_S = 5.0  # how long an answer to `why` is good
BREAKERS_S = 0.5  # how long one to `unasked_us` is


@dataclass(frozen=True, slots=True)
class Why:
    """How the keys of a rotation rest: how many for which reason, and the earliest end (microseconds from now)."""

    keys: int
    reasons: Mapping[str, int]
    ends_in_us: int
    proved: Mapping[str, str] = field(default_factory=dict)  # by key, the reason of each that is no suspicion
    suspected: frozenset[str] = frozenset()  # the other keys that rest


class Sight:
    """Looks into the store for the pools of one config."""

    def __init__(self, pools: Mapping[str, Pool], store: Store, rotation: Callable[[Target], Rotation]) -> None:
        self._pools, self._store, self._rotation = pools, store, rotation
        self._why: dict[Rotation, tuple[float, Why]] = {}
        self._unasked: dict[tuple[str, ...], tuple[float, float | None]] = {}
        self._suspected: dict[tuple[str, str], float] = {}  # pool and key -> when it was last seen under suspicion

    def forget(self) -> None:
        """Something rests, or no longer does."""
        self._why.clear()
        self._unasked.clear()

    def suspect(self, pool: str, key: str) -> None:
        """The key rests on a suspicion, which ends with an answer."""
        self._suspected[pool, key] = monotonic()

    async def why(self, target: Target) -> Why:
        """How the keys of a target rest, at most WHY_S old."""
        asked = self._rotation(target)
        known = self._why.get(asked)
        if known is None or monotonic() - known[0] > WHY_S:
            if len(self._why) > MOST:
                self._why.clear()
            self._why[asked] = known = monotonic(), await self._look(asked)
        looked_at, found = known
        age_us = round((monotonic() - looked_at) * SECOND_US)
        return replace(found, ends_in_us=max(0, found.ends_in_us - age_us))

    async def unasked_us(self, search: Search) -> int | None:
        """For how long nobody asks the providers of a request's targets, for all their breakers are open; microseconds.

        None: some provider may be asked. 0: one is tried right now. At most BREAKERS_S old, so that it costs nothing
        to refuse many.
        """
        asked = [self._store.serving(self._rotation(search.targets[index])) for index in search.open]
        names = tuple(dict.fromkeys(rest_field(resting_provider(one.way, one.model)) for one in asked if one.way))
        if not names or not all(one.way for one in asked):
            return None
        known = self._unasked.get(names)
        if known is None or monotonic() - known[0] > BREAKERS_S:
            if len(self._unasked) > MOST:
                self._unasked.clear()
            self._unasked[names] = known = monotonic(), await self._reopen_at(names)
        return None if known[1] is None else max(0, round((known[1] - monotonic()) * SECOND_US))

    async def _reopen_at(self, names: tuple[str, ...]) -> float | None:
        """When the first of these providers is tried, on the loop's clock."""
        found = await self._store.inspect(names)
        resting = [rests.read(text) for name in names if (text := found.fields[name])]
        if len(resting) < len(names) or any(rest.kind == rests.COUNTS for rest in resting):
            return None
        return monotonic() + (min(rest.ends for rest in resting) - found.now_us) / SECOND_US

    async def usable(self, pool: str) -> int:
        """How many of a pool's keys are enabled and do not rest, proved, as dead for all models."""
        keys = self._pools[pool].keys
        off = [off_field(key.fingerprint) for key in keys]
        fields = [[rest_field(Subject(key.account, whose)) for whose in (key.fingerprint, None)] for key in keys]
        found = await self._store.inspect([name for names in (*fields, off) for name in names])
        resting = [[rests.read(text) for name in names if (text := found.fields[name])] for names in fields]
        return sum(
            found.fields[is_off] is None
            and not any(rest.kind and rest.reason in DEAD and rest.ends > found.now_us for rest in of_key)
            for of_key, is_off in zip(resting, off, strict=True)
        )

    async def met_suspicion(self, search: Search) -> bool:
        """Whether an untried key rests on suspicion, or did a moment ago."""
        met = False
        for index in search.open:
            target = search.targets[index]
            for key in (await self.why(target)).suspected:
                self.suspect(target.pool, key)
            untried = (key.id for key in self._pools[target.pool].keys if (index, key.id) not in search.tried)
            long_ago = monotonic() - SUSPICION_S
            met |= any(self._suspected.get((target.pool, key), long_ago) > long_ago for key in untried)
        return met

    async def _look(self, asked: Rotation) -> Why:
        asked = self._store.serving(asked)
        fields = {
            member: [
                rest_field(Subject(member.account, key, model))
                for key in (member.key, None)
                for model in (None, asked.model)
            ]
            for member in asked.members
        }
        off = {member: off_field(member.key) for member in asked.members}
        found = await self._store.inspect([name for names in (*fields.values(), off.values()) for name in names])
        reasons: dict[str, int] = {}
        ends: list[int] = []
        proved: dict[str, str] = {}
        suspected: set[str] = set()
        for member, names in fields.items():
            resting = [rests.read(text) for name in names if (text := found.fields[name])]
            longest = max(resting, key=lambda rest: rest.ends, default=None)
            if found.fields[off[member]]:
                reasons["disabled"] = reasons.get("disabled", 0) + 1
                proved[member.id] = "disabled"
            elif longest is not None and longest.ends > found.now_us:
                reasons[longest.reason] = reasons.get(longest.reason, 0) + 1
                if longest.ends < rests.NEVER:
                    ends.append(longest.ends - found.now_us)
                if longest.kind:
                    proved[member.id] = longest.reason
                else:
                    suspected.add(member.id)
        return Why(len(asked.members), reasons, min(ends, default=0), proved, frozenset(suspected))
