"""A Redis URL as connections, and every foreign error as StoreAway: nothing above this room catches a RedisError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CALL_S = 2.0  # how long a round trip may take, the wait for a connection included

# Replies of a server that is there but cannot serve: another node may, or this one soon.
_UNABLE = (
    redis.ReadOnlyError,
    redis.exceptions.OutOfMemoryError,
    redis.BusyLoadingError,
    redis.exceptions.MasterDownError,
)


class StoreAway(Exception):
    """Redis did not answer in time, or not as it should; the text says why, without a password."""


class StoreUnable(Exception):
    """Redis answered this call with an error; the connection is good."""


Opener = Callable[[], Connection]


def opener(url: str) -> Opener:
    """A function that makes connections to `redis://`, `rediss://` or `unix://`, not yet connected.

    They have no timeouts and repeat nothing: deadlines are this room's own, around whole batches, and a script
    that ran once too often breaks a budget. Raises ValueError for a URL that cannot be read.
    """
    options: dict[str, Any] = dict(parse_url(url))
    kind: Callable[..., Connection] = options.pop("connection_class", Connection)
    options |= {
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": "sidecar",
        "lib_name": None,
        "lib_version": None,
    }
    return lambda: kind(**options)


@contextmanager
def deadline_errors() -> Iterator[None]:
    """Connection errors and missed deadlines become StoreAway."""
    try:
        yield
    except TimeoutError:
        raise StoreAway(f"Redis did not answer within {CALL_S:g} s") from None
    except (OSError, redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError, *_UNABLE) as error:
        raise StoreAway(_reason(error)) from None


def _reason(error: Exception) -> str:
    """Redis's own words in one line. Its library tells host and port, never the password."""
    return " ".join(str(error).split()) or type(error).__name__


async def connect(open_connection: Opener) -> Connection:
    """A connected connection. Raises StoreAway, at the latest after CALL_S."""
    connection = open_connection()
    try:
        with deadline_errors():
            async with asyncio.timeout(CALL_S):
                await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection
