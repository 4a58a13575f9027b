"""Who or what is gone: the client, the moment, Redis."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp.client_proto import ResponseHandler

from sidecar.model.events import Answered, StoreChanged
from sidecar.pool.pool import Pools
from sidecar.pool.search import Held, Search
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.shapes import shape
from tests.servers import RedisProcess

ONCE_A_MINUTE = {"requests": 1, "per": "minute"}


async def begun(plane: Plane, **fields: object) -> asyncio.StreamWriter:
    """A client that has sent a whole chat call and listens to nothing."""
    body = json.dumps(CHAT | fields).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    await writer.drain()
    return writer


# --- the client -------------------------------------------------------------------------------------


async def test_a_client_that_leaves_cancels_the_upstream_at_once(
    plane: Plane, provider: StrictProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the answer begins; what was sent stays counted, and nobody logs an error."""
    provider.faults.append(Fault(hang=True))
    client = await begun(plane)
    await provider.wait_for(lambda: provider.calls)
    client.close()
    await provider.wait_for(lambda: provider.arrivals[0].ended == "cancelled")
    event = await plane.answered()
    assert (event.status, event.outcome, event.attempts) == (499, "cancelled", 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    provider.faults.clear()
    assert (await plane.chat()).grant == 1


async def test_a_client_that_leaves_in_the_middle_of_a_stream_cancels_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        try:
            while True:
                await exchange.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n')
                await asyncio.sleep(0.01)
        except ConnectionError:
            broken.set()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        response = await plane.http.post(f"{plane.url}/v1/chat/completions", json=CHAT | {"stream": True})
        await response.content.readany()
        response.close()
        await broken.wait()
        assert (await plane.answered()).outcome == "cancelled"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_leaves_while_it_waits_gives_its_grant_back(provider: StrictProvider) -> None:
    """The reservation is free for who asks next; without it he would wait a second window."""
    limit = {"requests": 1, "per": "2s", "guard": "100ms"}
    secrets = [*provider.accounts][:1]
    async with sidecar({"chat": pool(provider.url, secrets, limits=[limit], max_wait="9s")}) as plane:
        assert (await plane.chat()).grant == 0
        client = await begun(plane)
        await plane.entered()
        await asyncio.sleep(0.2)  # the acquire is in the store, nothing tells of it
        client.close()
        assert (await plane.answered()).outcome == "cancelled"
        began = time.monotonic()
        reply = await plane.chat()
        assert (reply.status, reply.grant) == (200, 2)
        assert time.monotonic() - began < 2.2
        assert len(provider.arrivals) == 2


async def test_a_client_that_leaves_while_connecting_gives_its_grant_back() -> None:
    """Nothing was sent: the one request of this minute is still there."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.set()
        await reader.read()
        writer.close()

    hello = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    chat = pool(f"https://127.0.0.1:{port}", new_keys(1), limits=[ONCE_A_MINUTE], max_wait="0s")
    async with server, sidecar({"chat": chat}) as plane:
        for _ in range(2):
            client = await begun(plane)
            await hello.wait()  # the TLS handshake hangs
            hello.clear()
            client.close()
            await plane.answered()
        assert [event.outcome for event in plane.of(Answered)] == ["cancelled", "cancelled"]


async def test_a_client_that_leaves_before_its_body_is_whole_takes_no_grant(
    plane: Plane, provider: StrictProvider
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
    await writer.drain()
    await plane.entered()
    writer.close()
    assert (await plane.answered()).outcome == "cancelled"
    assert provider.arrivals == []
    assert (await plane.chat()).grant == 0


# --- the moment -------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Certificate and key of 127.0.0.1 in one file."""
    file, name = tmp_path / "both.pem", ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-x509", "-nodes", "-days", "1", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run(["openssl", "req", *kind, *name, "-keyout", file, "-out", tmp_path / "cert"], check=True)
    file.write_bytes(file.read_bytes() + (tmp_path / "cert").read_bytes())
    return file


class SlowDoor:
    """A TCP relay that lets a connection through only after a while, so that every TLS handshake is slow."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port, self.seconds, self.tasks = port, seconds, set[asyncio.Task[None]]()
        self.knocked = asyncio.Event()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocked.set()
        await asyncio.sleep(self.seconds)
        inner, outer = await asyncio.open_connection("127.0.0.1", self.port)
        copies = [asyncio.create_task(copy(reader, outer)), asyncio.create_task(copy(inner, writer))]
        self.tasks.update(copies)
        await asyncio.wait(copies)


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


@dataclass
class SlowUpstream:
    """An HTTPS upstream behind a slow door, and the moment of every request that arrived."""

    door: SlowDoor
    url: str
    arrived: list[float]


@pytest.fixture
async def slow_tls(certificate: Path) -> AsyncIterator[SlowUpstream]:
    arrived: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            arrived.append(time.monotonic())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    inner = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    door = SlowDoor(inner.sockets[0].getsockname()[1], 0.3)
    outer = await asyncio.start_server(door.pass_on, "127.0.0.1", 0)
    try:
        yield SlowUpstream(door, f"https://127.0.0.1:{outer.sockets[0].getsockname()[1]}", arrived)
    finally:
        outer.close()
        inner.close()
        for task in door.tasks:
            task.cancel()
        await asyncio.gather(*door.tasks, return_exceptions=True)


async def test_a_grant_that_a_handshake_made_late_is_confirmed_and_sent_once(
    slow_tls: SlowUpstream, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard is 50 ms, the handshake takes 300: neither lost, nor sent twice, nor over the budget."""
    url, arrived = slow_tls.url, slow_tls.arrived
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=certificate))
    limit = {"requests": 4, "per": "1s", "guard": "50ms"}
    async with sidecar({"chat": pool(url, new_keys(1), limits=[limit], max_wait="0s")}) as plane:
        began = time.monotonic()
        replies = await asyncio.gather(*(plane.chat() for _ in range(4)))
        assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1)] * 4
        assert sorted(reply.grant for reply in replies) == [0, 1, 2, 3]
        assert len(arrived) == 4
        # They count from when they were sent, not from when they were granted.
        left_ms = int((await plane.chat()).headers["retry-after-ms"])
        assert time.monotonic() + left_ms / 1000 >= began + slow_tls.door.seconds + 1.05


