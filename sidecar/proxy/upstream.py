"""One attempt on the wire: the key goes in here and nowhere else, once, within its guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sidecar.model.classes import Class
from sidecar.model.configured import SECOND_US, Auth, Speech
from sidecar.model.outcomes import BLOCKED, OK, Outcome
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.providers import belonging
from sidecar.providers.dialect import ERROR_BYTES, HEAD_BYTES, Answer, Pieces, Reader
from sidecar.providers.urls import upstream_path
from sidecar.proxy.bodies import IN_MEMORY
from sidecar.proxy.call import Call
from sidecar.proxy.clients import without_credentials
from sidecar.proxy.inflate import Inflate, unpacked
from sidecar.proxy.origin.connections import Connections
from sidecar.proxy.origin.gate import Sending
from sidecar.proxy.origin.incoming import Incoming, Lost
from sidecar.proxy.origin.places import Places

HOLD_S = 5.0  # as long a 2xx that says nothing (no more than its head, pings, blank lines) is held back
SLICE = 64 * 1024  # of a large request body, written at once


@dataclass(slots=True)
class Reply:
    """An answer whose outcome is known. `held` is as much of its body as was read for that, as it came."""

    response: aiohttp.ClientResponse
    incoming: Incoming
    seen: Answer
    outcome: Outcome
    reader: Reader | None  # of a 2xx, to be fed with what still comes
    inflate: Inflate
    held: bytes
    ended: bool
    first_byte_at: float
    streams: bool  # whether it is a 2xx that the client gets, whatever follows: it has begun to say something, or may
    asked_usage: bool = False  # without its client, which is not to see what tells it
    broke: Outcome | None = None  # why it did not come to its end after the client got its beginning
    shown: belonging.Shown | None = None  # what the bytes that were read show of things; None: nothing can be
    before_write: Callable[[], Awaitable[None]] | None = None  # to be awaited before bytes that were read are passed on

    @property
    def unpacks(self) -> bool:
        """Whether its client gets it unpacked: a stream, to whose events something may have to be added."""
        is_stream = self.reader is not None and self.reader.is_stream
        return is_stream and not Inflate(self.response.headers.get("Content-Encoding", "")).broken

    @property
    def status(self) -> int:
        return self.response.status


class Upstream:
    """The HTTP client of all attempts."""

    def __init__(self) -> None:
        self.connections, self.places = Connections(), Places()

    async def close(self) -> None:
        await self.connections.close()

    async def send(self, call: Call, search: Search, held: Held, pools: Pools) -> Reply:
        """Sends the call with the held key and reads until the outcome is known.

        Raises NotSent, Late (ask anew), StoreAway or BadCall (nothing was sent), or Lost. The grant of a NotSent is
        released.
        """
        sending = Sending(search, held, pools)
        try:
            wire = _wire(call, search, held)
            body = _payload(wire.body, wire.headers)
            response = await self.connections.send(sending, call.method, wire.url, wire.headers, body)
        except BaseException:
            if not sending.sent:
                pools.release(held)
            raise
        incoming = Incoming(response, held.pool.idle_s)
        try:
            reply = await _judge(call, wire.operation, search, held, response, incoming)
        except BaseException:
            incoming.close()
            raise
        reply.asked_usage = wire.asked_usage
        return reply


@dataclass(frozen=True, slots=True)
class _Wire:
    """A call as it goes to one provider, with one key in it."""

    url: URL
    headers: CIMultiDict[str]
    body: Pieces
    operation: str
    asked_usage: bool  # for the sidecar alone: what tells it is not the client's


def _wire(call: Call, search: Search, held: Held) -> _Wire:
    target = search.targets[held.target]
    provider = held.pool.provider
    dialect = call.place.dialect
    speech = provider.dialects.get(dialect.name) or Speech("", provider.auth)
    operation, body = call.to(target)
    path = upstream_path(provider.base_url, speech, dialect.name, call.place.prefix + operation)
    headers = call.headers.copy()
    for name, value in provider.headers.items():
        headers.setdefault(name, value)
    headers.update(target.headers)
    if search.route.mask_model:
        headers["Accept-Encoding"] = "identity"
    query = _present(speech.auth, held.key.secret.reveal(), headers, call.query)
    url = URL(_origin(provider.base_url) + path + (f"?{query}" if query else ""), encoded=True)
    asking = call.asking_usage(target) if _wants_usage(call, held) else None
    return _Wire(url, headers, body if asking is None else asking, operation, asking is not None)


def _wants_usage(call: Call, held: Held) -> bool:
    """Whether a stream is to tell its usage, whether or not its client asked for it."""
    if not call.reading.stream:
        return False
    if held.pool.include_usage is not None:
        return held.pool.include_usage
    return held.grant.counts_tokens and held.pool.provider.asks_usage


def _origin(base_url: str) -> str:
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc}"


def _present(auth: Auth, secret: str, headers: CIMultiDict[str], query: str) -> str:
    """Adds the one credential, in the place of the client's if it is there; returns the query to send."""
    match auth.kind:
        case "bearer":
            headers["Authorization"] = f"Bearer {secret}"
        case "header":
            headers[auth.name] = secret
        case "query":
            kept = without_credentials(query, frozenset({auth.name}))
            return f"{kept}{'&' if kept else ''}{auth.name}={quote(secret, safe='')}"
    return query


