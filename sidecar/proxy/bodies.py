"""Request bodies: small ones in memory, large ones in a mapped file, and never more of them at once than fit."""

from __future__ import annotations

import asyncio
import logging
import mmap
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from sidecar.providers.dialect import Body
from sidecar.proxy.errors import Refused, bad_request
from sidecar.proxy.inflate import PLAIN, READABLE, Inflate

log = logging.getLogger(__name__)

MIB = 1024 * 1024
IDLE_S = 60.0  # between two pieces of a body, which takes its share of the storage while it comes
IN_MEMORY = MIB  # bytes of one body before it moves to a file

# Bytes of all bodies at once. In memory 256 of the longest prompts or tens of thousands of usual ones: a burst of them
# gets its 503s before a container is killed together with all that it serves. In files ten of the default `max_body`,
# and at any `max_body` four of the largest, so that one that is not too large can pass.
MEMORY_MOST = 256 * MIB
FILES_MOST, FILES_MOST_BODIES = 1024 * MIB, 4


@dataclass(slots=True)
class Storage:
    """Bytes that the request bodies of this process take now."""

    memory: int = 0
    files: int = 0


@dataclass(slots=True)
class Share:
    """What one request's body takes of the storage, until it is released: when the request ends, however it ends."""

    storage: Storage
    max_body: int
    size: int = 0

    def check(self, size: int) -> None:
        """Raises Refused: 413 for a body that is too large, 503 where one of so many bytes does not fit now."""
        if size > self.max_body:
            raise Refused(413, "request_too_large", f"The body is larger than max_body ({self.max_body} bytes).")
        if size <= IN_MEMORY:
            fits = self.storage.memory + size <= MEMORY_MOST
        else:
            fits = self.storage.files + size <= max(FILES_MOST, FILES_MOST_BODIES * self.max_body)
        if not fits:
            message = "The sidecar holds as many request bodies as it may: try again when some have been answered."
            raise Refused(503, "too_many_bodies", message, {"Retry-After": "1"})

    def grow(self, size: int) -> None:
        """The body has so many bytes by now. Raises Refused as `check` does."""
        self.release()
        self.check(size)
        self.size = size
        if size <= IN_MEMORY:
            self.storage.memory += size
        else:
            self.storage.files += size

    def release(self) -> None:
        """Gives it all back; a second time there is nothing to give."""
        if self.size <= IN_MEMORY:
            self.storage.memory -= self.size
        else:
            self.storage.files -= self.size
        self.size = 0


async def read(request: web.BaseRequest, share: Share) -> Body:
    """The whole body, decompressed, counted in `share`.

    Raises Refused: 413 too large, 415 unknown coding, 400 broken, 408 not going on, 503 too many at once.
    """
    coding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if coding not in PLAIN | READABLE:
        message = f"Content-Encoding {coding[:40]} is not supported: send gzip, deflate or none."
        raise Refused(415, "unsupported_encoding", message)
    if not request.body_exists:
        return b""
    share.check(request.content_length or 0)
    await _continue(request)
    try:
        if coding in PLAIN and request.content.is_eof() and (request.content_length or MIB) < IN_MEMORY:
            body = request.content.read_nowait()  # as mostly: it came with its head
            share.grow(len(body))
            return body
        async with asyncio.timeout(IDLE_S) as idle:
            return await _collect(_pieces(request, coding, idle), share)
    except RequestPayloadError:
        raise bad_request("The body cannot be read: its chunks are malformed.") from None
    except TimeoutError:
        raise Refused(408, "request_timeout", f"Nothing more of the body came for {IDLE_S:g} s.") from None


async def _pieces(request: web.BaseRequest, coding: str, idle: asyncio.Timeout) -> AsyncIterator[bytes]:
    """The body as it comes, without its compression."""
    inflate, loop = Inflate(coding), asyncio.get_running_loop()
    async for chunk in request.content.iter_any():
        idle.reschedule(loop.time() + IDLE_S)
        for piece in inflate(chunk):
            yield piece
    if not inflate.whole:
        raise bad_request(f"The body cannot be read: it is no whole {coding} data.")


async def _collect(pieces: AsyncIterator[bytes], share: Share) -> Body:
    parts: list[bytes] = []
    async for chunk in pieces:
        share.grow(share.size + len(chunk))
        parts.append(chunk)
        if share.size > IN_MEMORY:
            return await _spool(pieces, parts, share)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _spool(pieces: AsyncIterator[bytes], parts: list[bytes], share: Share) -> Body:
    with _disk():
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below: what a client's connection does is no fault of it
    with file:
        with _disk():
            file.writelines(parts)
        parts.clear()
        async for chunk in pieces:
            share.grow(share.size + len(chunk))
            with _disk():
                file.write(chunk)
        with _disk():
            return _mapped(file)


@contextmanager
def _disk() -> Iterator[None]:
    """Raises Refused (503) where the temporary folder is full, read-only or not there, and logs which setting it is."""
    try:
        yield
    except OSError as error:
        log.warning("a request body of more than 1 MiB cannot be kept: %s; TMPDIR names the folder", error.strerror)
        message = "The sidecar has no room on its disk for a body of this size; its log says why."
        raise Refused(503, "no_storage", message, {"Retry-After": "1"}) from None


def _mapped(file: IO[bytes]) -> memoryview:
    file.flush()
    return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


async def _continue(request: web.BaseRequest) -> None:
    """Answers `Expect: 100-continue` only once the body is wanted."""
    expect = request.headers.get("Expect", "")
    if expect.lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    elif expect:
        raise Refused(417, "expectation_failed", "Only Expect: 100-continue is understood.")
