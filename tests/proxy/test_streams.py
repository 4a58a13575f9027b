"""Answers that come in pieces: passed as they come, committed late enough, and never ended where they did not end."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from contextlib import suppress

import aiohttp
import pytest

from sidecar.model.events import Attempted
from sidecar.model.words import Usage
from sidecar.proxy import upstream as wire
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}\n\n'
DONE = b"data: [DONE]\n\n"
STREAM = CHAT | {"stream": True}


async def opened(plane: Plane, path: str = "/v1/chat/completions") -> aiohttp.ClientResponse:
    """The head of a streamed answer; its body is still to come."""
    return await plane.http.post(plane.url + path, json=STREAM)


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
async def test_each_event_passes_before_the_next_is_made(coding: str) -> None:
    """The provider says the next one only when the client has the one before; a compressed stream arrives unpacked."""
    seen = asyncio.Semaphore(0)
    sent = b""

    async def answer(exchange: Exchange) -> None:
        nonlocal sent
        packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
        await exchange.begin(*([f"Content-Encoding: {coding}"] if coding else []))
        for event in (DELTA % 0, DELTA % 1, DELTA % 2, FINISH, USAGE, DONE):
            piece = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) if coding else event
            sent += event
            await exchange.chunk(piece)
            await seen.acquire()
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        async with await opened(plane) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream"
            assert "Content-Encoding" not in response.headers
            assert response.headers["x-sidecar-key"] == "k0"
            got = b""
            while piece := await response.content.readany():
                got += piece
                seen.release()
        assert got == sent
        await plane.answered()
        assert plane.of(Attempted)[-1].usage == Usage(input=7, output=5, total=12)


async def test_a_stream_keeps_the_length_it_tells() -> None:
    body = b"x" * 300_000

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, "200 OK", "Content-Type: audio/mpeg")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.post("/v1/audio/speech", {"model": "tts-1", "input": "hello"})
        assert (reply.status, reply.headers["content-length"], reply.body) == (200, "300000", body)


async def test_an_error_as_the_first_event_is_never_seen(plane: Plane, provider: StrictProvider) -> None:
    """HTTP says 200, the first event says no: another key answers, and its stream is whole."""
    first = next(iter(provider.accounts))
    provider.faults.append(Fault(key=first, status=429, headers={"retry-after": "60"}, at="first"))
    reply = await plane.chat(stream=True)
    assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
    assert b"error" not in reply.body
    assert reply.body.endswith(DONE)
    assert [(await plane.chat(stream=True)).key for _ in range(3)] == ["k2", "k1", "k2"]


async def test_comments_pings_and_empty_beginnings_commit_to_nothing() -> None:
    """An error behind them still goes to another key."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(b": processing\n\n\n\nevent: ping\n")
        if len(upstream.heard) == 1:
            await exchange.chunk(b'data: {"type":"ping"}\n\ndata: {"error":{"code":503,"message":"overloaded"}}\n\n')
        else:
            await exchange.chunk(b'data: {"type":"ping"}\n\n' + DELTA % 1 + FINISH + DONE)
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(2))}) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert reply.body.startswith(b": processing\n\n")
        assert b"overloaded" not in reply.body


OVERLOADED = b'data: {"type":"error","error":{"code":503,"type":"overloaded_error","message":"overloaded"}}\n\n'
TEXT = (b'"text":""', b'"text":"Hel"')


