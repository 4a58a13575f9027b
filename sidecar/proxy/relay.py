"""A reply on its way to the client: its bytes as they come, its usage read along, its end told truly."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

from aiohttp import web
from multidict import CIMultiDict

from sidecar.model.redaction import finder
from sidecar.providers import faults, masking
from sidecar.providers.dialect import ERROR_BYTES, Dialect, Reader
from sidecar.providers.masking import Mask
from sidecar.proxy import belonging
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import HOP_BY_HOP, Call, connection_named
from sidecar.proxy.errors import SHOULD_RETRY, Refused, broken_off
from sidecar.proxy.incoming import TIMED_OUT, Lost
from sidecar.proxy.inflate import PLAIN, Inflate, unpacked
from sidecar.proxy.upstream import Reply

# Of one hidden key, so they would mislead a client that shares many; and what only we may say.
_NOT_PASSED = ("x-ratelimit-", "x-rate-limit-", "ratelimit-", "anthropic-ratelimit-", "x-sidecar-")

LONGEST_TOLD = 1000  # bytes of an error that is no JSON
LAST_WORD_S = 5.0  # that a client has to take the error with which its stream ends

_DROPPED = HOP_BY_HOP | {"content-length"}


Tee = Callable[[bytes], None]


async def send(
    request: web.BaseRequest,
    call: Call,
    answer: Answer,
    ours: CIMultiDict[str],
    deadline: float,
    called: str = "",
    tee: Tee | None = None,
    begun: web.StreamResponse | None = None,
) -> web.StreamResponse:
    """Sends the whole answer. A stream that breaks off ends with an error, anything else with the connection.

    `called`: what the answer is to call its model; "": as the provider does. `tee` hears each byte of its body that the
    client gets. `begun`: the stream that its client has already, and in which all is to be said.
    """
    reply = answer.reply
    if begun is not None:
        return await _go_on(request, call, answer, deadline, begun, called, tee)
    mask = _mask(reply, called) if called else None
    headers = _client_headers(answer)
    if answer.is_final:
        headers[SHOULD_RETRY] = "false"
    belonging.here(headers, request)
    headers.extend(ours)
    reader = reply.reader
    whole = reply.ended and reader is not None and reader.complete
    if not reply.streams or (whole and reader is not None and reader.failing):
        headers, body = _without_secret(answer, headers)
        if reply.asked_usage:
            body = call.place.judge.without_usage(body)
        return await _whole(request, reply, headers, mask.feed(body) if mask else body)
    if whole and not reply.asked_usage:
        body = _at_home(request, reply, headers)
        body = mask.feed(body) if mask else body
        if tee is not None:
            tee(body)
        return await _whole(request, reply, headers, body)
    return await _stream(request, call, answer, headers, deadline, called, tee)


def _mask(reply: Reply, called: str) -> Mask | None:
    """What a 2xx passes through; None where it cannot be read, as what was packed though nobody asked for it."""
    headers = reply.response.headers
    readable = reply.status < 300 and headers.get("Content-Encoding", "").strip().lower() in PLAIN
    return masking.mask(called, headers.get("Content-Type", "")) if readable else None


def _at_home(request: web.BaseRequest, reply: Reply, headers: CIMultiDict[str]) -> bytes:
    """The body, in which a URL that leads past the sidecar leads here."""
    if "/messages/batches" not in request.raw_path or reply.status >= 300:
        return reply.held
    body, is_all = unpacked(headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)
    here = belonging.results_here(request, body)
    if not is_all or here == body:
        return reply.held
    headers.popall("Content-Encoding", None)
    return here


async def end(begun: web.StreamResponse, dialect: Dialect, operation: str, refused: Refused) -> web.StreamResponse:
    """Ends a stream with an error of the sidecar."""
    error = dialect.write_error(refused.status, refused.code, refused.message)
    return await _end(begun, dialect.write_error_event(operation, refused.status, error))


async def _end(begun: web.StreamResponse, event: bytes) -> web.StreamResponse:
    await begun.write(event)
    await begun.write_eof()
    return begun


async def _go_on(
    request: web.BaseRequest,
    call: Call,
    answer: Answer,
    deadline: float,
    begun: web.StreamResponse,
    called: str,
    tee: Tee | None,
) -> web.StreamResponse:
    """Says an answer in the stream that its client has already: as it is, if it is one, else the error in it.

    Raises Refused where it is neither.
    """
    reply, dialect = answer.reply, call.place.judge
    passing = None if reply.reader is None else _Passing(answer, reply.reader, dialect, called, tee)
    if passing is not None and passing.unpacks and reply.streams:
        return await _pass(request, call, passing, begun, deadline)
    reply.incoming.close()
    if reply.status < 300 and not (passing and passing.unpacks):
        raise Refused(502, "upstream_error", "The provider answered without the stream that it was asked for.")
    said = _error(answer)
    if passing is not None:  # the error is an event of its own stream
        return await _end(begun, said)
    error = faults.as_object(said)
    if error is None:
        raise Refused(reply.status, "upstream_error", said[:LONGEST_TOLD].decode("utf-8", "replace"))
    return await _end(begun, dialect.write_error_event(call.place.operation, reply.status, error))


async def _whole(request: web.BaseRequest, reply: Reply, headers: CIMultiDict[str], body: bytes) -> web.StreamResponse:
    length = reply.response.headers.get("Content-Length")
    if length and request.method == "HEAD":
        headers["Content-Length"] = length  # of what a GET would get
    return await send_whole(request, web.Response(status=reply.status, headers=headers, body=body or None))


async def send_whole(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Sends an answer that is all there."""
    await response.prepare(request)
    await response.write_eof()
    return response


