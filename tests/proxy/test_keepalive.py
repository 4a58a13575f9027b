"""Streams that say that their request lives while it waits: and all that follows is said in the same stream."""

from __future__ import annotations

import asyncio
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.config import resolve
from sidecar.model.events import Attempted
from sidecar.proxy import keepalive
from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_breaks import error_of
from tests.proxy.test_streams import DELTA, DONE, FINISH, STREAM

SIGN = b": waiting\n\n"
ASK = {"x-sidecar-keepalive": "true"}
STREAMED = DELTA % 1 + FINISH + DONE


async def streamed(exchange: Exchange, *headers: str) -> None:
    await exchange.reply(STREAMED, "200 OK", "Content-Type: text/event-stream", *headers)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config may ask for more signs than a user's may."""
    monkeypatch.setattr(resolve, "LEAST_KEEPALIVE_US", 1)


def after_signs(body: bytes) -> bytes:
    """What follows the signs, of which there is one at least."""
    assert body.startswith(SIGN)
    while body.startswith(SIGN):
        body = body.removeprefix(SIGN)
    return body


async def test_who_waits_for_room_gets_signs_and_then_its_stream() -> None:
    """The second request of a second waits for the next; quick answers are as ever."""
    limits: Any = {"limits": [{"requests": 1, "per": "500ms"}]}
    async with (
        RawUpstream(streamed) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), **limits)}, keepalive="50ms") as plane,
    ):
        quick = await plane.post("/v1/chat/completions", STREAM)
        assert (quick.body, quick.key) == (STREAMED, "k0")
        slow = await plane.post("/v1/chat/completions", STREAM)
        assert after_signs(slow.body) == STREAMED
        assert (slow.status, slow.headers["content-type"]) == (200, "text/event-stream")
        assert slow.headers["x-sidecar-request-id"]
        assert (await plane.answered()).outcome == "ok"


async def test_who_waits_for_the_provider_gets_signs_through_all_attempts() -> None:
    """Nothing was said yet, so that an error still goes to another key; a packed stream goes on unpacked."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        if len(upstream.heard) == 1:
            await exchange.reply(b"{}", "500 Internal Server Error")
        else:
            packed = ["Content-Type: text/event-stream", "Content-Encoding: gzip"]
            await exchange.reply(gzip.compress(STREAMED), "200 OK", *packed)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2))}, keepalive="50ms") as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert after_signs(reply.body) == STREAMED
        await plane.answered()
        assert [event.outcome for event in plane.of(Attempted)] == ["server_error", "ok"]


async def test_who_waits_for_the_same_answer_gets_signs_too() -> None:
    """And then the stream that another asked for, as a hit from the beginning."""
    go_on = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await go_on.wait()
        await streamed(exchange)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={}, keepalive="50ms") as plane,
    ):
        silent = asyncio.create_task(plane.post("/v1/chat/completions", STREAM, {"x-sidecar-keepalive": "false"}))
        await plane.entered()
        async with plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM) as reply:
            assert await reply.content.readexactly(len(SIGN)) == SIGN
            go_on.set()
            assert after_signs(SIGN + await reply.read()) == STREAMED
        assert (await silent).body == STREAMED
        assert len(upstream.heard) == 1


async def test_what_came_as_its_client_went_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply is to be closed, a run to be ended: else all who ask the same wait for it."""
    monkeypatch.setattr(keepalive, "every_s", lambda *_: 60.0)
    visit: Any = SimpleNamespace(attempts=SimpleNamespace(call=None, pools=SimpleNamespace(config=None)))
    came, lost = asyncio.Event(), list[str]()

    async def run() -> str:
        await came.wait()
        return "it"

    signing = asyncio.create_task(keepalive.signing(visit, visit, run(), lost.append))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    came.set()
    signing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await signing
    assert lost == ["it"]


@pytest.mark.parametrize(
    ("given", "asked", "signs"),
    [(None, ASK, True), (None, {}, False), ("50ms", {"x-sidecar-keepalive": "FALSE"}, False), ("50ms", {}, True)],
)
async def test_the_request_goes_before_the_config(
    given: str | None, asked: dict[str, str], signs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either nothing changes."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        await streamed(exchange)

    monkeypatch.setattr(keepalive, "EVERY_S", 0.05)
    said = {} if given is None else {"keepalive": given}
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}, **said) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM, asked)
        assert reply.body.startswith(SIGN) == signs
        assert ("x-sidecar-key" in reply.headers) == (not signs)


