"""Keys that were refused for good are tried now and then with a call that costs nothing, and revived when it is heard.

Every replica looks; the grant of a try goes to one of them, and the next one lies further off. What rests for a limit
needs no such call: once it is due, a client's own request tries it.

That the call is heard may prove nothing: a gateway's list of models may be for everybody. A key that is refused again
soon after it came back is tried at intervals that double each time, not each minute for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from multidict import CIMultiDict

import sidecar
from sidecar.model import rests
from sidecar.model.classes import Class
from sidecar.model.configured import SECOND_US, Key, Pool, Provider, Target
from sidecar.model.words import Report, Subject
from sidecar.pool import resting
from sidecar.pool.blame import PROOFS
from sidecar.pool.search import Search
from sidecar.providers.catalogue import native, probe
from sidecar.providers.dialect import Reading
from sidecar.proxy.call import DECODABLE, Call, Place
from sidecar.proxy.origin.connections import NotSent
from sidecar.proxy.origin.gate import Late
from sidecar.proxy.origin.incoming import Lost
from sidecar.proxy.upstream import Upstream
from sidecar.replica import Replica, State
from sidecar.store.connect import StoreAway, StoreUnable
from sidecar.store.names import rest_field

log = logging.getLogger(__name__)

EVERY_S = 15.0  # between two looks, give or take a third: replicas that began together do not look together
ANSWER_S = 15.0
SOON_US = 15 * 60 * SECOND_US  # after it came back a key that is refused was not good
# Of a key that is not dead, though it may have to rest. A path that a gateway does not know says nothing of the key.
ACCEPTED = PROOFS - {Class.BAD_REQUEST}


@dataclass(frozen=True, slots=True)
class _Death:
    """Of one key, as this replica saw it last."""

    since: int
    seen: int
    relapses: int  # deaths before it, each soon after the last


@dataclass(slots=True)
class Deaths:
    """Which keys this replica saw dead, whoever revived them since; by the field of their rest."""

    last: dict[str, _Death] = field(default_factory=dict)

    def may_try(self, name: str, rest: rests.Resting, now_us: int) -> bool:
        """Whether the time for a try of this dead key has come. To be asked at every look that finds it dead."""
        before, relapses = self.last.get(name), 0
        if before is not None:
            again = before.since != rest.since
            soon = rest.since - before.seen < SOON_US
            relapses = before.relapses + again if soon or not again else 0
        self.last[name] = _Death(rest.since, now_us, relapses)
        pause_us = min(rests.MOST_PROBE_US, rests.DEAD_PROBE_US << relapses)
        return max(rest.next, rest.since + pause_us) <= now_us

    def keep(self, names: Collection[str]) -> None:
        """Forgets all others: the config has them no more."""
        self.last = {name: death for name, death in self.last.items() if name in names}


@asynccontextmanager
async def reviving(replica: Replica, upstream: Upstream) -> AsyncIterator[None]:
    """Looks after dead keys as long as it lasts."""
    task = asyncio.create_task(_look_after(replica, upstream))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _look_after(replica: Replica, upstream: Upstream) -> None:
    deaths = Deaths()
    while True:
        await asyncio.sleep(EVERY_S * random.uniform(2 / 3, 4 / 3))  # noqa: S311 - jitter, not a secret
        try:
            await revive(replica.state, upstream, deaths)
        except (StoreAway, StoreUnable):
            continue  # the store has said so itself
        except Exception:
            log.exception("dead keys cannot be tried")


async def revive(state: State, upstream: Upstream, deaths: Deaths) -> None:
    """Tries each dead key whose time has come, one after the other. Raises StoreAway or StoreUnable."""
    keys = [(pool, key) for pool in state.config.pools.values() if probe(pool.provider) for key in pool.keys]
    fields = {rest_field(Subject(key.account, key.fingerprint)): (pool, key) for pool, key in keys}
    found = await state.pools.store.inspect(list(fields))
    deaths.keep(fields)
    for name, (pool, key) in fields.items():
        text = found.fields[name]
        if text is None:
            continue
        rest = rests.read(text)
        if rest.kind == rests.DEAD and deaths.may_try(name, rest, found.now_us):
            await _try(state, upstream, pool, key)


async def _try(state: State, upstream: Upstream, pool: Pool, key: Key) -> None:
    """One cheap call with the key, if no other replica makes it."""
    call = cheap_call(pool.provider)
    held = await state.pools.probe(pool, key)
    if held is None or call is None:
        return
    if not held.grant.probes:  # another replica's try has just revived it
        state.pools.release(held)
        return
    search = Search(call.request_id, (Target(pool.name, ""),), monotonic() + ANSWER_S, max_wait_s=0)
    try:
        async with asyncio.timeout(ANSWER_S):
            reply = await upstream.send(call, search, held, state.pools)
    except (TimeoutError, NotSent, Lost, Late):
        return
    finally:
        state.pools.finish(held, None)
    reply.incoming.close()
    if reply.outcome.kind is Class.OK:
        state.pools.succeeded(held, call.request_id)
    elif reply.outcome.kind in ACCEPTED:
        state.pools.report(Report(call.request_id, ends=(Subject(key.account, key.fingerprint),)), held)
        rest = resting.rest(reply.outcome, held.grant.member, held.model, pool, held.now_us(monotonic()))
        state.pools.report(Report(call.request_id, rests=(rest,) if rest else ()), held)


def cheap_call(provider: Provider) -> Call | None:
    """A GET that costs nothing and wants a valid key, as a client would send it; None where none is known."""
    asked = probe(provider)
    if asked is None:
        return None
    own = {"Accept": "application/json", "Accept-Encoding": ", ".join(DECODABLE)}
    own["User-Agent"] = f"sidecar/{sidecar.__version__}"
    return Call(
        request_id=secrets.token_hex(8),
        method="GET",
        place=Place(asked.dialect, native(provider), asked.prefix, asked.operation),
        query="",
        headers=CIMultiDict(own | dict(asked.headers)),
        content_type="",
        body=b"",
        reading=Reading(model=None, stream=False, retry_safe=True),
        max_wait_s=0,
    )