async def _stream(
    request: web.BaseRequest,
    call: Call,
    answer: Answer,
    headers: CIMultiDict[str],
    deadline: float,
    called: str,
    tee: Tee | None,
) -> web.StreamResponse:
    reply, reader = answer.reply, answer.reply.reader
    assert reader is not None
    passing = _Passing(answer, reader, call.place.judge, called, tee)
    if passing.unpacks:
        headers.popall("Content-Encoding", None)
    response = web.StreamResponse(status=reply.status, headers=headers)
    length = reply.response.headers.get("Content-Length", "")
    if length.isdigit() and not passing.unpacks and passing.mask is None:
        response.content_length = int(length)
    await response.prepare(request)
    return await _pass(request, call, passing, response, deadline)


async def _pass(
    request: web.BaseRequest, call: Call, passing: _Passing, response: web.StreamResponse, deadline: float
) -> web.StreamResponse:
    reply, reader = passing.reply, passing.reader
    try:
        async with asyncio.timeout_at(deadline):
            await passing.run(response)
    except Lost as lost:
        reply.broke = lost.outcome
    except TimeoutError:
        reply.broke = TIMED_OUT
    finally:
        reply.incoming.close()
    if (reply.broke is None and reader.complete) or (passing.unpacks and await _say_so(call, reply, response)):
        await response.write_eof()
    else:
        _break_off(request, response)
    return response


