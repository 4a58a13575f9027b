"""What a `redis:` setting may say, and what is never told of it."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from sidecar.store.connect import opener


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("redis://", Connection, {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://cache:6380/3", Connection, {"host": "cache", "port": 6380, "db": 3}),
        ("redis://[::1]:6380", Connection, {"host": "::1", "port": 6380}),
        ("redis://app:p%40ss@cache", Connection, {"username": "app", "password": "p@ss"}),
        ("rediss://cache/1", SSLConnection, {"host": "cache", "db": 1}),
        ("unix:///run/redis.sock?db=2", UnixDomainSocketConnection, {"path": "/run/redis.sock", "db": 2}),
        ("redis://cache?max_connections=5&decode_responses=True", Connection, {"host": "cache"}),
        ("redis://cache?socket_timeout=9&protocol=3&retry_on_timeout=yes", Connection, {"socket_timeout": None}),
    ],
)
def test_url_is_a_connection(url: str, kind: type[Connection], expected: dict[str, object]) -> None:
    """One that repeats nothing and has no timeout of its own, whatever the URL says."""
    connection = opener(url)()
    assert type(connection) is kind
    assert {name: getattr(connection, name) for name in expected} == expected
    assert connection.retry._retries == 0
    assert connection.socket_timeout is None
    assert connection.encoder.decode_responses is False
    assert connection.protocol == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "http://cache",
        "redis+cluster://cache",
        "redis://:hush/hush@cache",
        "redis://:hush#hush@cache",
        "redis://:hush?hush=hush@cache",
        "redis://cache:hush",
        "redis://cache:99999999",
        "redis://[hush",
        "redis://cache?hush=1",
        "redis://cache?db=hush",
    ],
)
def test_url_that_cannot_be_read_is_told_without_its_text(url: str) -> None:
    """A password with a reserved character is cut anywhere: no piece of it may be shown."""
    with pytest.raises(ValueError, match="is no Redis URL") as told:
        opener(url)
    assert "hush" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__
