"""What lies between a Store and its Redis, or pretends to be one: a proxy that cuts, servers with one answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Forwards to a port, and closes a connection in the middle of a reply when it is told to."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._cut_after: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0
        self.is_shut = False  # whether who connects is hung up on

    def cut_next_reply_after(self, count: int) -> None:
        """Passes so many bytes of what Redis says next, then closes both ends."""
        self._cut_after = count

    def cut_now(self) -> None:
        """Closes every connection, as an idle timeout does."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.is_shut:
            writer.close()
            return
        upstream, to_redis = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, to_redis}
        self._writers |= ends
        await asyncio.gather(self._pass(reader, to_redis), self._pass_replies(upstream, writer))
        for end in ends:
            end.close()
        for end in ends:
            with suppress(OSError):
                await end.wait_closed()
        self._writers -= ends

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def _pass_replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                cut, self._cut_after = self._cut_after, None
                writer.write(data[:cut])
                if cut is not None:
                    break
        writer.close()


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port."""
    passing = Proxy(target)
    async with serving(passing.serve) as port:
        passing.port = port
        yield passing
        passing.cut_now()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[int]:
    """A server on a free port of loopback; its handlers have ended when this does."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, and never answers."""
    while await reader.read(65536):
        pass


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts and closes."""


async def no_redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A web server on Redis's port."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await writer.drain()


class Unable:
    """A Redis that answers every script with this error until it is mended, and everything else with OK."""

    def __init__(self, error: str) -> None:
        self.error = error

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            words = []
            for _ in range(int(head[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            writer.write(f"-{self.error}\r\n".encode() if words[0] == b"EVALSHA" else b"+OK\r\n")