def _payload(body: Pieces, headers: CIMultiDict[str]) -> Any:
    """The body as aiohttp sends it: a large one in slices, so that one write does not hold the loop."""
    size = sum(map(len, body))
    if size <= IN_MEMORY:
        return b"".join(body) or None
    headers["Content-Length"] = str(size)
    return _slices(body)


async def _slices(body: Pieces) -> AsyncIterator[bytes]:
    for piece in body:
        for start in range(0, len(piece), SLICE):
            yield bytes(piece[start : start + SLICE])


async def _judge(
    call: Call, operation: str, search: Search, held: Held, response: aiohttp.ClientResponse, incoming: Incoming
) -> Reply:
    """Reads as much of the answer as its outcome needs."""
    first_byte_at = monotonic()
    dialect, provider = call.place.judge, held.pool.provider
    headers = {name.lower(): value for name, value in response.headers.items()}
    coding = headers.get("content-encoding", "")
    inflate = Inflate(coding)
    answer = Answer(response.status, headers, b"", held.now_us(first_byte_at) / SECOND_US)
    if 200 <= response.status < 300:
        silent = call.method == "HEAD"
        reader = dialect.reader(call.method, operation, "" if silent else headers.get("content-type", ""))
        reader.wants_content = search.route.retry_empty
        beta = ",".join(call.headers.getall("anthropic-beta", ()))
        shown_things = belonging.shown(call.method, operation, call.body, answer.now_s, beta)
        if shown_things is not None:
            reader = belonging.watched(reader, shown_things)
        raw, ended = await _until_it_speaks(call.method, incoming, reader, inflate)
        # Shown is shown, whatever came in the same packet: what a client sees must not hang on how bytes were cut.
        outcome = OK if reader.first == "event" and not ended else reader.outcome(provider, answer)
        shown = reader.first != "error"
        if reader.blocked and Class.BLOCKED in search.route.fallback_on:
            outcome, shown = BLOCKED, False
        if provider.overrides and reader.first == "event":
            said = dialect.classify(provider, replace(answer, head=reader.opening))
            if said.kind is not Class.OK:
                outcome, shown = said, False
        if not shown and not ended:
            more, ended = await _rest_of_error(incoming, HOLD_S)
            raw += more
        reply = Reply(response, incoming, answer, outcome, reader, inflate, raw, ended, first_byte_at, streams=shown)
        reply.shown = shown_things
        return reply
    raw, ended = await _rest_of_error(incoming, HOLD_S)
    answer = replace(answer, head=unpacked(coding, raw, ERROR_BYTES)[0])
    outcome = dialect.classify(provider, answer)
    return Reply(response, incoming, answer, outcome, None, inflate, raw, ended, first_byte_at, streams=False)


async def _until_it_speaks(method: str, incoming: Incoming, reader: Reader, inflate: Inflate) -> tuple[bytes, bool]:
    """Reads until the answer has said something, or has been silent too long, or is too long to be held back.

    That time begins with the head of a stream, but with the first byte of what is judged whole: some send its head at
    once. A stream that a GET opens is not held back: it may say nothing before its client's next call.
    """
    if reader.first != "waiting":
        return b"", False
    first, ended = b"", False
    if incoming.has_begun or not reader.is_stream:
        first, ended = await _read(incoming, reader, inflate)
    if ended or reader.first != "waiting" or (method == "GET" and reader.is_stream):
        return first, ended  # as mostly, without the cost of a deadline
    raw = bytearray(first)
    with suppress(TimeoutError):
        async with asyncio.timeout(HOLD_S):
            while not ended and reader.first == "waiting" and not inflate.broken and len(raw) < HEAD_BYTES:
                more, ended = await _read(incoming, reader, inflate)
                raw += more
    return bytes(raw), ended


async def _read(incoming: Incoming, reader: Reader, inflate: Inflate) -> tuple[bytes, bool]:
    """What has come, as it came, and whether that is the last of an answer that has said nothing before."""
    data = await incoming.chunk()
    for piece in inflate(data):
        reader.feed(piece)
    ended = not data or (reader.first == "waiting" and incoming.at_end)
    if ended:
        reader.close()
    return data, ended


async def _rest_of_error(incoming: Incoming, within_s: float) -> tuple[bytes, bool]:
    """The body of an error, at most ERROR_BYTES of it, and whether that is all.

    One that is cut or stalls keeps the status and the headers that it came with: they say most of it.
    """
    raw = bytearray()
    with suppress(TimeoutError, Lost):
        async with asyncio.timeout(within_s):
            while len(raw) <= ERROR_BYTES:
                data = await incoming.chunk()
                if not data:
                    return bytes(raw), True
                raw += data
    incoming.close()
    return bytes(raw), False
