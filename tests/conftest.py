"""What several rooms of tests share: a real Redis, and a process of it to be broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import RedisProcess, own_process, real_redis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis for this test process."""
    with real_redis() as url:
        yield url


@pytest.fixture
def redis_process() -> Iterator[RedisProcess]:
    """A `redis-server` of this test's own, started; it may be frozen and killed."""
    with own_process("no redis-server process") as process:
        yield process