async def test_late_grants_under_pressure_are_given_up_and_never_too_many(
    slow_tls: SlowUpstream, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With others waiting behind, a late one finds no room: 503 with `Retry-After`, and no window over its budget."""
    url, arrived = slow_tls.url, slow_tls.arrived
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=certificate))
    limit = {"requests": 2, "per": "1s", "guard": "50ms"}
    async with sidecar({"chat": pool(url, new_keys(1), limits=[limit], max_wait="2s")}) as plane:
        replies = await asyncio.gather(*(plane.chat() for _ in range(6)))
        statuses = [reply.status for reply in replies]
        assert set(statuses) <= {200, 429, 503}
        assert all(reply.headers["retry-after"] for reply in replies if reply.status != 200)
        assert len(arrived) == statuses.count(200) > 0
        assert all(later - earlier >= 1 for earlier, later in zip(arrived, arrived[2:], strict=False))


async def test_a_connection_that_closes_while_its_grant_is_confirmed_costs_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was written to it, so what may not be done twice goes out on another."""
    gone = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.reply()

    async def renewed(pools: Pools, search: Search, held: Held) -> bool:
        if not gone.is_set():
            upstream.heard[0].cut()
            await gone.wait()
        return True

    def lost(protocol: ResponseHandler, exc: BaseException | None) -> None:
        told(protocol, exc)
        gone.set()

    told = ResponseHandler.connection_lost
    limit = {"requests": 9, "per": "1m", "guard": "50ms"}
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"p": pool(upstream.url, new_keys(1), limits=[limit])}) as plane,
    ):
        assert (await plane.post("/pools/p/pay", b"{}")).status == 200
        monkeypatch.setattr(Pools, "renew", renewed)
        monkeypatch.setattr("sidecar.pool.search.guard_s", lambda grant: -1.0)
        monkeypatch.setattr(ResponseHandler, "connection_lost", lost)
        assert (await plane.post("/pools/p/pay", b"{}")).status == 200
        assert (len(upstream.heard), upstream.connections) == (2, 2)


