"""Request bodies: small ones in memory, large ones in a mapped file."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from sidecar.providers.dialect import Body
from sidecar.proxy.errors import Refused, bad_request
from sidecar.proxy.inflate import PLAIN, READABLE, Inflate

IN_MEMORY = 1024 * 1024  # bytes of one body before it moves to a file


async def read(request: web.BaseRequest, max_body: int) -> Body:
    """The whole body, decompressed. Raises Refused: 413 too large, 415 unknown coding, 400 broken."""
    coding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if coding not in PLAIN | READABLE:
        message = f"Content-Encoding {coding[:40]} is not supported: send gzip, deflate or none."
        raise Refused(415, "unsupported_encoding", message)
    declared = request.content_length
    if declared is not None and declared > max_body:
        raise _too_large(max_body)
    if not request.body_exists:
        return b""
    await _continue(request)
    try:
        return await _collect(_pieces(request, coding), max_body)
    except RequestPayloadError:
        raise bad_request("The body cannot be read: its chunks are malformed.") from None


async def _pieces(request: web.BaseRequest, coding: str) -> AsyncIterator[bytes]:
    """The body as it comes, without its compression."""
    inflate = Inflate(coding)
    async for chunk in request.content.iter_any():
        for piece in inflate(chunk):
            yield piece
    if not inflate.whole:
        raise bad_request(f"The body cannot be read: it is no whole {coding} data.")


async def _collect(pieces: AsyncIterator[bytes], max_body: int) -> Body:
    parts: list[bytes] = []
    size = 0
    async for chunk in pieces:
        size += len(chunk)
        if size > max_body:
            raise _too_large(max_body)
        parts.append(chunk)
        if size > IN_MEMORY:
            return await _spool(pieces, parts, size, max_body)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _spool(pieces: AsyncIterator[bytes], parts: list[bytes], size: int, max_body: int) -> Body:
    with tempfile.TemporaryFile() as file:
        file.writelines(parts)
        async for chunk in pieces:
            size += len(chunk)
            if size > max_body:
                raise _too_large(max_body)
            file.write(chunk)
        return _mapped(file)


def _too_large(max_body: int) -> Refused:
    return Refused(413, "request_too_large", f"The body is larger than max_body ({max_body} bytes).")


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
