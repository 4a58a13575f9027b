"""Answers that do not come to their end: a stream ends with an error in its client's dialect, anything else is cut."""

from __future__ import annotations

import asyncio
import gc
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from sidecar.providers.answers import AnswerReader
from sidecar.proxy.origin.incoming import Incoming
from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_streams import DELTA, DONE, FINISH, STREAM, opened

BROKEN = b"The provider's stream broke off before its end."


def error_of(event: bytes) -> Any:
    """What the one event says."""
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    return json.loads(event[6:])["error"]


def chunked(exchange: Exchange) -> Awaitable[None]:
    return exchange.begin()


async def sized(exchange: Exchange) -> None:
    await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 100000\r\n\r\n")


async def until_close(exchange: Exchange) -> None:
    await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")


@pytest.mark.parametrize("begin", [chunked, sized, until_close])
async def test_a_stream_that_is_cut_ends_with_an_error(begin: Callable[[Exchange], Awaitable[None]]) -> None:
    """What came whole arrives, half an event does not; there is no [DONE], whatever the framing."""

    async def answer(exchange: Exchange) -> None:
        await begin(exchange)
        events = DELTA % 1 + (DELTA % 2)[:20]
        await exchange.say(events if begin is not chunked else b"%x\r\n%s\r\n" % (len(events), events))
        exchange.cut()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert reply.body.startswith(DELTA % 1)
        error = error_of(reply.body.removeprefix(DELTA % 1))
        assert (error["message"].encode(), error["status"], error["code"]) == (BROKEN, 502, "upstream_broken")
        event = await plane.answered()
        assert (event.status, event.outcome) == (200, "server_error")
        assert len(upstream.heard) == 1


async def test_a_stream_without_its_last_word_ends_with_an_error_even_where_http_ends_well() -> None:
    """No [DONE] and no finish reason: the provider's front has closed for a backend that died."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert error_of(reply.body.removeprefix(DELTA % 1))["status"] == 502


ANTHROPIC_END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
RESPONSES_END = b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed"}}\n\n'


@pytest.mark.parametrize(
    ("path", "said", "whole"),
    [
        ("/v1/chat/completions", DELTA % 1 + FINISH + DONE, True),
        ("/v1/chat/completions", DELTA % 1 + FINISH, False),  # another choice, or the usage, may have been to come
        ("/v1/messages", ANTHROPIC_END, True),
        ("/v1/responses", RESPONSES_END, True),
    ],
)
async def test_behind_its_last_word_a_stream_may_break(path: str, said: bytes, whole: bool) -> None:
    """As some servers do, which close without HTTP's own last chunk: nothing is missing."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(said)
        exchange.cut()

    speech = {"dialect": "anthropic"} if path == "/v1/messages" else {}
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1), **speech)}) as plane:
        reply = await plane.post(path, STREAM | {"max_tokens": 9})
        assert (reply.body == said) is whole
        assert (await plane.answered()).outcome == ("ok" if whole else "server_error")


async def test_a_change_of_protocol_is_no_answer() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")

    chat = {"max_attempts": 1}
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1), **chat)}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.data["error"]["code"]) == (502, "upstream_unreachable")


async def test_a_client_of_http_1_0_is_told_as_well() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        exchange.cut()

    body = json.dumps(STREAM).encode()
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        got = await plane.speak(
            b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert error_of(got.partition(b"\r\n\r\n")[2].removeprefix(DELTA % 1))["status"] == 502


async def test_a_compressed_stream_that_is_cut_ends_with_an_error_too() -> None:
    """It is asked for plain; a provider that packs it all the same is unpacked."""

    async def answer(exchange: Exchange) -> None:
        assert exchange.header("accept-encoding") == ["identity"]
        await exchange.begin("Content-Encoding: gzip")
        packer = zlib.compressobj(wbits=31)
        await exchange.chunk(packer.compress(DELTA % 1) + packer.flush(zlib.Z_SYNC_FLUSH))
        exchange.cut()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM, {"Accept-Encoding": "gzip"})
        assert "content-encoding" not in reply.headers
        assert error_of(reply.body.removeprefix(DELTA % 1))["status"] == 502


@pytest.mark.parametrize("begun", [b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}', b""])
@pytest.mark.parametrize("more", [b"", b"\n,\r\n", b'\n,\r\n{"candidates":[{"cont'])
async def test_googles_array_is_closed_behind_the_error(begun: bytes, more: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind="application/json; charset=UTF-8")
        await exchange.chunk(begun + more if begun else b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}]},\n{"a')
        exchange.cut()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), dialect="gemini")}) as plane,
    ):
        reply = await plane.post("/v1beta/models/gemini-2.0-flash:streamGenerateContent", {"contents": []})
        first, error = json.loads(reply.body)
        assert first["candidates"][0]["content"]["parts"] == [{"text": "a"}]
        assert error["error"]["code"] == 502


@pytest.mark.parametrize("more", [b'\n{"resp', b"\n", b""])
async def test_json_lines_end_with_a_line_that_says_the_error(more: bytes) -> None:
    """As Ollama itself tells of one; there is no empty line, which its client would take for JSON."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind="application/x-ndjson")
        await exchange.chunk(b'{"response":"a"}' + more)
        exchange.cut()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), dialect="plain")}) as plane,
    ):
        reply = await plane.post("/pools/chat/api/generate", {"model": "llama3", "stream": True})
        first, error = map(json.loads, reply.body.splitlines())
        assert (first, error["error"]["status"]) == ({"response": "a"}, 502)


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/json"])
async def test_what_is_no_stream_is_cut_for_the_client_too(kind: str) -> None:
    """Nothing can be said inside it, and a clean end would be taken for the whole."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind=kind)
        await exchange.chunk(b'{"data": "' + b"x" * 100_000)
        exchange.cut()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        response = await plane.http.get(f"{plane.url}/v1/files/f/content")
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "500 Internal Server Error"])
async def test_an_answer_is_forgotten_when_it_is_over(status: str) -> None:
    """Not when the time has passed for which its provider might have been silent."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind="application/json") if status == "200 OK" else await exchange.reply(b"{}", status)
        if status == "200 OK":
            for piece in (b'{"choices":', b"[]}", b""):
                await exchange.chunk(piece)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), max_attempts=1)}) as plane,
    ):
        assert (await plane.chat()).status == int(status[:3])
        await plane.answered()
        gc.collect()
        assert [one for one in gc.get_objects() if isinstance(one, Incoming)] == []


async def test_a_fault_of_the_sidecar_in_the_middle_ends_the_stream_and_begins_no_second_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        await begun.wait()
        monkeypatch.setattr(AnswerReader, "feed", fails)
        await exchange.chunk(DELTA % 2 + FINISH + DONE)
        await exchange.chunk(b"")

    begun = asyncio.Event()
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        async with await opened(plane) as response:
            begun.set()
            body = await response.read()
        assert error_of(body.removeprefix(DELTA % 1))["code"] == "upstream_broken"
        assert (await plane.answered()).outcome == "server_error"
        assert "ZeroDivisionError" in caplog.text
