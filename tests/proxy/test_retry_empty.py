"""Routes with `retry_empty` take an answer without content for a failure, as long as another key may do better."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model.events import Attempted
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_streams import DELTA, DONE, FINISH, USAGE

OTHER = {"candidates": [{"finishReason": "OTHER", "finishMessage": "Model failed to generate content."}]}
FULL = {"candidates": [{"content": {"parts": [{"text": "hello"}]}, "finishReason": "STOP"}]}
HOLLOW = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n' + FINISH
PATH = "/v1beta/models/best:generateContent"
CHAT = {"model": "best", "messages": [], "stream": True}


def route(retry_empty: bool = True) -> dict[str, Any]:
    return {"best": {"targets": [{"pool": "chat", "model": "m"}], "retry_empty": retry_empty}}


def outcomes(plane: Plane) -> list[str]:
    return [event.outcome for event in plane.of(Attempted)]


def gemini(body: Any, kind: str) -> bytes:
    data = json.dumps(body).encode()
    return b"data: " + data + b"\r\n\r\n" if kind == "text/event-stream" else data


@pytest.mark.parametrize(
    ("path", "kind"),
    [(PATH, "application/json"), (PATH.replace("gen", "streamGen") + "?alt=sse", "text/event-stream")],
)
@pytest.mark.parametrize("retry_empty", [True, False])
async def test_an_empty_answer_goes_to_another_key_where_its_route_says_so(
    retry_empty: bool, path: str, kind: str
) -> None:
    async def answer(exchange: Exchange) -> None:
        said = OTHER if len(upstream.heard) == 1 else FULL
        await exchange.reply(gemini(said, kind), "200 OK", f"Content-Type: {kind}")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), dialect="gemini")}, routes=route(retry_empty)) as plane,
    ):
        reply = await plane.post(path, {"contents": []})
        assert reply.status == 200
        assert reply.body == gemini(FULL if retry_empty else OTHER, kind)
        await plane.answered()
        assert outcomes(plane) == (["server_error", "ok"] if retry_empty else ["ok"])


async def test_the_last_passes_where_all_are_empty() -> None:
    """After `max_attempts`, and without the usage that only the sidecar asked for."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for event in (HOLLOW, USAGE, DONE, b""):
            await exchange.chunk(event)

    limited = {"limits": [{"tokens": 1_000_000, "per": "minute"}], "max_attempts": 3}
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2), **limited)}, routes=route()) as plane,
    ):
        reply = await plane.post("/v1/chat/completions", CHAT)
        assert (reply.status, reply.body, reply.attempts) == (200, HOLLOW + DONE, 3)
        await plane.answered()
        assert outcomes(plane) == ["server_error"] * 3


async def test_a_stream_with_content_passes_with_all_that_was_before_it() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for event in (HOLLOW[: -len(FINISH)], DELTA % 1, FINISH, DONE, b""):
            await exchange.chunk(event)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(2))}, routes=route()) as plane,
    ):
        reply = await plane.post("/v1/chat/completions", CHAT)
        assert reply.body == HOLLOW[: -len(FINISH)] + DELTA % 1 + FINISH + DONE
        assert reply.attempts == 1


async def test_empty_answers_open_no_breaker() -> None:
    """They hang on what was asked: who asks so must not keep the provider from all others."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(gemini(FULL if b"good" in exchange.body else OTHER, "application/json"))

    options: dict[str, Any] = {"dialect": "gemini", "breaker": {"failures": 2}, "max_wait": "0s"}
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(3), **options)}, routes=route()) as plane,
    ):
        assert (await plane.post(PATH, {"contents": []})).attempts == 5
        reply = await plane.post(PATH, {"contents": ["good"]})
        assert (reply.status, reply.attempts) == (200, 1)
