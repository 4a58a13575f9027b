"""An upstream that says exactly the bytes a test gives it, and keeps exactly those it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Exchange:
    """One request as it came, and the way to answer it."""

    head: bytes
    body: bytes
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def target(self) -> bytes:
        return self.head.split(b" ", 2)[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case, values as latin-1, in their order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    def header(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes = b"{}", head: str = "200 OK", *headers: str) -> None:
        """A whole answer with its length; its type is JSON unless the headers say otherwise."""
        typed = any(header.lower().startswith("content-type:") for header in headers)
        lines = [f"HTTP/1.1 {head}", f"Content-Length: {len(body)}", *headers]
        lines += [] if typed else ["Content-Type: application/json"]
        shown = b"" if self.head.startswith(b"HEAD ") else body
        await self.say(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + shown)

    async def begin(self, *headers: str, kind: str = "text/event-stream") -> None:
        """The head of a chunked 200."""
        lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}", "Transfer-Encoding: chunked", *headers]
        await self.say(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        """One chunk; b"" is the last."""
        await self.say(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def cut(self) -> None:
        """The connection ends here."""
        self.writer.close()


Answer = Callable[[Exchange], Awaitable[None]]


class RawUpstream:
    """A TCP server that reads HTTP/1.1 requests and lets `answer` speak; `heard` are all requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.heard, self.connections = answer, list[Exchange](), 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while not writer.is_closing():
                    exchange = await _read(reader, writer)
                    self.heard.append(exchange)
                    await self.answer(exchange)
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4]
    exchange = Exchange(head, b"", writer)
    if "chunked" in exchange.header("transfer-encoding"):
        while size := int(await reader.readline(), 16):
            exchange.body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        exchange.body = await reader.readexactly(int((exchange.header("content-length") or ["0"])[0]))
    return exchange
