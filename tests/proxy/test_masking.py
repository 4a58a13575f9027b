"""With `mask_model` an answer calls its model as the caller did; the headers say the truth all the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

CALLS = {
    "openai": ("/v1/chat/completions", {"model": "asked"}),
    "anthropic": ("/v1/messages", {"model": "asked"}),
    "gemini": ("/v1beta/models/asked:streamGenerateContent?alt=sse", {}),
}


@asynccontextmanager
async def masking(
    answer: Callable[[Exchange], Awaitable[None]], dialect: str = "openai", mask: bool = True
) -> AsyncIterator[Plane]:
    async with RawUpstream(answer) as upstream:
        base = f"{upstream.url}/v1" if dialect == "openai" else upstream.url
        own = pool("", new_keys(1)) | {"base_url": base, "dialect": dialect}
        route = {"targets": [{"pool": "a", "model": "real"}], "mask_model": mask}
        async with sidecar({"a": own}, routes={"asked": route}) as plane:
            yield plane


async def call(plane: Plane, dialect: str = "openai", headers: dict[str, str] | None = None) -> Reply:
    where, body = CALLS[dialect]
    reply = await plane.post(where, body, headers)
    assert reply.headers["x-sidecar-model"] == "real"
    return reply


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)


def delta(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "real-2024", "choices": [{"index": 0, "delta": {"content": text}, **more}]}


STREAMS = {
    "openai": stream(delta('"model": "real-2024"'), delta("", finish_reason="stop")) + b"data: [DONE]\n\n",
    "anthropic": stream(
        {"type": "message_start", "message": {"id": "m", "model": "real-2024", "content": []}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": '{"model": "x"}'}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ),
    "gemini": stream(
        {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "modelVersion": "real-2024"},
        {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}], "modelVersion": "real-2024"},
    ),
}


@pytest.mark.parametrize("dialect", list(CALLS))
async def test_every_event_of_a_stream_calls_the_model_as_its_caller_did(dialect: str) -> None:
    """Sent byte by byte; what the model says of itself is not touched."""
    data = STREAMS[dialect]

    async def slowly(exchange: Exchange) -> None:
        await exchange.begin()
        for byte in data:
            await exchange.chunk(bytes([byte]))
        await exchange.chunk(b"")

    async with masking(slowly, dialect) as plane:
        reply = await call(plane, dialect)
        name = b'"modelVersion"' if dialect == "gemini" else b'"model"'
        assert reply.body == data.replace(name + b': "real-2024"', name + b': "asked"')
        assert reply.body != data


@pytest.mark.parametrize("padding", [0, 200_000])
async def test_a_whole_answer_does_too_and_is_as_long_as_it_says(padding: int) -> None:
    """Also one that is too long to be held back, and had a length of its own."""
    body = {"id": "x", "data": "y" * padding, "model": "a-much-longer-name-than-was-asked-for"}

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps(body).encode())

    async with masking(answer) as plane:
        reply = await call(plane)
        assert reply.data == body | {"model": "asked"}
        assert reply.headers.get("Content-Length", str(len(reply.body))) == str(len(reply.body))


async def test_without_it_the_answer_is_the_providers_byte_for_byte() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b'{ "model" : "real-2024" }')

    async with masking(answer, mask=False) as plane:
        assert (await call(plane)).body == b'{ "model" : "real-2024" }'


async def test_an_answer_is_asked_for_unpacked_and_one_that_is_packed_all_the_same_passes() -> None:
    packed, asked = gzip.compress(b'{"model":"real"}'), []

    async def answer(exchange: Exchange) -> None:
        asked.append(exchange.header("accept-encoding"))
        await exchange.reply(packed, "200 OK", "Content-Encoding: gzip")

    async with masking(answer) as plane:
        reply = await call(plane, headers={"Accept-Encoding": "gzip"})
        assert (reply.body, reply.headers["Content-Encoding"]) == (packed, "gzip")
        assert asked == [["identity"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"choices":[]}', "200 OK"),
        (b'{"model":null}', "200 OK"),
        (b'["no", "object"]', "200 OK"),
        (b"not even JSON: {", "200 OK"),
        (b'{"error":{"message":"The model real is busy"},"model":"real"}', "400 Bad Request"),
    ],
)
async def test_an_answer_without_a_model_passes_as_it_is(body: bytes, status: str) -> None:
    """And so does an error: what went wrong concerns the model that it names."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, status)

    async with masking(answer) as plane:
        assert (await call(plane)).body == body


async def test_a_masked_stream_that_breaks_off_does_not_look_whole() -> None:
    async def broken(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(stream(delta("a")) + b'data: {"model": "re')
        exchange.cut()

    async with masking(broken) as plane:
        body = json.dumps(CALLS["openai"][1])
        said = await plane.speak(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert b'"model": "asked"' in said
        assert b"real-2024" not in said
        assert b"broke off before its end" in said
