"""The body of an answer on its way to the client: its bytes as they come, its usage read along, its end told truly."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from sidecar.model.outcomes import BROKEN, TIMED_OUT
from sidecar.model.redaction import hide
from sidecar.providers import masking
from sidecar.providers.dialect import Reader
from sidecar.proxy import belonging, keepalive
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import Call
from sidecar.proxy.errors import broken_off, stopped
from sidecar.proxy.inflate import PLAIN, Inflate
from sidecar.proxy.origin.incoming import Lost
from sidecar.proxy.visit import Visit

log = logging.getLogger(__name__)

TAKEN_S = 300.0  # that a client has to take an answer that is all there: of 50 MB one at 170 kB/s
LAST_WORD_S = 5.0  # that a client has to take the error with which its stream ends


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an answer goes, and what it is to be there."""

    request: web.BaseRequest
    visit: Visit
    call: Call
    deadline: float  # of the whole request, on the loop's clock
    called: str = ""  # what it is to call its model; "": as the provider does
    tee: Callable[[bytes], None] | None = None  # hears each byte of the body that the client gets


class Passing:
    """A body on its way: every byte as it comes, but no event before it is whole: a part of one is of use to nobody,
    and nothing could be said behind it."""

    def __init__(self, to: Delivery, answer: Answer, reader: Reader) -> None:
        self._to, self.reply, self._reader, self._secrets = to, answer.reply, reader, answer.secrets
        headers = answer.reply.response.headers
        coding = headers.get("Content-Encoding", "")
        # Nothing can be added to packed bytes, or to a length that was told.
        self.unpacks = self.reply.unpacks
        self._packed = not self.unpacks and coding.strip().lower() not in PLAIN
        self._fixed = self._packed or (not self.unpacks and "Content-Length" in headers)
        self.mask: masking.Mask | belonging.Results | None = None
        if not self._packed:
            mask = masking.mask(to.called, headers.get("Content-Type", "")) if to.called else None
            self.mask = mask or belonging.results(to.request)
        self._held = b"".join(Inflate(coding)(self.reply.held)) if self.unpacks else self.reply.held
        self._untaken = False  # whether it ended as it waited for the client
        self._every_s = keepalive.every_s(to.visit.attempts) if self.unpacks and to.visit.attempts else None
        self._sign_at = 0.0  # on the loop's clock
        self._numbered = False  # whether an event had an id
        self._half_ended = False  # whether the LF of a CRLF is still to come, behind the CR that ended an event

    async def send(self, response: web.StreamResponse) -> web.StreamResponse:
        """Sends it in this response, whose head has gone, to its end, or to that of the connection.

        Raises ConnectionResetError where its client is gone, or does not take it in the request's time.
        """
        reply = self.reply
        try:
            async with asyncio.timeout_at(self._to.deadline):
                await self._run(response)
                if self._reader.complete:
                    self._to.visit.said = True
                    await self._taken(response.write_eof())
                    return response
        except Lost as lost:
            reply.broke = lost.outcome
        except TimeoutError:
            if self._untaken:
                hang_up(self._to.request)
                raise ConnectionResetError("the client took too long") from None
            reply.broke = TIMED_OUT
        except asyncio.CancelledError:
            if not self._to.visit.stopped:
                raise
        except ConnectionResetError:  # the client's
            raise
        except Exception:  # with a second answer in the middle of this one nothing would be told
            log.exception("request %s failed", self._to.call.request_id)
            reply.broke = BROKEN
        finally:
            reply.incoming.close()
        if last := self._last_word():
            await taken(self._to.request, self._to.visit, say(response, [last]), LAST_WORD_S)
        else:
            _break_off(self._to.request, response)
        return response

    def _last_word(self) -> bytes:
        """The error with which a stream ends that broke, in the client's dialect; b"" where nothing can be said."""
        if not self.unpacks:
            return b""
        place = self._to.call.place
        why = stopped() if self._to.visit.stopped else broken_off(timed_out=self.reply.broke is TIMED_OUT)
        error = place.judge.write_error(why.status, why.code, why.message)
        return self._reader.last(place.judge.write_error_event(place.operation, why.status, error), error)

    async def _run(self, response: web.StreamResponse) -> None:
        """Raises Lost."""
        reply, reader = self.reply, self._reader
        data, ended = self._held, reply.ended
        self._said(b"")
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
                    if self._to.tee is not None:
                        self._to.tee(told)
                    await self._taken(response.write(told))
                    self._said(told)
                data = data[shown:]
            if ended:
                return
            try:
                more = await (reply.incoming.chunk() if self._every_s is None else self._next(response))
            except Lost:
                if not reader.said_last:
                    raise
                more = b""  # as some servers do: they close without HTTP's own end
            data, ended = data + self._read(more), not more

    async def _next(self, response: web.StreamResponse) -> bytes:
        """What comes next. While its client gets nothing it gets signs. Raises Lost."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._sign_at):
                    return await self.reply.incoming.chunk()
            if sign := self._sign():
                await self._taken(response.write(sign))
            self._said(sign)

    def _sign(self) -> bytes:
        """What tells its client that it lives; b"" within an event, or where nothing can be said.

        Behind an id a blank line of its own is an event without data to the SDKs of OpenAI and Anthropic, which they
        cannot read (`SSEDecoder` in their `_streaming.py`): there it is a line of the next event.
        """
        sign = self._to.call.sign()
        if self._half_ended or self._reader.last(sign, b"") != sign:
            return b""
        return sign[:-1] if self._numbered else sign

    def _said(self, told: bytes) -> None:
        """Its client has this now: the next sign has time."""
        if self._every_s is not None:
            self._sign_at = asyncio.get_running_loop().time() + self._every_s
            self._half_ended = told.endswith(b"\n\r") if told else self._half_ended
            self._numbered = self._numbered or told.startswith(b"id:") or b"\nid:" in told

    async def _taken(self, writing: Awaitable[None]) -> None:
        try:
            await writing
        except asyncio.CancelledError:
            self._untaken = True
            raise

    def _read(self, more: bytes) -> bytes:
        """What these bytes are to the client. Raises Lost where they cannot be unpacked, and must be."""
        if not self.unpacks:
            for piece in self.reply.inflate(more):
                self._reader.feed(piece)
            return more
        plain = []
        for piece in self.reply.inflate(more):
            self._reader.feed(piece)
            plain.append(piece)
        if self.reply.inflate.broken:
            raise Lost("the stream cannot be unpacked")
        return b"".join(plain)

    def _for_client(self, data: bytes) -> bytes:
        clean = self._clean(data)
        if self.reply.asked_usage:
            clean = self._to.call.place.judge.without_usage(clean)
        return self.mask.feed(clean) if self.mask else clean

    def _clean(self, data: bytes) -> bytes:
        """The bytes as they are, from an error event on with its name where a secret stood.

        Raises Lost where it stands in what cannot be changed any more.
        """
        if not self._reader.failing:
            return data
        text = self._reader.failing if self._packed else data
        clean = hide(text.decode("latin-1"), self._secrets).encode("latin-1")
        if clean == text:
            return data
        if self._fixed:
            raise Lost("an error that shows a secret cannot be passed on")
        return clean


async def say(response: web.StreamResponse, pieces: Iterable[bytes]) -> None:
    """The rest of a response, whose head has gone."""
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()


async def taken(request: web.BaseRequest, visit: Visit, sending: Awaitable[None], within_s: float) -> None:
    """Sends the last that a client gets, which has so long to take it.

    Raises ConnectionResetError where it does not, as if it had gone: else it would hold what it is sent for ever.
    """
    visit.said = True
    try:
        async with asyncio.timeout(within_s):
            await sending
    except TimeoutError:
        hang_up(request)
        raise ConnectionResetError("the client took too long") from None


def hang_up(request: web.BaseRequest) -> None:
    """Ends the connection without what is still to be written, for which its client does not ask."""
    if request.transport is not None:
        request.transport.abort()


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
