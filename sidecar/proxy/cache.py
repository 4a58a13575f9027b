"""Requests that ask the same are one call to a provider: the first runs, the others get what it got.

Those of one replica that take an answer of the same age wait for one future; one of them asks Redis, again and again,
whether the one that runs elsewhere has an answer. To whom a kept answer is too old there is none. Nothing is subscribed
to and no connection waits: a look is some microseconds of Redis, and only who meets another one under way looks twice.
The run of a replica that is gone ends, for it gives no sign of life, and the next look takes its place. A run without
an answer to keep ends the wait of all: each goes by itself; so does one whose own client is slow. Who waits for one
that waits for room itself goes once it may not wait any longer: for a provider's answer there is no such bound.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from aiohttp import web

from sidecar.model.classes import Class
from sidecar.model.events import Cached
from sidecar.providers.dialect import Reader
from sidecar.proxy import keepalive, relay, sameness
from sidecar.proxy.attempt import Answer, Attempts
from sidecar.proxy.errors import Refused
from sidecar.proxy.inflate import Inflate
from sidecar.proxy.passing import TAKEN_S, say, taken
from sidecar.proxy.upstream import Reply
from sidecar.proxy.visit import Visit
from sidecar.store.cache import PACKING, RENEW_S, Cache, Kept
from sidecar.store.connect import StoreAway, StoreUnable

FIRST_LOOK_S, LAST_LOOK_S = 0.02, 0.25  # between two looks at another's run: doubled, with jitter
PIECE = 64 * 1024  # of a stream that is replayed, written at once


class Copy:
    """An answer as its client gets it, packed as it passes. It lets go of one that is larger than may be kept."""

    def __init__(self, most: int, too_large: Callable[[], None]) -> None:
        self._most, self._too_large = most, too_large
        self._inflate = Inflate("")
        self._packer = zlib.compressobj(PACKING)
        self._pieces: list[bytes] | None = []
        self._size = 0

    def of(self, answer: Answer) -> Copy:
        """Ready for the bytes of this one."""
        reply = answer.reply
        self._inflate = Inflate("" if reply.unpacks else reply.response.headers.get("Content-Encoding", ""))
        return self

    def __call__(self, data: bytes) -> None:
        if self._pieces is None:
            return
        for piece in self._inflate(data):
            self._size += len(piece)
            if self._size > self._most:
                self._pieces = None
                self._too_large()
                return
            self._pieces.append(self._packer.compress(piece))

    def packed(self) -> bytes | None:
        """All of it; None for one that was too large, or cannot be unpacked, or says nothing."""
        if not self._pieces or not self._inflate.whole:
            return None
        return b"".join((*self._pieces, self._packer.flush()))


# What came of a run, for those who wait for it: an answer; that each goes by itself; that the next of them runs.
Came = Kept | Literal["alone", "next"]


@dataclass(slots=True, eq=False)
class Run:
    """A request that looks, and perhaps runs, for all that ask the same of this replica."""

    digest: str
    oldest_s: float  # that an answer may be
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    came: asyncio.Future[Came] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waits: asyncio.Event = field(default_factory=asyncio.Event)  # set while it only waits for room
    how: Cached = "waited"  # what the cache is to those who wait for it
    beat: asyncio.TimerHandle | None = None  # while it runs for the other replicas too
    to: asyncio.Transport | None = None  # its own client
    was_behind: bool = False  # its client, at the beat before

    def turn(self, waits: bool) -> None:
        """It only waits for room from now on, or does not."""
        (self.waits.set if waits else self.waits.clear)()

    def is_held_up(self) -> bool:
        """Whether its client takes nothing, now as at the beat before: a provider is read no faster than that."""
        was, to = self.was_behind, self.to
        self.was_behind = to is not None and to.get_write_buffer_size() > to.get_write_buffer_limits()[1]
        return was and self.was_behind


class Caching:
    """The cache of one replica's data plane."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._runs: dict[tuple[str, float], Run] = {}  # by digest, and how old an answer may be

    async def serve(
        self,
        request: web.BaseRequest,
        visit: Visit,
        use: sameness.Use,
        answer: Callable[[Copy | None], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """A kept answer, or what `answer` makes of the request, which tells a copy and leaves it in the visit.

        Raises what `answer` raises, and Refused (504) for a request whose time ends while another one runs.
        """
        if not use.keeps:
            visit.cache = "bypass"
            return await answer(None)
        visit.cache = "miss"
        found = None
        if use.max_age_s > 0:
            found = await keepalive.signing(request, visit, self._find(visit, use), self._lost)
        if isinstance(found, Run):
            found.to = request.transport
        if not isinstance(found, Kept):
            return await self._fill(visit, use, found, answer)
        body = found.body()
        if body is None:
            visit.cache = "miss"
            return await self._fill(visit, use, None, answer)
        visit.found = found
        return await _replay(request, visit, found.content_type, body)

    def _lost(self, found: Kept | Run | None) -> None:
        """Its client went away as it was found."""
        self._end(found if isinstance(found, Run) else None, "next")

    # --- finding -------------------------------------------------------------------------------------

    async def _find(self, visit: Visit, use: sameness.Use) -> Kept | Run | None:
        """The answer; or a run, which is this request's until it ends it; None: it goes by itself."""
        assert visit.attempts is not None
        search = visit.attempts.search
        try:
            async with asyncio.timeout_at(search.deadline):
                return await self._ask(visit, use)
        except TimeoutError:
            raise Refused(504, "timeout", "The same request is under way, and had no answer in time.") from None

    async def _ask(self, visit: Visit, use: sameness.Use) -> Kept | Run | None:
        assert visit.attempts is not None
        shared = use.digest, use.max_age_s
        while (run := self._runs.get(shared)) is not None:
            came = await _joined(run, visit.attempts)
            if came != "next":
                visit.cache = run.how if isinstance(came, Kept) or run.how == "away" else "miss"
                return came if isinstance(came, Kept) else None
        run = self._runs[shared] = Run(*shared)
        try:
            return await self._look(visit, run)
        except BaseException:
            self._over(run, "next")
            raise

    async def _look(self, visit: Visit, run: Run) -> Kept | Run | None:
        """Looks until there is an answer, or none comes in time, or it is this request that runs."""
        assert visit.attempts is not None
        search, pools = visit.attempts.search, visit.attempts.pools
        pause_s, waited = FIRST_LOOK_S, False
        while True:
            try:
                seen = await self._cache.look(run.digest, run.token, run.oldest_s)
            except (StoreAway, StoreUnable):
                visit.cache = run.how = "away"
                seen = "alone"
            if isinstance(seen, Kept):
                visit.cache = run.how = "waited" if waited else "hit"
                self._over(run, seen)
                return seen
            if seen == "alone":
                self._over(run, "alone")
                return None
            run.turn(seen == "waits")
            if seen == "runs":
                self._beat_later(run)
                return run
            left_s = pools.patience_s(search)
            if seen == "waits" and left_s <= 0:
                self._over(run, "next")
                return None
            waited = True
            with search.waiting():
                jittered_s = pause_s * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
                await asyncio.sleep(min(jittered_s, left_s or jittered_s))
            pause_s = min(2 * pause_s, LAST_LOOK_S)

    def _beat_later(self, run: Run) -> None:
        def beat() -> None:
            if run.is_held_up():
                self._end(run, "alone")
                return
            self._cache.renew(run.digest, run.token, run.waits.is_set())
            self._beat_later(run)

        run.beat = asyncio.get_running_loop().call_later(RENEW_S, beat)

    # --- filling -------------------------------------------------------------------------------------

    async def _fill(
        self,
        visit: Visit,
        use: sameness.Use,
        run: Run | None,
        answer: Callable[[Copy | None], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Sends the request on and keeps what is whole and good; all else ends the wait for it."""
        copy = Copy(use.policy.max_bytes, lambda: self._end(run, "alone"))
        if run is not None and visit.attempts is not None:
            visit.attempts.search.watchers.append(partial(self._turned, run))
        try:
            response = await answer(copy)
            kept = _kept(visit, use, copy)
            if kept is not None:
                self._cache.keep(use.digest, run.token if run else "", kept, use.most)
                if run is not None:
                    self._over(run, kept)
        except (asyncio.CancelledError, ConnectionResetError):
            self._end(run, "next")  # its client is gone: that says nothing of the answer
            raise
        finally:
            self._end(run, "alone")
        return response

    def _turned(self, run: Run, waits: bool) -> None:
        """Tells all who wait for a run whether it only waits for room."""
        if not run.came.done():
            run.turn(waits)
            self._cache.renew(run.digest, run.token, waits)

    def _end(self, run: Run | None, came: Literal["alone", "next"]) -> None:
        """Ends a run that has nothing to keep, unless it has ended."""
        if run is not None and not run.came.done():
            self._cache.end(run.digest, run.token, alone=came == "alone")
            self._over(run, came)

    def _over(self, run: Run, came: Came) -> None:
        """Tells those who wait here."""
        if run.beat is not None:
            run.beat.cancel()
        shared = run.digest, run.oldest_s
        if self._runs.get(shared) is run:
            del self._runs[shared]
        if not run.came.done():
            run.came.set_result(came)


async def _joined(run: Run, attempts: Attempts) -> Came:
    """What came of another's run; or that this request goes by itself, which may not wait for room as long as that."""
    with attempts.search.waiting():
        await asyncio.wait({run.came}, timeout=attempts.pools.patience_s(attempts.search))
        if not run.came.done():
            waits = asyncio.ensure_future(run.waits.wait())
            either: set[asyncio.Future[Any]] = {run.came, waits}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waits.cancel()
    return run.came.result() if run.came.done() else "alone"


def _kept(visit: Visit, use: sameness.Use, copy: Copy) -> Kept | None:
    """The answer that has passed, if it is whole and good: what was cut or blocked has another outcome.

    So has what nobody could read: a page of whoever stands between, half a JSON text. And who asks again since there
    was no content in an answer is to get another one.
    """
    answer = visit.answer
    if answer is None or answer.reply.status != 200 or visit.outcome != Class.OK:
        return None
    reply, packed = answer.reply, copy.packed()
    if packed is None or reply.reader is None or not reply.reader.has_said or _may_be_cut(reply, reply.reader):
        return None
    content_type = reply.response.headers.get("Content-Type", "")
    pool, usage = answer.held.pool.name, reply.reader.usage
    return Kept(content_type, pool, answer.model, usage, use.policy.ttl_s, packed)


def _may_be_cut(reply: Reply, reader: Reader) -> bool:
    """Whether nothing but its connection's end tells that it is whole: HTTP does not, nor does it itself.

    One of two choices may have ended; what is too long to be read may end in a bracket anywhere.
    """
    headers = reply.response.headers
    told = "Content-Length" in headers or "Transfer-Encoding" in headers
    return not (told or reader.said_last or (reply.ended and not reader.is_stream))


async def _replay(request: web.BaseRequest, visit: Visit, content_type: str, body: bytes) -> web.StreamResponse:
    """A kept answer, a stream as a stream: what reads it as it comes finds no length.

    Raises Refused (502) where its client has got the beginning of a stream, and this is none.
    """
    visit.status, visit.outcome = 200, str(Class.OK)
    response, headers = visit.begun, visit.headers()
    if content_type:
        headers["Content-Type"] = content_type
    if not content_type.lower().startswith("text/event-stream"):
        if response is not None:
            raise relay.no_stream()
        return await relay.send_whole(request, visit, web.Response(headers=headers, body=body))
    if response is None:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
    pieces = (body[start : start + PIECE] for start in range(0, len(body), PIECE))
    await taken(request, visit, say(response, pieces), TAKEN_S)
    return response
