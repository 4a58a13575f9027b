"""Strict proxies: they check who comes, write down what was asked, and refuse or die when told to."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Doorway:
    """Passes bytes on to another place once it is told where. `hosts`: the port of this machine that a name stands for.

    Without an entry for it a name is looked up as any client would.
    """

    login: str = ""  # `user:password`; "": anybody may come
    hosts: Mapping[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # what was asked for by who may
    refused: int = 0  # how often who came was not known
    url: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Ends every connection, whatever is under way on it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def left(self) -> None:
        """Returns once every client has closed its connection."""
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = None
        try:
            beyond = await self.met(reader, writer)
            if beyond is not None:
                await asyncio.gather(_pump(reader, beyond[1]), _pump(beyond[0], writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in (writer, *(beyond[1:] if beyond else ())):
                one.transport.abort()

    async def met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        """What the client is to be connected with; None: it was refused."""
        raise NotImplementedError

    async def beyond(self, host: str, port: int) -> Streams:
        local = self.hosts.get(host)
        return await asyncio.open_connection("127.0.0.1" if local else host, local or port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _say(writer: asyncio.StreamWriter, status: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()


@dataclass
class HttpProxy(Doorway):
    """CONNECT, and requests for a whole URL. `answer`: what it says instead, such as `503 Service Unavailable`."""

    answer: str = ""
    silent: bool = False  # takes the request and says nothing

    async def met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}" if self.login else None
        lines = [line.partition(": ")[::2] for line in head.split("\r\n")[1:]]
        if {name.lower(): value for name, value in lines}.get("proxy-authorization") != wanted:
            self.refused += 1
            await _say(writer, "407 Proxy Authentication Required")
            return None
        self.asked.append(f"{method} {target}")
        if self.silent:
            await reader.read()
            return None
        if self.answer:
            await _say(writer, self.answer)
            return None
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            there = await self.beyond(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            return there
        url = urlsplit(target)
        there = await self.beyond(str(url.hostname), url.port or 80)
        kept = [f"{name}: {value}" for name, value in lines if name and name.lower() != "proxy-authorization"]
        path = url._replace(scheme="", netloc="").geturl() or "/"
        there[1].write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1"))
        return there


@dataclass
class SocksProxy(Doorway):
    """SOCKS5 (RFC 1928) with the CONNECT command, and its login (RFC 1929). `reply`: 0, or why it refuses.

    `closes`: it hears whoever comes, and hangs up.
    """

    reply: int = 0
    closes: bool = False

    async def met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Streams | None:
        if self.closes:
            await reader.readexactly(1)
            writer.write_eof()
            await reader.read()
            return None
        version, count = await reader.readexactly(2)
        assert version == 5
        offered, wanted = await reader.readexactly(count), 2 if self.login else 0
        writer.write(bytes([5, wanted if wanted in offered else 255]))
        if wanted not in offered or (wanted and not await self._knows(reader, writer)):
            self.refused += 1
            return None
        _, command, _, kind = await reader.readexactly(4)
        assert command == 1
        size = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
        address = await reader.readexactly(size)
        host = address.decode() if kind == 3 else ".".join(map(str, address)) if kind == 1 else address.hex()
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append(f"{'name' if kind == 3 else 'address'} {host}:{port}")
        there = None if self.reply else await self.beyond(host, port)
        writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        return there

    async def _knows(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        known = f"{user.decode()}:{password.decode()}" == self.login
        writer.write(bytes([1, 0 if known else 1]))
        return known


@asynccontextmanager
async def tls_door(port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """TLS before what listens on a port of this machine; yields the port of the door."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            inner, out = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(_pump(reader, out), _pump(inner, writer))
            finally:
                out.transport.abort()
                writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
