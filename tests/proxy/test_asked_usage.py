"""Streams whose tokens count tell what they cost, and their clients see only what they asked for themselves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.model.events import Attempted
from sidecar.simulate.answers import INPUT_TOKENS, WORDS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_streams import DELTA, DONE, FINISH, STREAM, USAGE

LIMITED = {"limits": [{"tokens": 1_000_000, "per": "minute"}]}
ASKED: Any = {"stream_options": {"include_usage": True}}
TOTAL = INPUT_TOKENS + len(WORDS)


@pytest.fixture
async def strict() -> AsyncIterator[StrictProvider]:
    async with StrictProvider(new_keys(2)) as provider:
        yield provider


def events(reply: Reply) -> list[Any]:
    said = [block.removeprefix(b"data: ") for block in reply.body.split(b"\n\n") if block]
    assert said.pop() == b"[DONE]"
    return [json.loads(data) for data in said]


async def cost(plane: Plane) -> int | None:
    """The tokens of the latest attempt."""
    await plane.answered()
    usage = plane.of(Attempted)[-1].usage
    return usage.total if usage else None


async def test_a_stream_whose_tokens_are_limited_tells_its_usage_to_the_sidecar_alone(strict: StrictProvider) -> None:
    async with sidecar({"chat": pool(strict.url, [*strict.accounts], **LIMITED)}) as plane:
        reply = await plane.chat(stream=True)
        assert await cost(plane) == TOTAL
        assert all(event["choices"] for event in events(reply))
        said = "".join(event["choices"][0]["delta"].get("content") or "" for event in events(reply))
        assert said == "".join(WORDS)


@pytest.mark.parametrize("options", [{}, {"include_usage": False}, None, {"include_usage": None, "other": 1}])
async def test_who_did_not_ask_sees_no_chunk_of_usage(options: Any) -> None:
    """Other options stay."""
    sent: list[Any] = []

    async def answer(exchange: Exchange) -> None:
        sent.append(json.loads(exchange.body))
        await exchange.reply(DELTA % 1 + FINISH + USAGE + DONE, "200 OK", "Content-Type: text/event-stream")

    async with RawUpstream(answer) as upstream, sidecar({"c": pool(upstream.url, new_keys(1), **LIMITED)}) as plane:
        reply = await plane.post("/v1/chat/completions", STREAM | {"stream_options": options})
        assert reply.body == DELTA % 1 + FINISH + DONE
        assert await cost(plane) == 12
    assert sent == [STREAM | {"stream_options": (options or {}) | {"include_usage": True}}]


async def test_who_asked_gets_what_it_asked_for(strict: StrictProvider) -> None:
    async with sidecar({"chat": pool(strict.url, [*strict.accounts], **LIMITED)}) as plane:
        reply = await plane.chat(stream=True, **ASKED)
        assert events(reply)[-1]["usage"]["total_tokens"] == TOTAL


@pytest.mark.parametrize(
    ("more", "model", "told"),
    [
        ({}, "gpt-4o", None),
        ({"include_usage": True}, "gpt-4o", 12),
        (LIMITED | {"include_usage": False}, "gpt-4o", None),
    ],
)
async def test_the_body_changes_only_where_the_config_counts_tokens(more: Any, model: str, told: int | None) -> None:
    """By a limit of tokens, or because its pool says so; `include_usage: false` leaves a limit to its estimates."""
    sent = []

    async def answer(exchange: Exchange) -> None:
        sent.append(exchange.body)
        usage = USAGE if b"include_usage" in exchange.body else b""
        await exchange.reply(DELTA % 1 + FINISH + usage + DONE, "200 OK", "Content-Type: text/event-stream")

    async with RawUpstream(answer) as upstream, sidecar({"c": pool(upstream.url, new_keys(1), **more)}) as plane:
        body = json.dumps(STREAM | {"model": model}).encode()
        assert (await plane.post("/v1/chat/completions", body)).body == DELTA % 1 + FINISH + DONE
        assert await cost(plane) == told
        assert (sent == [body]) == (told is None)
        whole = json.dumps(STREAM | {"stream": False}).encode()
        await plane.post("/v1/chat/completions", whole)
        assert sent[1] == whole


async def test_a_provider_that_refuses_stream_options_is_not_asked() -> None:
    """Mistral answers 422 for it, and tells its usage unasked."""
    sent = []

    async def answer(exchange: Exchange) -> None:
        sent.append(exchange.body)
        await exchange.reply(DELTA % 1 + FINISH + DONE, "200 OK", "Content-Type: text/event-stream")

    async with RawUpstream(answer) as upstream:
        mistral = {"provider": "mistral", "base_url": f"{upstream.url}/v1", "keys": [{"id": "a", "secret": "k" * 20}]}
        async with sidecar({"c": mistral | LIMITED}) as plane:
            body = json.dumps(STREAM).encode()
            await plane.post("/v1/chat/completions", body)
    assert sent == [body]


async def test_another_name_upstream_and_an_error_in_the_middle_go_together_with_it(strict: StrictProvider) -> None:
    pools = {"chat": pool(strict.url, [*strict.accounts], **LIMITED)}
    async with sidecar(pools, routes={"best": [{"pool": "chat", "model": "gpt-4o"}]}) as plane:
        reply = await plane.chat(stream=True, model="best")
        assert await cost(plane) == TOTAL
        assert {event["model"] for event in events(reply)} == {"gpt-4o"}
        strict.faults.append(Fault(close="middle", times=1))
        broken = await plane.chat(stream=True, model="best")
        assert b"broke off" in broken.body