async def test_a_certificate_that_nobody_vouches_for_gets_no_key(
    slow_tls: SlowUpstream,
) -> None:
    """502, the grant given back, nothing sent."""
    url, arrived = slow_tls.url, slow_tls.arrived
    chat = pool(url, new_keys(1), limits=[ONCE_A_MINUTE], max_wait="0s", max_attempts=1)
    async with sidecar({"chat": chat}) as plane:
        assert [(await plane.chat()).status for _ in range(2)] == [502, 502]
        assert arrived == []


# --- Redis ------------------------------------------------------------------------------------------


async def test_while_redis_is_away_requests_wait_and_are_then_told(
    provider: StrictProvider, redis_process: RedisProcess
) -> None:
    """503 with `Retry-After: 1` in the dialect, after max_wait and no later than that; readiness says so."""
    chat = pool(provider.url, [*provider.accounts], max_wait="300ms")
    async with sidecar({"chat": chat}, redis=redis_process.url) as plane:
        assert (await plane.chat()).grant == 0
        redis_process.kill()
        reply = await plane.chat()
        assert (reply.status, reply.headers["retry-after"], shape(reply.data)) == (503, "1", "openai")
        assert reply.data["error"]["code"] == "store_unavailable"
        assert int(reply.headers["x-sidecar-waited-ms"]) <= 400
        reply = await plane.chat({"x-sidecar-max-wait": "0"})
        assert reply.status == 503
        health = await plane.send("GET", "/health")
        assert (health.status, health.data["status"]) == (503, "unhealthy")
        assert (await plane.send("GET", "/health/live")).status == 200
        waiting = asyncio.create_task(plane.chat({"x-sidecar-max-wait": "20"}))
        redis_process.start()
        assert (await waiting).status == 200
        assert [event.up for event in plane.of(StoreChanged)][:2] == [False, True]
        assert len(provider.arrivals) == 2


async def test_a_redis_that_freezes_hangs_nobody(provider: StrictProvider, redis_process: RedisProcess) -> None:
    """Every call has a deadline; the frozen server's late grants are not sent."""
    chat = pool(provider.url, [*provider.accounts], max_wait="500ms")
    async with sidecar({"chat": chat}, redis=redis_process.url) as plane:
        assert (await plane.chat()).status == 200
        redis_process.freeze()
        replies = await asyncio.gather(*(plane.chat() for _ in range(20)))
        assert {reply.status for reply in replies} == {503}
        redis_process.thaw()
        assert (await plane.chat({"x-sidecar-max-wait": "9"})).status == 200
        assert len(provider.arrivals) == 2


async def test_a_redis_that_freezes_over_a_slow_handshake_costs_no_request(
    slow_tls: SlowUpstream, certificate: Path, redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant is late when its connection is there: it waits for Redis as its request may, and is sent once."""
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=certificate))
    monkeypatch.setattr("sidecar.store.connect.CALL_S", 0.2)
    limit = {"requests": 4, "per": "1m", "guard": "50ms"}
    chat = pool(slow_tls.url, new_keys(1), limits=[limit], max_wait="20s")
    async with sidecar({"chat": chat}, redis=redis_process.url) as plane:
        task = asyncio.create_task(plane.chat())
        await slow_tls.door.knocked.wait()
        redis_process.freeze()
        assert (await plane.chat({"x-sidecar-max-wait": "0"})).status == 503
        redis_process.thaw()
        reply = await task
        assert (reply.status, reply.attempts, len(slow_tls.arrived)) == (200, 1, 1)
