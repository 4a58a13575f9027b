"""The gate on each connection: a grant passes it once, with the connection in hand, within its guard."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search


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
    sent: bool = False
    patience: asyncio.Timeout | None = None  # for the head of its answer, from when it was sent

    @property
    def first_byte_s(self) -> float | None:
        """How long its pool waits for that; None: for as long as the request lasts, which another pool of its route may
        make longer than this one's `timeout`."""
        pool = self.held.pool
        if pool.first_byte_s is not None:
            return pool.first_byte_s
        return pool.timeout_s if monotonic() + pool.timeout_s < self.search.deadline else None


# Of the request's own task. In a list, which is emptied afterwards: a connection keeps the context in which it was made
# for as long as it lives, and with it a request and its body.
SENDING: ContextVar[list[Sending]] = ContextVar("sending")


class Gate(aiohttp.TCPConnector):
    """Looks at the grant with a connection in hand, right before the request is written to it.

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
            await _let_through(SENDING.get()[0], connection)
        except BaseException:
            connection.release()
            raise
        return connection


async def _let_through(sending: Sending, connection: Connection) -> None:
    """Raises SentBefore, Late, StoreAway or aiohttp's ClientError where this grant may not be sent now."""
    if sending.sent:
        raise SentBefore
    if monotonic() > sending.held.send_by and not await sending.pools.renew(sending.search, sending.held):
        raise Late
    if connection.transport is None:
        raise aiohttp.ClientConnectionResetError("closed while the grant was confirmed")
    sending.sent = True
    if sending.patience is not None and (first_byte_s := sending.first_byte_s) is not None:
        sending.patience.reschedule(asyncio.get_running_loop().time() + first_byte_s)