@pytest.mark.parametrize(
    ("dialect", "path", "empty", "full"),
    [
        ("anthropic", "messages", b'{"type":"content_block_delta","delta":{"type":"text_delta","text":""}}', TEXT),
        ("openai", "responses", b'{"type":"response.output_text.delta","delta":""}', (b'"delta":""', b'"delta":"Hel"')),
        ("gemini", "models/m:streamGenerateContent", b'{"candidates":[{"content":{"parts":[{"text":""}]}}]}', TEXT),
        ("gemini", "models/m:streamGenerateContent", b'{"candidates":[{"content":{"parts":[]}}]}', (b"[]}", b"[1]}")),
    ],
)
async def test_an_empty_delta_commits_to_nothing(
    dialect: str, path: str, empty: bytes, full: tuple[bytes, bytes]
) -> None:
    """In no dialect; one with a text in it does."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        said = empty.replace(*full) if len(upstream.heard) == 3 else empty
        await exchange.chunk(b"data: " + said + b"\n\n")
        await exchange.chunk(OVERLOADED)
        await exchange.chunk(b"")

    path = f"/v1/{path}" if dialect != "gemini" else f"/v1beta/{path}?alt=sse"
    async with RawUpstream(answer) as upstream:
        spoken = pool(upstream.url, new_keys(2), dialect=dialect, base_url=upstream.url, max_attempts=2)
        async with sidecar({"chat": spoken}) as plane:
            for attempts in (2, 1):
                reply = await plane.post(path, {"model": "m", "stream": True})
                assert (reply.attempts, b"overloaded" in reply.body) == (attempts, True)


async def test_comments_are_held_back_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client must learn that its request lives, also when the model thinks for minutes."""
    seen = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(b": thinking\n\n")
        await seen.wait()
        await exchange.chunk(DELTA % 1 + FINISH + DONE)
        await exchange.chunk(b"")

    monkeypatch.setattr(wire, "HOLD_S", 0.05)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        response = await opened(plane)
        assert await response.content.readany() == b": thinking\n\n"
        seen.set()
        assert (await response.content.read()).endswith(DONE)


@pytest.mark.parametrize(
    ("method", "hold_s", "said"), [("POST", 0.05, b""), ("GET", 3600.0, b""), ("GET", 3600.0, b": thinking\n\n")]
)
async def test_a_stream_that_says_nothing_is_begun_so_that_its_client_can_go_on(
    method: str, hold_s: float, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold begins with the head; who opens a stream with GET may first have to send what it is to answer."""
    begun = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        if said:
            await exchange.chunk(said)
        await begun.wait()
        await exchange.chunk(DELTA % 1 + FINISH + DONE)
        await exchange.chunk(b"")

    monkeypatch.setattr(wire, "HOLD_S", hold_s)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        path = "/v1/chat/completions" if method == "POST" else "/v1/responses/resp_1?stream=true"
        body = STREAM if method == "POST" else None
        async with plane.http.request(method, plane.url + path, json=body) as response:
            assert (response.status, response.headers["x-sidecar-key"]) == (200, "k0")
            begun.set()
            assert await response.read() == said + DELTA % 1 + FINISH + DONE
        assert (await plane.answered()).outcome == "ok"


@pytest.mark.parametrize(
    ("kind", "path", "fault"),
    [
        ("application/json", "/v1/chat/completions", b'{"error":{"code":503,"message":"overloaded"}}'),
        ("application/json", "/v1/models/gpt-4o", b'{"error":{"code":503,"message":"overloaded"}}'),
        ("text/event-stream", "/v1/chat/completions", OVERLOADED),
    ],
)
async def test_an_answer_whose_head_came_early_is_judged_all_the_same(
    kind: str, path: str, fault: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream as long as it is held back; what is no stream whenever its body comes."""

    async def answer(exchange: Exchange) -> None:
        is_first = len(upstream.heard) == 1
        body = fault if is_first else DELTA % 1 + FINISH + DONE if "event" in kind else b'{"choices": []}'
        await exchange.say(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        if is_first:
            await asyncio.sleep(0.2)
        await exchange.say(body)

    if "json" in kind:
        monkeypatch.setattr(wire, "HOLD_S", 0.05)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(2))}) as plane:
        reply = await (plane.post(path, STREAM) if "chat" in path else plane.send("GET", path))
        assert (reply.status, reply.key, reply.attempts, b"overloaded" in reply.body) == (200, "k1", 2, False)


