"""What stands where a Redis should, and is none that can serve: each call ends, and the reason is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.model.events import StoreChanged
from sidecar.store.connect import StoreAway, opener
from tests.servers import RedisProcess, free_port
from tests.store.conftest import OpenStore
from tests.store.outages import HANG_S, acquired, is_away
from tests.store.wire import Unable, hang_up, no_redis, serving, silent

pytestmark = pytest.mark.usefixtures("short_deadline")


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "CLUSTERDOWN The cluster is down",
        "MOVED 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "ERR Error running script (call to f_5a1): @user_script:9: @user_script: 9: -OOM command not allowed",
    ],
)
async def test_server_that_cannot_serve_is_away_in_its_own_words(open_store: OpenStore, error: str) -> None:
    """Not this call is at fault: another server, or this one later, may answer it."""
    unable = Unable(error)
    async with serving(unable.serve) as port:
        witness = open_store(opener(f"redis://127.0.0.1:{port}"))
        with pytest.raises(StoreAway) as away:
            await acquired(witness)
        assert error.rsplit(maxsplit=1)[-1] in str(away.value)
        assert witness.ups == [False]
        await witness.store.close()


@pytest.mark.parametrize("handler", [silent, hang_up, no_redis])
async def test_port_of_something_else_is_away(open_store: OpenStore, handler: Any) -> None:
    """Whatever listens there: every call ends, and so does close."""
    async with serving(handler) as port:
        witness = open_store(opener(f"redis://127.0.0.1:{port}"))
        for _ in range(2):
            with pytest.raises(StoreAway):
                await acquired(witness)
        assert witness.events == [StoreChanged(up=False, reason=witness.store.reason)]
        async with asyncio.timeout(HANG_S):
            await witness.store.close()


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{port}", "rediss://127.0.0.1:{port}", "unix:///nowhere/{port}.sock"]
)
async def test_refused_connection_is_away(open_store: OpenStore, url: str) -> None:
    witness = open_store(opener(url.format(port=free_port())))
    await is_away(witness, "Error|refused|directory")


@pytest.mark.parametrize("database", ["99", "0?ssl_ca_certs=/nowhere"])
async def test_url_that_no_redis_accepts_is_away(
    redis_process: RedisProcess, open_store: OpenStore, database: str
) -> None:
    """A database that does not exist, a certificate that is not there: told, not hung."""
    scheme = "rediss" if "ssl" in database else "redis"
    witness = open_store(opener(f"{scheme}://127.0.0.1:{redis_process.port}/{database}"))
    with pytest.raises(StoreAway):
        await acquired(witness)


async def test_certificate_of_a_stranger_is_away(tls_url: str, open_store: OpenStore) -> None:
    witness = open_store(opener(tls_url.split("?", maxsplit=1)[0]))
    await is_away(witness, "(?i)certificate")


async def test_host_that_can_be_no_name_is_away(open_store: OpenStore) -> None:
    await is_away(open_store(opener(f"redis://{'a' * 70}.test")), "idna")
