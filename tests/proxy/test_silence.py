"""Providers that say nothing for too long, and who is to blame for that: a client or the process may be as slow."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from sidecar.model.events import Attempted
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_breaks import error_of
from tests.proxy.test_streams import DELTA, DONE, FINISH, STREAM, opened

STALLED = b"The provider's stream stalled, or took longer than the pool's timeout."


@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
async def test_a_stalled_stream_ends_with_an_error(limit: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        await asyncio.Event().wait()

    waits: dict[str, Any] = {limit: "300ms"} | ({"max_wait": "0s"} if limit == "timeout" else {})
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), **waits)}) as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        error = error_of(reply.body.removeprefix(DELTA % 1))
        assert (error["message"].encode(), error["status"], error["code"]) == (STALLED, 504, "timeout")
        assert (await plane.answered()).outcome == "timeout"


async def test_what_came_while_the_process_was_stopped_is_no_stall() -> None:
    """A machine that slept, or had no time for it: the silence was its own."""
    shown = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        await shown.wait()
        rest = FINISH + DONE
        exchange.writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))
        time.sleep(1.0)  # noqa: ASYNC251 - nothing of this process goes on, while its bytes are there

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), idle_timeout="300ms")}) as plane,
    ):
        async with await opened(plane) as response:
            assert await response.content.readany() == DELTA % 1
            shown.set()
            assert await response.read() == FINISH + DONE
        assert (await plane.answered()).outcome == "ok"


@pytest.mark.parametrize("limit", ["first_byte_timeout", "timeout"])
async def test_an_answer_that_came_while_the_process_was_stopped_is_not_asked_for_again(limit: str) -> None:
    """It was executed, and paid for. The other pool's timeout lets the request go on for longer than this one's."""

    async def answer(exchange: Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        time.sleep(1.0)  # noqa: ASYNC251 - nothing of this process goes on, while its bytes are there

    async with RawUpstream(answer) as upstream:
        brief = pool(upstream.url, new_keys(2), max_wait="0s") | {limit: "300ms"}
        pools = {"chat": brief, "other": pool(upstream.url, new_keys(1))}
        routes = {"asked": [{"pool": "chat"}, {"pool": "other"}]}
        async with sidecar(pools, routes=routes) as plane:
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.attempts, len(upstream.heard)) == (200, 1, 1)


async def outcomes(plane: Plane) -> list[tuple[str, str]]:
    await plane.answered()
    return [(event.key, event.outcome) for event in plane.of(Attempted)]


async def test_a_provider_that_is_silent_before_it_says_anything_is_left_for_another_key() -> None:
    """Only the pauses count: a stream of pings that lasts longer than the timeout goes on."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        if len(upstream.heard) == 1:
            await asyncio.Event().wait()
        for _ in range(8):
            await exchange.chunk(b": thinking\n\n")
            await asyncio.sleep(0.1)
        await exchange.chunk(DELTA % 1 + FINISH + DONE)
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), idle_timeout="400ms")}) as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert reply.body.endswith(DONE)
        assert await outcomes(plane) == [("k0", "timeout"), ("k1", "ok")]


async def test_a_provider_that_does_not_begin_is_left_for_another_key() -> None:
    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) == 1:
            await asyncio.Event().wait()
        await exchange.reply(b'{"choices": []}')

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), first_byte_timeout="300ms")}) as plane,
    ):
        reply = await plane.chat()
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert await outcomes(plane) == [("k0", "timeout"), ("k1", "ok")]


async def test_a_pool_that_has_less_time_than_its_route_is_left_for_the_next_target() -> None:
    """Without a first_byte_timeout its `timeout` bounds that wait, whatever another pool of the route allows."""

    async def answer(exchange: Exchange) -> None:
        if exchange.target.startswith(b"/a"):
            await asyncio.Event().wait()
        await exchange.reply(b'{"choices": []}')

    async with RawUpstream(answer) as upstream:
        pools = {
            "a": pool(f"{upstream.url}/a", new_keys(1), timeout="300ms", max_wait="300ms"),
            "b": pool(f"{upstream.url}/b", new_keys(1)),
        }
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["timeout"]}
        async with sidecar(pools, routes={"asked": route}) as plane:
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.headers["x-sidecar-pool"], reply.attempts) == (200, "b", 2)
            assert (await plane.chat(model="a/m")).status == 504


async def test_a_request_that_may_have_been_executed_is_not_repeated_after_first_byte_timeout() -> None:
    """An image costs money: 504, and one request at the provider."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), first_byte_timeout="300ms")}) as plane,
    ):
        reply = await plane.post("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"})
        assert (reply.status, len(upstream.heard)) == (504, 1)
        failed = await plane.chat()
        assert failed.status == 504
        assert len(upstream.heard) > 2


async def test_a_client_that_is_in_no_hurry_is_not_taken_for_a_silent_provider() -> None:
    piece = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]}).encode() + b"\n\n"

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(400):
            await exchange.chunk(piece)
        await exchange.chunk(FINISH + DONE)
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), idle_timeout="200ms")}) as plane,
    ):
        async with await opened(plane) as response:
            await asyncio.sleep(0.6)
            body = await response.read()
        assert body == piece * 400 + FINISH + DONE
        assert (await plane.answered()).outcome == "ok"


async def test_a_body_that_goes_out_slowly_is_no_silent_provider() -> None:
    """`first_byte_timeout` begins when all of the request is sent: until then only `timeout` bounds it."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.9)  # three times what the provider has to answer
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        if answers.is_set():
            writer.write(
                b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"choices": []}'
            )
        await reader.read()
        writer.close()

    answers = asyncio.Event()
    answers.set()
    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    chat = pool(url, new_keys(1), first_byte_timeout="300ms", max_attempts=1)
    async with server, sidecar({"chat": chat}) as plane:
        reply = await plane.chat(user="x" * 20_000_000)  # more than the systems at both ends take for a reader
        assert (reply.status, reply.attempts) == (200, 1)
        answers.clear()
        reply = await plane.chat(user="x" * 20_000_000)
        assert (reply.status, reply.data["error"]["code"]) == (504, "timeout")
