"""The gate on each connection: a grant passes it once, with the connection in hand, within its guard."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.proxy.origin.patience import Patience
from sidecar.store.connect import StoreAway, StoreUnable


class Late(Exception):
    """The grant was too late and could not be renewed: it is gone, and nothing was sent."""


class ProxyRefused(aiohttp.ClientError):
    """A proxy cannot be reached or opens no way to the provider. The text says why."""


class SentBefore(Exception):
    """The HTTP client was about to send the same grant a second time."""


@dataclass(slots=True)
class Sending:
    """What the gate must know of the attempt that it is about to let through."""

    search: Search
    held: Held
    pools: Pools
    uploads: bool = False  # whether it has a body, which may take its time
    sent: bool = False
    patience: Patience | None = None  # with the head of its answer

    @property
    def timeout_s(self) -> float | None:
        """How long its pool gives it from when it is sent; None: as long as the request lasts, which another pool of
        its route may make longer than this one's `timeout`."""
        timeout_s = self.held.pool.timeout_s
        return timeout_s if monotonic() + timeout_s < self.search.deadline else None

    async def look(self, connection: Connection) -> None:
        """Raises Late, StoreAway or aiohttp's ClientError where this grant may not be sent now by this connection."""
        if monotonic() > self.held.send_by and not await self.pools.renew(self.search, self.held):
            raise Late
        if connection.transport is None:
            raise aiohttp.ClientConnectionResetError("closed while the grant was confirmed")

    async def begin(self, connection: Connection) -> None:
        """It is written to this connection from now on. Raises as `look` does, and SentBefore."""
        if self.sent:
            raise SentBefore
        await self.look(connection)
        self.sent = True
        if self.patience is not None and self.timeout_s is not None:
            self.patience.at_most(self.timeout_s)
        if not self.uploads:
            self.written()

    def written(self) -> None:
        """All of it has left this process: from now on it is its provider who takes its time."""
        first_byte_s = self.held.pool.first_byte_s
        if self.patience is not None and first_byte_s is not None:
            self.patience.at_most(first_byte_s)


# Of the request's own task. In a list, which is emptied afterwards: a connection keeps the context in which it was made
# for as long as it lives, and with it a request and its body.
SENDING: ContextVar[list[Sending]] = ContextVar("sending")


class Gate(aiohttp.TCPConnector):
    """Looks at the grant with a connection in hand, before the request is written to it.

    A late grant is confirmed here rather than refused, and the connection of one that is gone stays for the next:
    to throw it away would make the next grant late for the same handshake.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        try:
            await SENDING.get()[0].begin(connection)
        except BaseException:
            connection.release()
            raise
        return connection


class Written(aiohttp.ClientRequest):
    """Looks at the grant once more before a body goes out, and tells the attempt when it has, if that is not over by
    then.

    The HTTP client writes a body, and its head with it, in a task of its own: before that has its turn a busy loop may
    take as long as a guard, and a process that is stopped any time.
    """

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        if await _still_may(conn):
            await super().write_bytes(writer, conn, content_length)
            for sending in SENDING.get():
                sending.written()


async def _still_may(conn: Connection) -> bool:
    """Whether the grant is good by now. Where it is not, or its connection is gone meanwhile, nothing was sent."""
    try:
        for sending in SENDING.get():
            await sending.look(conn)
    except (Late, StoreAway, StoreUnable, aiohttp.ClientError) as error:
        for sending in SENDING.get():
            sending.sent = False
        if conn.protocol is not None:
            conn.protocol.set_exception(error)
        conn.close()
        return False
    except BaseException:
        conn.close()
        raise
    return True