class _Passing:
    """A body on its way: every byte as it comes, but no event before it is whole: a part of one is of use to nobody,
    and nothing could be said behind it."""

    def __init__(self, answer: Answer, reader: Reader, dialect: Dialect, called: str, tee: Tee | None) -> None:
        self._tee = tee
        self.reply, self._key, self.reader, self._dialect = answer.reply, answer.held.key, reader, dialect
        headers = answer.reply.response.headers
        coding = headers.get("Content-Encoding", "")
        inflate = Inflate(coding)
        # Nothing can be added to packed bytes, or to a length that was told.
        self.unpacks = reader.is_stream and not inflate.broken
        self._packed = not self.unpacks and coding.strip().lower() not in PLAIN
        self._fixed = self._packed or (not self.unpacks and "Content-Length" in headers)
        masks = called and not self._packed
        self.mask = masking.mask(called, headers.get("Content-Type", "")) if masks else None
        self._held = b"".join(inflate(self.reply.held)) if self.unpacks else self.reply.held

    async def run(self, response: web.StreamResponse) -> None:
        """To its end. Raises Lost."""
        reply, reader = self.reply, self.reader
        data, ended = self._held, reply.ended
        while True:
            pending = reader.pending
            if ended:
                reader.close()
                pending = pending if self.unpacks and not reader.complete else 0
            shown = len(data) - (len(data) if pending and self._packed else pending)
            if shown > 0:
                if reply.before_write is not None:
                    await reply.before_write()
                if told := self._for_client(data[:shown]):
                    if self._tee is not None:
                        self._tee(told)
                    await response.write(told)
                data = data[shown:]
            if ended:
                return
            more = await reply.incoming.chunk()
            data, ended = data + self._read(more), not more

    def _read(self, more: bytes) -> bytes:
        """What these bytes are to the client. Raises Lost where they cannot be unpacked, and must be."""
        if not self.unpacks:
            for piece in self.reply.inflate(more):
                self.reader.feed(piece)
            return more
        plain = []
        for piece in self.reply.inflate(more):
            self.reader.feed(piece)
            plain.append(piece)
        if self.reply.inflate.broken:
            raise Lost("the stream cannot be unpacked")
        return b"".join(plain)

    def _for_client(self, data: bytes) -> bytes:
        clean = self._clean(data)
        if self.reply.asked_usage:
            clean = self._dialect.without_usage(clean)
        return self.mask.feed(clean) if self.mask else clean

    def _clean(self, data: bytes) -> bytes:
        """The bytes as they are, from an error event on with the key's id where its secret stood.

        Raises Lost where it stands in what cannot be changed any more.
        """
        if not self.reader.failing:
            return data
        text = self.reader.failing if self._packed else data
        clean = finder(self._key.secret).replace(text.decode("latin-1"), self._key.id).encode("latin-1")
        if clean == text:
            return data
        if self._fixed:
            raise Lost("an error that shows the key cannot be passed on")
        return clean


async def _say_so(call: Call, reply: Reply, response: web.StreamResponse) -> bool:
    """Whether a stream that broke could be ended with an error in the client's dialect."""
    assert reply.reader is not None
    why, dialect = broken_off(timed_out=reply.broke is TIMED_OUT), call.place.judge
    error = dialect.write_error(why.status, why.code, why.message)
    last = reply.reader.last(dialect.write_error_event(call.place.operation, why.status, error), error)
    if not last:
        return False
    try:
        async with asyncio.timeout(LAST_WORD_S):
            await response.write(last)
    except TimeoutError:
        return False
    return True


def _break_off(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """An answer that was cut must not look like one that ended: the client sees its connection break.

    What was written is still sent, unless only the connection's clean end would tell where the body ends.
    """
    transport = request.transport
    if transport is None:
        return
    if "Transfer-Encoding" in response.headers or response.content_length is not None:
        transport.close()
    else:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _client_headers(answer: Answer) -> CIMultiDict[str]:
    """The provider's headers as far as they concern the client, with the key's id where its secret stood."""
    headers, key = answer.reply.response.headers, answer.held.key
    named, found = connection_named(headers), finder(key.secret)
    kept = [
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in _DROPPED and lower not in named and not lower.startswith(_NOT_PASSED)
    ]
    together = "\n".join([text for header in kept for text in header])  # one look instead of two a header
    if found.replace(together, key.id) != together:
        kept = [(found.replace(name, key.id), found.replace(value, key.id)) for name, value in kept]
    return CIMultiDict(kept)


def _without_secret(answer: Answer, headers: CIMultiDict[str]) -> tuple[CIMultiDict[str], bytes]:
    """An error's headers and body with the key's secret replaced by its id; as they came, where it is not there.

    Raises Refused as `_error` does.
    """
    reply = answer.reply
    clean = _error(answer)
    if clean == unpacked(reply.response.headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)[0]:
        return headers, reply.held
    headers.popall("Content-Encoding", None)
    return headers, clean


def _error(answer: Answer) -> bytes:
    """An error's body, unpacked, with the key's id where its secret stood.

    Raises Refused with the same status where the body is too large, or compressed so that it cannot be searched.
    """
    reply, key = answer.reply, answer.held.key
    body, is_all = unpacked(reply.response.headers.get("Content-Encoding", ""), reply.held, ERROR_BYTES)
    if not is_all or not reply.ended or b"\0" in body:  # in UTF-16 or UTF-32 nothing would be found
        status = reply.status if reply.status >= 400 else 502
        message = "The provider's error is too large or cannot be decoded to be passed on."
        raise Refused(status, "upstream_error", message)
    return finder(key.secret).replace(body.decode("latin-1"), key.id).encode("latin-1")
