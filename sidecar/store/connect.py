"""A Redis URL as connections, and every foreign error as StoreAway: nothing above this room catches a RedisError."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

CALL_S = 2.0  # how long a round trip may take, the wait for a connection included

# Of every connection: no timeouts and no repeating. Deadlines are this room's own, around whole batches, and a script
# that ran once too often breaks a budget.
OPTIONS: dict[str, Any] = {
    "socket_timeout": None,
    "socket_connect_timeout": None,
    "decode_responses": False,
    "retry": Retry(NoBackoff(), 0),
    "protocol": 2,
    "client_name": "sidecar",
}

# Replies of a server that is there but cannot serve: another node may, or this one soon. redis-py makes classes of
# some and leaves others as text; before Redis 7 what happens inside a script is told as `@user_script: 12: -OOM ...`.
_CANNOT_SERVE = (
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    redis.exceptions.NoPermissionError,
    redis.exceptions.MovedError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.TryAgainError,
)
_CANNOT_SERVE_TEXT = re.compile(r"^(?:.*: -)?(?:READONLY|OOM|NOPERM|MISCONF|NOREPLICAS|MASTERDOWN|BUSY) ")


class StoreAway(Exception):
    """Redis did not answer in time, or not as it should; the text says why, without a password.

    `sent`: whether the call may have reached it, so that its effect is not known.
    """

    def __init__(self, reason: str, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class StoreBroken(StoreAway):
    """It will not come back before somebody mends what the text says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class StoreUnable(Exception):
    """Redis answered this call with an error; the connection is good."""


Opener = Callable[[], AbstractConnection]


def opener(url: str) -> Opener:
    """A function that makes connections to `redis://`, `rediss://` or `unix://`, not yet connected.

    Raises ValueError for a URL that cannot be read, without telling any part of it: a password with a reserved
    character makes a host or a port of itself.
    """
    try:
        options: dict[str, Any] = dict(parse_url(url))
        kind: Callable[..., AbstractConnection] = options.pop("connection_class", Connection)
        options.pop("max_connections", None)  # a pool's; we have none
        options |= OPTIONS
        kind(**options)
    except (ValueError, TypeError, AttributeError, redis.RedisError):
        raise ValueError(
            "is no Redis URL. Known: redis://[user:password@]host[:port][/db], rediss://..., unix://[:password@]/path, "
            "embedded, memory. In a password write `@ : / ? # %` as %40 %3A %2F %3F %23 %25."
        ) from None
    return lambda: kind(**options)


@contextmanager
def deadline_errors() -> Iterator[None]:
    """Connection errors and missed deadlines become StoreAway."""
    try:
        yield
    except TimeoutError:
        raise StoreAway(f"Redis did not answer within {CALL_S:g} s") from None
    except (OSError, redis.RedisError) as error:
        raise StoreAway(_reason(error)) from None


def told(error: redis.ResponseError, text: str) -> StoreAway | StoreUnable:
    """An error reply in this room's words: a server that cannot serve, or a call that it cannot make sense of."""
    if isinstance(error, _CANNOT_SERVE) or _CANNOT_SERVE_TEXT.match(str(error)):
        return StoreAway(_reason(error))
    return StoreUnable(text)


def _reason(error: Exception) -> str:
    """Redis's own words in one line. Its library tells host and port, never the password."""
    return " ".join(str(error).split()) or type(error).__name__


async def connect(open_connection: Opener) -> AbstractConnection:
    """A connected connection. Raises redis-py's errors; the caller has a deadline."""
    connection = open_connection()
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


def is_over(connection: AbstractConnection) -> bool:
    """Whether the server has ended an idle connection (its `timeout`, a restart, a proxy), so that nothing is lost yet.

    redis-py's own look, `can_read`, is named differently in each of its versions and needs an await.
    """
    return connection._reader is None or connection._reader.at_eof()
