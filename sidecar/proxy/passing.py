"""The body of an answer on its way to the client: its bytes as they come, its usage read along, its end told truly."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from sidecar.model.redaction import hide
from sidecar.providers import masking
from sidecar.providers.dialect import Reader
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import Call
from sidecar.proxy.errors import broken_off
from sidecar.proxy.inflate import PLAIN, Inflate
from sidecar.proxy.origin.incoming import BROKEN, TIMED_OUT, Lost
from sidecar.proxy.upstream import Reply

log = logging.getLogger(__name__)

LAST_WORD_S = 5.0  # that a client has to take the error with which its stream ends


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where an answer goes, and what it is to be there."""

    request: web.BaseRequest
    call: Call
    deadline: float  # of the whole request, on the loop's clock
    called: str = ""  # what it is to call its model; "": as the provider does
    tee: Callable[[bytes], None] | None = None  # hears each byte of the body that the client gets
    begun: web.StreamResponse | None = None  # the stream that the client has already, and in which all is to be said


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
        masks = to.called and not self._packed
        self.mask = masking.mask(to.called, headers.get("Content-Type", "")) if masks else None
        self._held = b"".join(Inflate(coding)(self.reply.held)) if self.unpacks else self.reply.held

    async def send(self, response: web.StreamResponse) -> web.StreamResponse:
        """Sends it in this response, whose head has gone, to its end, or to that of the connection."""
        reply = self.reply
        try:
            async with asyncio.timeout_at(self._to.deadline):
                await self._run(response)
                if self._reader.complete:
                    await response.write_eof()
                    return response
        except Lost as lost:
            reply.broke = lost.outcome
        except TimeoutError:
            reply.broke = TIMED_OUT
        except ConnectionResetError:  # the client's
            raise
        except Exception:  # with a second answer in the middle of this one nothing would be told
            log.exception("request %s failed", self._to.call.request_id)
            reply.broke = BROKEN
        finally:
            reply.incoming.close()
        if not (self.unpacks and await _say_so(self._to, reply, response)):
            break_off(self._to.request, response)
        return response

    async def _run(self, response: web.StreamResponse) -> None:
        """Raises Lost."""
        reply, reader = self.reply, self._reader
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
                    if self._to.tee is not None:
                        self._to.tee(told)
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


async def _say_so(to: Delivery, reply: Reply, response: web.StreamResponse) -> bool:
    """Whether a stream that broke was ended with an error in the client's dialect."""
    assert reply.reader is not None
    why, dialect = broken_off(timed_out=reply.broke is TIMED_OUT), to.call.place.judge
    error = dialect.write_error(why.status, why.code, why.message)
    last = reply.reader.last(dialect.write_error_event(to.call.place.operation, why.status, error), error)
    if not last:
        return False
    try:
        async with asyncio.timeout(LAST_WORD_S):
            await response.write(last)
            await response.write_eof()
    except TimeoutError:
        return False
    return True


def break_off(request: web.BaseRequest, response: web.StreamResponse) -> None:
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
