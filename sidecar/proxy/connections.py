"""Where connections come from, and the gate on each: a grant passes it once, within its guard."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search

CONNECT_S = 10.0
LONGEST_HEADER = 64 * 1024  # of an answer: security policies and cookies grow


class Late(Exception):
    """The grant was too late and could not be renewed: it is gone, and nothing was sent."""


class NotSent(Exception):
    """No connection could be made; nothing was sent. The text says why."""


class Lost(Exception):
    """The connection broke after the request was sent, before its answer was whole enough to judge."""


class _SentBefore(Exception):
    """The HTTP client was about to send the same grant a second time."""


@dataclass(slots=True)
class Sending:
    """What the gate must know of the attempt that it is about to let through."""

    search: Search
    held: Held
    pools: Pools
    sent: bool = False


_SENDING: ContextVar[Sending] = ContextVar("sending")  # of the request's own task


class _Gate(aiohttp.TCPConnector):
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
            await _let_through(_SENDING.get(), connection)
        except BaseException:
            connection.release()
            raise
        return connection


async def _let_through(sending: Sending, connection: Connection) -> None:
    """Raises _SentBefore, Late, StoreAway or aiohttp's ClientError where this grant may not be sent now."""
    if sending.sent:
        raise _SentBefore
    if monotonic() > sending.held.send_by and not await sending.pools.renew(sending.search, sending.held):
        raise Late
    if connection.transport is None:
        raise aiohttp.ClientConnectionResetError("closed while the grant was confirmed")
    sending.sent = True


class Connections:
    """The HTTP client of all attempts."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            # No limit: a grant must not queue for a connection and be late for it.
            connector=_Gate(limit=0, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=LONGEST_HEADER,
            max_field_size=LONGEST_HEADER,
        )

    async def close(self) -> None:
        await self._session.close()

    async def send(
        self, sending: Sending, method: str, url: URL, headers: CIMultiDict[str], data: Any
    ) -> aiohttp.ClientResponse:
        """The head of the answer. Raises NotSent, Late or StoreAway (nothing was sent), or Lost."""
        _SENDING.set(sending)
        try:
            return await self._session.request(method, url, data=data, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError, _SentBefore) as error:
            if sending.sent:
                raise Lost(_how(error)) from None
            raise NotSent(_reason(error)) from None


def _reason(error: Exception) -> str:
    """What went wrong with a connection, without its URL: a query may hold the key."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}: {error.os_error.strerror or type(error.os_error).__name__}"
    return type(error).__name__


def _how(error: Exception) -> str:
    """How a connection broke. The HTTP client, which would send once more, is stopped where no answer came."""
    silent = isinstance(error, _SentBefore | aiohttp.ServerDisconnectedError)
    return "closed without an answer" if silent else type(error).__name__