async def test_an_error_behind_comments_that_were_passed_rests_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream was committed before it said anything: no retry, but its outcome is what it then says."""
    seen = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        if len(upstream.heard) == 1:
            await exchange.chunk(b": processing\n\n")
            await seen.wait()
            error = {"message": "Rate limit reached, try again in 50s", "code": "rate_limit_exceeded"}
            await exchange.chunk(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
        else:
            await exchange.chunk(DELTA % 1 + FINISH + DONE)
        await exchange.chunk(b"")

    monkeypatch.setattr(wire, "HOLD_S", 0.05)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(2))}) as plane:
        response = await opened(plane)
        assert await response.content.readany() == b": processing\n\n"
        seen.set()
        assert b"try again" in await response.content.read()
        assert (await plane.answered()).outcome == "rate_limit_minute"
        assert [(event.key, event.outcome) for event in plane.of(Attempted)] == [("k0", "rate_limit_minute")]
        assert [(await plane.chat(stream=True)).key for _ in range(3)] == ["k1"] * 3


async def test_an_error_in_the_middle_passes_and_the_stream_ends_as_it_came(
    plane: Plane, provider: StrictProvider
) -> None:
    """Nothing can be retried then; but the key rests as it says."""
    first = next(iter(provider.accounts))
    provider.faults.append(Fault(key=first, status=429, headers={"retry-after": "60"}, at="middle", times=1))
    reply = await plane.chat(stream=True)
    assert (reply.status, reply.key, reply.attempts) == (200, "k0", 1)
    assert b'"error"' in reply.body
    assert reply.body.endswith(DONE)
    event = await plane.answered()
    assert (event.attempts, event.outcome) == (1, "rate_limit_minute")
    assert [(await plane.chat()).key for _ in range(3)] == ["k1", "k2", "k1"]


async def test_an_answer_cut_before_anything_was_shown_goes_to_another_key() -> None:
    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) == 1:
            await exchange.begin()
            exchange.cut()
        elif len(upstream.heard) == 2:
            await exchange.say(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"cho')
            exchange.cut()
        else:
            await exchange.reply(b'{"choices": []}')

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(3))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.attempts, reply.body) == (200, 3, b'{"choices": []}')


async def test_a_whole_answer_passes_byte_for_byte_compressed_or_not() -> None:
    """Weird white space too; its usage is read all the same."""
    body = b' {"choices" :[ ],\n"usage": {"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n '

    async def answer(exchange: Exchange) -> None:
        packed = exchange.header("accept-encoding") == ["gzip"]
        await exchange.reply(
            gzip.compress(body) if packed else body, "200 OK", *["Content-Encoding: gzip"][: int(packed)]
        )

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.chat()).body == body
        packed = await plane.chat({"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == body
        await plane.answered()
        assert [event.usage for event in plane.of(Attempted)] == [Usage(input=1, output=2, total=3)] * 2


async def test_what_the_sidecar_cannot_unpack_passes_as_it_is() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"\x28\xb5\x2f\xfd" * 8, "200 OK", "Content-Encoding: zstd")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.body) == (200, b"\x28\xb5\x2f\xfd" * 8)
        assert reply.headers["content-encoding"] == "zstd"


async def test_a_slow_client_does_not_make_the_sidecar_hoard() -> None:
    """The provider is read no faster than the client reads."""
    piece, written, stalled = bytes(64 * 1024), 0, asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        nonlocal written
        await exchange.begin(kind="application/octet-stream")
        with suppress(TimeoutError):
            while written < 64 * 1024 * 1024:
                async with asyncio.timeout(0.3):
                    await exchange.chunk(piece)
                written += len(piece)
        stalled.set()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        response = await plane.http.get(f"{plane.url}/v1/files/f/content")
        assert response.status == 200
        await stalled.wait()
        assert 0 < written < 48 * 1024 * 1024
        response.close()
