"""Clients that stop in the middle, reading or writing: what is held for them is held for a time."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.model.events import Attempted
from sidecar.proxy import bodies, passing, relay
from sidecar.proxy import cache as caching
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_streams import DONE, FINISH, STREAM

MANY = 20_000_000  # bytes: more than the systems at both ends of a connection take for a reader
CUT = "The sidecar was stopped before the answer ended."


def delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


@asynccontextmanager
async def unread(plane: Plane, fields: Mapping[str, Any]) -> AsyncIterator[socket.socket]:
    """A client that has sent a chat call and does not read what it gets."""
    body = json.dumps(fields).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", plane.port))
        await asyncio.get_running_loop().sock_sendall(client, head + body)
        yield client


async def left(plane: Plane, before: int) -> None:
    """Returns once nothing is held any more for clients that came in addition to so many."""
    while len(plane.server.connections) > before:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_whole_answer_is_held_only_so_long(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the cache, as JSON and as a stream: its connection ends, and with it what was still to be written."""
    whole = {"choices": [{"index": 0, "message": {"content": "x" * MANY}, "finish_reason": "stop"}]}
    said = delta("x" * 50_000) * (MANY // 50_000) + FINISH + DONE if stream else json.dumps(whole).encode()

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(said, "200 OK", f"Content-Type: {'text/event-stream' if stream else 'application/json'}")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={"max_bytes": "50MiB"}) as plane,
    ):
        assert (await plane.chat(stream=stream)).headers["x-sidecar-cache"] == "miss"
        before = len(plane.server.connections)
        for module in (relay, caching):
            monkeypatch.setattr(module, "TAKEN_S", 0.3)
        async with unread(plane, CHAT | {"stream": stream}):
            await plane.entered()
            event = await plane.answered()
            assert (event.status, event.outcome, event.cache) == (499, "cancelled", "hit")
            await left(plane, before)


async def test_a_body_that_does_not_go_on_is_held_only_so_long(
    plane: Plane, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took of the storage is free, and its client is told; one that is slow is let go on."""
    monkeypatch.setattr(bodies, "IDLE_S", 1.0)
    body = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(head)
    for at in range(4):
        writer.write(body[at : at + 1])
        await asyncio.sleep(0.4)
    writer.write(body[4:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(head + body[:9])
    told = await reader.readuntil(b"}}")
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in told
    writer.close()
    assert len(provider.arrivals) == 1


async def endless(exchange: Exchange) -> None:
    await exchange.begin()
    while True:
        await exchange.chunk(delta("x" * 60_000))


async def test_a_stream_that_its_client_does_not_read_is_no_fault_of_the_provider() -> None:
    """At the request's deadline it is cancelled, as if the client had gone."""
    async with (
        RawUpstream(endless) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), timeout="500ms", max_wait="0s")}) as plane,
        unread(plane, STREAM),
    ):
        await plane.entered()
        event = await plane.answered()
        assert (event.status, event.outcome) == (499, "cancelled")
        assert [attempt.outcome for attempt in plane.of(Attempted)] == ["ok"]
        await left(plane, 0)


async def test_who_reads_slowly_hears_that_the_sidecar_was_stopped() -> None:
    """Behind what was written before, although the stop met a write that waited for it."""
    async with (
        RawUpstream(endless) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane,
        unread(plane, STREAM) as client,
    ):
        await paused(plane)
        plane.server.stop()
        got = await all_of(client, b"0\r\n\r\n")
        assert json.loads(got.rpartition(b"data: ")[2].partition(b"\n")[0])["error"]["message"] == CUT
        assert (await plane.answered()).outcome == "stopped"


async def test_who_reads_nothing_delays_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "LAST_WORD_S", 0.2)
    async with (
        RawUpstream(endless) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane,
        unread(plane, STREAM),
    ):
        await paused(plane)
        plane.server.stop()
        assert (await plane.answered()).status == 499
        await left(plane, 0)


async def paused(plane: Plane) -> None:
    """Returns once a write waits for the only client."""
    while not any(one.writing_paused for one in plane.server.connections):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.005)


async def all_of(client: socket.socket, end: bytes) -> bytes:
    got = bytearray()
    while not got.endswith(end):
        piece = await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        assert piece, "it ended without its end"
        got += piece
    return bytes(got)
