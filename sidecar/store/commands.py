"""The store: one typed method a script, model words in and out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sidecar.model.configured import Key
from sidecar.model.events import Drifted, Emit, StoreChanged
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
)
from sidecar.store import calls, connect, drifts, embedded, evicting, memory, upkeep
from sidecar.store.connect import Opener, StoreAway, StoreUnable
from sidecar.store.counted import Counted
from sidecar.store.drifts import Drift
from sidecar.store.evicting import Memory
from sidecar.store.home import Home
from sidecar.store.lanes import Lanes
from sidecar.store.made import Made
from sidecar.store.names import Names, off_field
from sidecar.store.texts import Disabled, Inspected, read_off, write_off

MOST_SHARED = 4096  # models known to share a rotation; clients may name any, and a forgotten one is asked for again
INSPECT_MOST = 4000  # fields a call; Lua's unpack takes no more than 8000


class Store:
    """All replicas' shared state."""

    def __init__(self, open_connection: Opener, namespace: str, emit: Emit, home: Home | None = None) -> None:
        self.names, self.open_connection = Names(namespace), open_connection
        self.home = home or Home()
        self.in_flight: Callable[[], Iterable[Iterable[Grant]]] = lambda: ()  # whose leases are renewed when it is back
        self._emit = emit
        self._lanes = Lanes(open_connection, emit, lambda: calls.report(self.names, Report(""), ()), self._renewals)
        self.counted = Counted(self.names, self._call_behind)
        self.made = Made(self.names, self._call, emit)
        self._shared: dict[Rotation, Rotation] = {}
        self._owners: Mapping[str, str] = {}  # each key's account, by its fingerprint
        self._owners_told = True
        self._born = ""
        self._off: dict[str, str | None] = {}  # by fingerprint: what says that the key is disabled, as last seen
        self._managing = asyncio.Lock()  # so that nothing that is done here is taken for others' deed
        self._skew_us = 0  # of Redis's clock to ours, as far as it mattered to a calendar

    @property
    def up(self) -> asyncio.Event:
        """Set while Redis is there."""
        return self._lanes.up

    @property
    def reason(self) -> str:
        """Why it is away."""
        return self._lanes.reason

    @classmethod
    def at(cls, url: str, namespace: str, emit: Emit) -> Store:
        """The store of a `redis:` setting. Raises ValueError for a URL that cannot be read."""
        match url:
            case "memory":
                return cls(memory.opener(), namespace, emit, memory.HOME)
            case "embedded":
                open_connection, home = embedded.at(os.environ)
                return cls(open_connection, namespace, emit, home)
        return cls(connect.opener(url), namespace, emit)

    # --- the scripts --------------------------------------------------------------------------------

    async def acquire(self, ask: Ask, orphaned: Callable[[Grant], None]) -> Grant | Refusal | Exhausted:
        """Grants a key or reserves one. Rotations that Redis does not know are registered on the way.

        A caller that is cancelled while the script runs leaves its grant to `orphaned`, and no place in line.
        """
        self._born = self._born or await self._birth()
        for _ in range(2 * len(ask.rotations) + 2):
            known = self._with_shared(ask)

            def left_behind(reply: Any, known: Ask = known) -> None:
                if isinstance(reply, Exception):
                    return
                answer = calls.read_acquire(known, reply)
                if isinstance(answer, Grant):
                    orphaned(answer)
                elif isinstance(answer, Refusal) and answer.busy:
                    self.leave(answer.ticket, known.rotations, known.shares)

            call = calls.acquire(self.names, known, self._clock_us())
            answer = calls.read_acquire(known, await self._call(call, left_behind))
            if isinstance(answer, calls.OtherTime):
                self._adjust(answer)
            elif isinstance(answer, calls.Missing):
                await self._register(ask.rotations[answer.target])
            else:
                return answer
        raise StoreUnable("Redis forgets rotations as soon as they are registered: is it evicting keys?")

    async def confirm(
        self, grant: Grant, pools: Iterable[str], orphaned: Callable[[Grant], None]
    ) -> Confirmed | NotYet | Withdrawn:
        """Whether the grant may be sent now. `pools`: all that have a key of its account."""
        return await self._dated(calls.confirm, grant, pools, orphaned)

    async def advance(
        self, grant: Grant, pools: Iterable[str], orphaned: Callable[[Grant], None], only_tells: bool = False
    ) -> NotYet:
        """When a reservation counts from now on: earlier, where there is room by now; or would: `only_tells`."""
        answer = await self._dated(partial(calls.advance, only_tells=only_tells), grant, pools, orphaned)
        assert isinstance(answer, NotYet)  # what the script answers
        return answer

    async def _dated(
        self, of: Callable[..., calls.Call], grant: Grant, pools: Iterable[str], orphaned: Callable[[Grant], None]
    ) -> Confirmed | NotYet | Withdrawn:
        def left_behind(reply: Any) -> None:
            answer = reply if isinstance(reply, Exception) else calls.read_confirm(reply)
            if isinstance(answer, Confirmed | NotYet):
                orphaned(grant.dated(answer))
            elif isinstance(answer, calls.OtherTime) or (isinstance(answer, StoreAway) and not answer.sent):
                orphaned(grant)  # as it was

        for _ in range(2):
            call = of(self.names, grant, pools, self._clock_us())
            answer = calls.read_confirm(await self._call(call, left_behind))
            if not isinstance(answer, calls.OtherTime):
                return answer
            self._adjust(answer)
        raise StoreUnable("Redis's clock jumps: no day that it tells lasts until the next call")

    def _clock_us(self) -> int:
        return time.time_ns() // 1000 + self._skew_us

    def _adjust(self, other: calls.OtherTime) -> None:
        self._skew_us = other.now_us - time.time_ns() // 1000

    def release(self, grant: Grant, pools: Iterable[str]) -> None:
        """Gives back a grant that surely was not sent; queued. `pools`: all that have a key of its account.

        It goes with the acquires, and behind every sign of life of the same request.
        """
        self._lanes.queue(calls.release(self.names, grant, pools, self._clock_us()), keep=True)

    def settle(self, grant: Grant, actual: Amounts, charged: Amounts, pools: Iterable[str]) -> None:
        """Says what the request of a grant came to, and that it is over; queued. `charged`: as much of it as counts for
        its client. `pools` as for `release`.

        It goes with the acquires, as a report does: what it frees, the next of them may have.
        """
        self._lanes.queue(calls.settle(self.names, grant, actual, charged, pools, self._clock_us()), keep=True)

    def leave(self, ticket: int, rotations: Sequence[Rotation], shares: Sequence[float]) -> None:
        """Says that who had this ticket, and leaves such shares, waits for no place of these any more; queued."""
        self._lanes.queue(calls.leave(self.names, ticket, rotations, shares))

    async def _call(self, call: calls.Call, orphaned: Callable[[Any], None] | None = None) -> Any:
        return await self._lanes.call(self._lanes.front, call, orphaned)

    async def _call_behind(self, call: calls.Call) -> Any:
        """For which no request waits."""
        return await self._lanes.call(self._lanes.back, call)

    def renew(self, grants: Iterable[Grant]) -> None:
        """Says that the requests of these grants are still in flight; queued, before what ends of them later."""
        self._lanes.queue(self._renewal(grants))

    def _renewals(self) -> Iterable[calls.Call]:
        return map(self._renewal, self.in_flight())

    def _renewal(self, grants: Iterable[Grant]) -> calls.Call:
        return calls.renew(self.names, grants, self._owners)

    def report(self, report: Report, pools: Iterable[str], told: Callable[[Reported], None]) -> None:
        """Sets rests and takes suspicions back; queued, and `told` hears what came of it.

        It goes with the acquires, before all that are asked for after this call: from then on no replica is
        granted what rests. `pools`: all that have a key of an account in question.
        """
        call = calls.report(self.names, report, pools)
        self._lanes.queue(call, lambda reply: told(calls.read_report(reply)))

    async def inspect(self, fields: Sequence[str], rotations: Sequence[Rotation] = ()) -> Inspected:
        """Reads fields of the state and the numbers of rotations; changes nothing."""
        found: dict[str, str | None] = {}
        numbers: list[bytes | None] = []
        now = b"0"
        for start in range(0, max(1, len(fields)), INSPECT_MOST):
            part = fields[start : start + INSPECT_MOST]
            asked = rotations if start == 0 else ()
            now, *rest = await self._call_behind(upkeep.inspect(self.names, part, asked))
            found |= {name: text and text.decode() for name, text in zip(part, rest[: len(part)], strict=True)}
            numbers += rest[len(part) :]
        return Inspected(int(now), found, tuple(None if text is None else int(float(text)) for text in numbers))

    async def disable(self, key: Key, who: str) -> bool:
        """Whether the key was enabled until now. From then on no replica is granted it, nor the same secret elsewhere.

        What an operator does goes with the acquires: the next one knows of it.
        """
        async with self._managing:
            changed = bool(await self._call(upkeep.disable(self.names, key, who)))
            if changed:
                self._off[key.fingerprint] = write_off(Disabled(self._clock_us(), who))
                self._born = self._born or await self._birth()
            return changed

    async def enable(self, key: Key, pools: Iterable[str]) -> bool:
        """Whether the key was disabled until now. `pools`: all that have a key of its account."""
        async with self._managing:
            changed = bool(await self._call(upkeep.enable(self.names, key, pools)))
            self._off[key.fingerprint] = None
            return changed

    async def others_disabled(self, keys: Iterable[str]) -> dict[str, Disabled | None]:
        """Which of these keys, by fingerprint, others have disabled, or (None) enabled, since the last look at them.

        In a Redis that was emptied those that were disabled at the last look are disabled again, which is no news.
        """
        fields = {off_field(key): key for key in keys}
        async with self._managing:
            found = await self.inspect(("born", *fields))
            if found.fields["born"] != self._born:
                await self._restore()
                found = await self.inspect(("born", *fields))
            self._began(found.fields["born"] or "")
            before, self._off = self._off, {key: found.fields[field] for field, key in fields.items()}
            return {
                key: read_off(text) if text else None
                for key, text in self._off.items()
                if key in before and bool(before[key]) != bool(text)
            }

    async def _restore(self) -> None:
        if off := {key: text for key, text in self._off.items() if text}:
            await self._call(upkeep.restore(self.names, self._born, off))

    async def reset(self, key: Key, fields: Sequence[str], pools: Iterable[str]) -> int:
        """Forgets these fields of the state, and its drift; returns how many there were. `pools`: as for enable."""
        return int(await self._call(upkeep.reset(self.names, key, fields, pools)))

    def adopt(self) -> None:
        """Says whose each key is, once for each config: what is known of keys that had another account goes along.

        Queued, before all that is asked for after this call. A config that names accounts otherwise has rotations of
        its own, and none is registered before: nobody is granted a key under the new name who does not know the old.
        """
        if self._owners_told:
            return
        owners = self._owners

        def told(_: Any) -> None:
            self._owners_told = self._owners is owners

        self._lanes.queue(upkeep.adopt(self.names, owners), told)

    async def models(self, pools: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The models of each pool that have a rotation of their own, sorted; "" for calls without one."""
        reply = await self._call_behind(upkeep.models(self.names, pools))
        return upkeep.read_models(pools, reply)

    def drifted(self, key: str, grant: Grant, event: Drifted, told: Callable[[int], None]) -> None:
        """Counts a drift of the key with this fingerprint; queued, and `told` hears how many it has had.

        0: it belongs to one that was counted before.
        """
        call = upkeep.drift(self.names, key, grant.moment_us, drifts.write(event))
        self._lanes.queue(call, lambda reply: told(int(reply)))

    async def drifts(self) -> tuple[int, dict[str, Drift]]:
        """Redis's now, and each key's last drift by its fingerprint: those of the last 30 days."""
        return upkeep.read_drifts(await self._call_behind(upkeep.drifts(self.names)))

    async def beat(self, replica: str, silence_us: int, leaves: bool = False) -> int:
        """Says that this replica ("": nobody) is alive, or that it `leaves`, and returns how many are alive."""
        return int(await self._call_behind(upkeep.beat(self.names, replica, silence_us, leaves)))

    async def memory(self) -> Memory:
        """How full Redis is, and what it does then."""
        return evicting.read(await self._call_behind(evicting.memory(self.names)))

    async def _register(self, rotation: Rotation) -> None:
        await self._restore()
        self.adopt()
        reply = await self._call(upkeep.register(self.names, rotation))
        own, born = upkeep.read_register(reply)
        if self._began(born):
            self.adopt()
            for grants in self.in_flight():  # all before whatever ends of them from now on
                self.renew(grants)
        if own:
            self._shared.pop(rotation, None)
        else:
            await self._share(rotation)

    async def _birth(self) -> str:  # when the state began; "" where it holds nothing yet
        return (await self.inspect(("born",))).fields["born"] or ""

    def _began(self, born: str) -> bool:
        """Whether Redis was emptied. `born`: when its state began; "": it holds none yet."""
        emptied = bool(self._born and born and born != self._born)
        if emptied:
            self._shared.clear()
            self._owners_told = False
            self._emit(StoreChanged(up=True, emptied=True, reason="Redis was emptied: all budgets start from zero"))
        self._born = born or self._born
        return emptied

    async def _share(self, rotation: Rotation) -> None:
        if len(self._shared) >= MOST_SHARED:
            del self._shared[next(iter(self._shared))]
        self._shared[rotation] = replace(rotation, model=upkeep.SHARED)
        await self._call(upkeep.register(self.names, self._shared[rotation]))

    def _with_shared(self, ask: Ask) -> Ask:
        if not self._shared:
            return ask
        return replace(ask, rotations=tuple(self.serving(rotation) for rotation in ask.rotations))

    def follow(self, owners: Mapping[str, str]) -> None:
        """There is a config, or another one, whose keys have these accounts, by their fingerprints.

        Lets go of all that is known of rotations; what still counts is asked for anew.
        """
        self._owners, self._owners_told = owners, False
        self._shared.clear()
        calls.forget()

    def serving(self, rotation: Rotation) -> Rotation:
        """The rotation that serves its model, whoever asks: itself, or `*` where the pool has too many models."""
        shared = self._shared.get(rotation)
        return rotation if shared is None else replace(shared, client=rotation.client)

    async def close(self) -> None:
        """Lets what is queued be sent, ends both connections, then leaves the server."""
        await self._lanes.close()
        await self.home.leave()