async def test_what_is_no_stream_gets_its_status_and_no_signs() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.reply(b'{"choices": []}')

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="50ms") as plane,
    ):
        assert (await plane.chat(ASK)).body == b'{"choices": []}'


async def test_a_word_that_is_neither_is_told() -> None:
    async with sidecar({"chat": pool("http://127.0.0.1:9", new_keys(1))}) as plane:
        reply = await plane.chat({"x-sidecar-keepalive": "15s"})
        assert (reply.status, reply.data["error"]["message"]) == (
            400,
            'x-sidecar-keepalive: "15s" is neither true nor false.',
        )


async def test_a_failure_is_an_event_with_its_status() -> None:
    """The sidecar's own: no room in time."""
    limits: Any = {"limits": [{"requests": 1, "per": "minute"}], "max_wait": "0s"}
    release = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        if len(upstream.heard) == 2:
            await release.wait()
            await exchange.reply(b'{"error": {"message": "slow down", "type": "tokens"}}', "429 Too Many Requests")
        else:
            await streamed(exchange)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), **limits)}, keepalive="50ms") as plane,
    ):
        await plane.post("/v1/chat/completions", STREAM)
        async with plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM) as response:
            assert await response.content.readuntil(b"\n\n") == SIGN
            release.set()
            body = SIGN + await response.read()
        error = error_of(after_signs(body))
        assert (error["status"], error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
        event = await plane.answered()
        assert (event.status, event.outcome) == (429, "rate_limit_exceeded")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"no such tool {secret}","type":"invalid_request_error","code":"x"}}',
         {"message": "no such tool k0", "type": "invalid_request_error", "code": "x", "status": 400}),
        (b"<html>no</html>", {"message": "<html>no</html>", "type": "invalid_request_error", "param": None,
                              "code": "upstream_error", "status": 400}),
    ],
)  # fmt: skip
async def test_a_providers_error_is_an_event_in_its_own_words(body: bytes, error: Any) -> None:
    """With the key's id where its secret stood."""
    (secret,) = new_keys(1)

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.reply(body.replace(b"{secret}", secret.encode()), "400 Bad Request")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, [secret])}, keepalive="50ms") as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert error_of(after_signs(reply.body)) == error
        assert (await plane.answered()).status == 400


async def test_an_answer_that_is_no_stream_is_an_error_there() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.reply(b'{"choices": [{"message": {"content": "hello"}}]}')

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="50ms") as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert error_of(after_signs(reply.body))["status"] == 502


async def test_a_stream_that_breaks_off_behind_signs_ends_with_an_error() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        exchange.cut()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="50ms") as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert error_of(after_signs(reply.body).removeprefix(DELTA % 1))["status"] == 502


async def test_a_client_that_goes_away_takes_its_request_along() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="50ms") as plane,
    ):
        response = await plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM)
        assert await response.content.readuntil(b"\n\n") == SIGN
        response.close()
        event = await plane.answered()
        assert (event.status, event.outcome) == (499, "cancelled")
        assert [event.outcome for event in plane.of(Attempted)] == ["cancelled"]


async def test_gemini_gets_blank_lines_where_it_streams_events_and_nothing_in_an_array() -> None:
    """Its SDK takes a comment for JSON."""
    said = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n'
    said += b"data: [DONE]\r\n\r\n"

    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.reply(said, "200 OK", "Content-Type: text/event-stream")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), dialect="gemini")}, keepalive="50ms") as plane,
    ):
        path = "/v1beta/models/gemini-2.0-flash:streamGenerateContent"
        for streams in (f"{path}?alt=sse", "/v1beta/interactions"):
            reply = await plane.post(streams, {"stream": True})
            assert reply.body.startswith(b"\n")
            assert reply.body.lstrip(b"\n") == said
        assert "x-sidecar-key" in (await plane.post(path, {"contents": []})).headers


@pytest.mark.parametrize("keepalive", ["50ms", None])
async def test_a_client_of_http_1_0_that_would_keep_its_connection_sees_where_a_stream_ends(
    keepalive: str | None,
) -> None:
    """By the end of the connection: there is nothing else to tell it by."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await asyncio.sleep(0.1)
        await exchange.chunk(STREAMED)
        await exchange.chunk(b"")

    body = json.dumps(STREAM).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n"
    )
    given = {"keepalive": keepalive} if keepalive else {}
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, **given) as plane,
    ):
        async with asyncio.timeout(10):
            got = await plane.speak(head % len(body) + body)
        assert got.endswith(STREAMED)
