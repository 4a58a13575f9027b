"""Answers kept in Redis, and which request is under way for all that ask the same; on a connection of their own.

An answer of a megabyte in the pipeline of the acquires would hold them up, so the cache never shares theirs, also where
it shares their Redis. While it cannot be reached every request is told so at once, and goes without.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from sidecar.model.events import Emit, Event, KeptChanged, StoreChanged
from sidecar.model.words import Usage
from sidecar.store import connect
from sidecar.store.calls import Call
from sidecar.store.connect import Opener
from sidecar.store.evicting import Memory
from sidecar.store.lanes import Lanes
from sidecar.store.names import Names

HOLD_MS = 3000  # that a run counts without a sign of life from its replica
RENEW_S = 1.0  # between two of them
ALONE_MS = 2000  # in which who asks the same as a run that came to nothing goes alone; who waits looks more often
# Without a refusal until answers are said to be kept again: at a bound each that ends makes room for one.
SETTLED_S = 60.0
PACKING = 3  # zlib's level: a quarter less than 1 in a tenth more time; 6 takes twice as long

_FORM = b"2"  # of what is written here; another one is none of ours


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it is kept: what a client needs of it, and what it has cost."""

    content_type: str
    pool: str
    model: str  # upstream
    usage: Usage | None
    ttl_s: float
    packed: bytes = field(repr=False)  # the body, by zlib
    age_s: float = 0.0

    def body(self) -> bytes | None:
        """As the client got it, but for its compression; None where Redis has something else."""
        try:
            return zlib.decompress(self.packed)
        except zlib.error:
            return None


State = Literal["runs", "sent", "waits", "alone"]  # as lua/cache_look.lua says


class _Head(msgspec.Struct, array_like=True):
    ttl_ms: int  # first: lua/cache_look.lua reads it there
    content_type: str
    pool: str
    model: str
    usage: tuple[int | None, int | None, int | None, int | None, int | None] | None


def write(kept: Kept) -> bytes:
    """The text of an answer in Redis: a digit, its head as JSON in a line, its body."""
    used = kept.usage
    usage = None if used is None else (used.input, used.output, used.total, used.cached, used.reasoning)
    head = _Head(_ttl_ms(kept), kept.content_type, kept.pool, kept.model, usage)
    return b"".join((_FORM, msgspec.json.encode(head), b"\n", kept.packed))


def read(text: bytes, left_ms: int) -> Kept | None:
    """The answer of a text that still lives so long; None for one that cannot be read."""
    head, _, packed = text.partition(b"\n")
    if head[:1] != _FORM:
        return None
    try:
        told = msgspec.json.decode(head[1:], type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    usage = None if told.usage is None else Usage(*told.usage)
    age_s = max(0, told.ttl_ms - left_ms) / 1000
    return Kept(told.content_type, told.pool, told.model, usage, told.ttl_ms / 1000, packed, age_s)


def _ttl_ms(kept: Kept) -> int:
    return round(kept.ttl_s * 1000)


class Cache:
    """What all replicas of a namespace keep. `own`: its Redis is not that of the budgets."""

    def __init__(self, open_connection: Opener, names: Names, emit: Emit, own: bool) -> None:
        self._names, self._emit, self._own = names, emit, own
        self._why_not = ""  # nothing more is kept
        self._refused_at = -math.inf  # when an answer was not, last; on the loop's clock
        self._lanes = Lanes(open_connection, self._reached, lambda: self._look("", "", 0), lambda: ())

    @classmethod
    def at(cls, url: str, store_url: str, shared: Opener, names: Names, emit: Emit) -> Cache:
        """The cache of a `cache.redis` setting; "": in the store's own Redis, by `shared`. Raises ValueError.

        Another database of the store's server is no Redis of its own: they share the memory.
        """
        own = bool(url) and _server(url) != _server(store_url)
        return cls(connect.opener(url) if url else shared, names, emit, own)

    def _look(self, digest: str, token: str, oldest_s: float) -> Call:
        args = (token, str(round(oldest_s * 1000)), str(HOLD_MS))
        return Call("cache_look", (self._names.answer(digest), self._names.run(digest)), args)

    async def look(self, digest: str, token: str, oldest_s: float) -> Kept | State:
        """The answer, if it is no older than that; or whether who asks runs, by this token, until `keep` or `end`.

        Raises StoreAway or StoreUnable. A caller that is cancelled meanwhile runs nothing.
        """

        def left_behind(_: Any) -> None:
            self.end(digest, token, alone=False)

        reply = await self._lanes.call(self._lanes.front, self._look(digest, token, oldest_s), left_behind)
        if isinstance(reply, bytes):
            return _STATES[reply]
        return read(*reply) or "alone"

    def renew(self, digest: str, token: str, waits: bool) -> None:
        """Says that a run is still under way, or only waits for room; queued."""
        args = (token, str(HOLD_MS), "waits" if waits else "sent")
        self._lanes.queue(Call("cache_renew", (self._names.run(digest),), args))

    def end(self, digest: str, token: str, alone: bool) -> None:
        """Says that a run is over and has nothing to keep; queued. Who waits goes `alone`, or the next one runs."""
        none = str(ALONE_MS if alone else 0)
        self._lanes.queue(Call("cache_end", (self._names.run(digest),), (token, none)))

    def keep(self, digest: str, token: str, kept: Kept, most: int) -> None:
        """Keeps an answer, if all have at most so many bytes with it, and ends the run that it came of; queued."""
        keys = (self._names.answer(digest), self._names.run(digest), self._names.sizes)
        args = ("", token, str(ALONE_MS), str(_ttl_ms(kept)), str(most), "1" if self._own else "0", write(kept))
        self._lanes.queue(Call("cache_keep", keys, args), self._told)

    def _told(self, reply: Any) -> None:
        why_not, now = "" if reply == b"kept" else _why_not(*reply), monotonic()
        if why_not:
            self._refused_at = now
        elif now - self._refused_at < SETTLED_S:
            return
        if bool(why_not) != bool(self._why_not):
            self._emit(KeptChanged("answers", not why_not, why_not))
        self._why_not = why_not

    def _reached(self, event: Event) -> None:
        if isinstance(event, StoreChanged):
            self._emit(KeptChanged("answers", event.up, "" if event.up else f"its Redis is away: {event.reason}"))

    async def close(self) -> None:
        """Lets what is queued be sent."""
        await self._lanes.close()


def _server(url: str) -> tuple[str | None, int | str]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or (parts.path if parts.scheme == "unix" else 6379)


_STATES: dict[bytes, State] = {b"runs": "runs", b"sent": "sent", b"waits": "waits", b"alone": "alone"}
_MIB = 1024 * 1024


def _why_not(what: bytes, told: bytes, most: bytes = b"0") -> str:
    """Why an answer was not kept: as lua/cache_keep.lua says it, for people."""
    if what == b"refused":
        return f"its Redis refuses: {told.decode(errors='replace')}"
    if what == b"total":
        return f"the answers are {int(told) / _MIB:.1f} MiB of the {int(most) / _MIB:.1f} MiB of cache.max_total"
    return f"{Memory(int(told), int(most)).told}, of which the cache leaves half"
