"""The ops plane answers what its contract names, to those who may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from sidecar.ops import app
from sidecar.ops.metrics import Metrics
from sidecar.ops.stream import Stream
from sidecar.replica import Replica
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway
from tests.unit.ops.worlds import CONFIG, answered

LOCAL = replace(CONFIG, redis="memory", hosts=("metrics.example",))


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    made = Replica(LOCAL, Store.at("memory", "test", lambda _: None), lambda _: None)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def http(replica: Replica) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the ops plane on a real socket."""
    metrics = Metrics(LOCAL)
    metrics(answered())
    runner = web.ServerRunner(app.server(replica, app.pages(replica, metrics), Stream(str)))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_health_is_200_and_says_what_runs(path: str, http: aiohttp.ClientSession) -> None:
    async with http.get(path) as answer:
        body = await answer.json()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert (body["status"], body["store"], body["pools"]["chat"]["keys"]) == ("healthy", "up", 2)


async def test_health_is_503_with_the_reason_while_it_drains_and_live_stays_200(
    replica: Replica, http: aiohttp.ClientSession
) -> None:
    replica.draining = True
    for path in ("/health", "/health/ready"):
        async with http.get(path) as answer:
            assert answer.status == 503
            assert (await answer.json())["status"] == "unhealthy"
            assert (await answer.json())["reason"] == "shutting down"
    async with http.get("/health/live") as answer:
        assert answer.status == 200


async def test_health_is_503_while_the_store_is_away(replica: Replica, http: aiohttp.ClientSession) -> None:
    replica.store.up.clear()
    async with http.get("/health") as answer:
        assert answer.status == 503
        assert "store" in (await answer.json())["reason"]


async def test_metrics_are_in_the_format_that_is_asked_for(http: aiohttp.ClientSession) -> None:
    async with http.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert 'sidecar_requests_total{client="web",model="small",outcome="ok",pool="chat"} 1.0' in await answer.text()
    async with http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_metrics_are_told_without_the_store(
    replica: Replica, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreAway("gone")

    monkeypatch.setattr(replica.store, "inspect", away)
    async with http.get("/metrics") as answer:
        assert answer.status == 200
        assert "\nsidecar_store_up 0.0\n" in await answer.text()


async def test_an_unknown_path_is_404_and_names_those_that_exist(http: aiohttp.ClientSession) -> None:
    async with http.get("/metric") as answer:
        assert answer.status == 404
        message = (await answer.json())["error"]["message"]
    assert all(path in message for path in ("/metrics", "/health", "/health/live", "/health/ready"))


async def test_pages_are_only_read(http: aiohttp.ClientSession) -> None:
    async with http.head("/health") as answer:
        assert answer.status == 200
    async with http.post("/health") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "10.1.2.3:9464"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "metrics.example:80"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
async def test_a_foreign_host_or_origin_is_refused(
    headers: dict[str, str], status: int, http: aiohttp.ClientSession
) -> None:
    async with http.get("/health", headers=headers) as answer:
        assert answer.status == status
