"""Streams that end cleanly: an error is added only where a last word is known and was not said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.model.events import Attempted
from tests.proxy.plane import new_keys, pool, sidecar
from tests.proxy.raw import Answer, Exchange, RawUpstream


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind} | fields).encode())


def saying(*pieces: bytes) -> Answer:
    """A stream of these pieces that ends as HTTP has it."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for piece in (*pieces, b""):
            await exchange.chunk(piece)

    return answer


@pytest.mark.parametrize(
    ("dialect", "path", "headers"),
    [
        ("anthropic", "/v1/sessions/sesn_1/events/stream", {"anthropic-version": "2023-06-01"}),
        ("openai", "/v1/agents/sessions/asess_1/events", {}),
        ("gemini", "/v1beta/things/x/events", {}),
    ],
)
@pytest.mark.parametrize("said", [[event("agent.message"), event("session.status_terminated")], [b": nothing\n\n"]])
async def test_a_stream_whose_last_word_nobody_knows_ends_as_it_ends(
    dialect: str, path: str, headers: dict[str, str], said: list[bytes]
) -> None:
    """Also one in which nothing has happened: it is asked for once."""
    async with (
        RawUpstream(saying(*said)) as upstream,
        sidecar({"p": pool(upstream.url, new_keys(2), dialect=dialect)}) as plane,
    ):
        reply = await plane.send("GET", path, headers)
        assert (reply.status, reply.attempts, reply.body) == (200, 1, b"".join(said))
        assert (await plane.answered()).outcome == "ok"


def of_interaction(kind: str, **fields: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"event_type": kind} | fields).encode())


SAID = [
    of_interaction("interaction.created", interaction={"id": "v1_x", "status": "in_progress"}),
    of_interaction("step.delta", index=0, delta={"type": "text", "text": "Hel"}),
]
USED = {"total_input_tokens": 4, "total_output_tokens": 2, "total_tokens": 6}


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1beta/interactions"), ("GET", "/v1beta/interactions/v1_x")])
async def test_an_interaction_that_does_not_say_that_it_is_completed_was_cut(method: str, path: str) -> None:
    async with (
        RawUpstream(saying(*SAID)) as upstream,
        sidecar({"p": pool(upstream.url, new_keys(1), dialect="gemini")}) as plane,
    ):
        reply = await plane.send(method, path, {"Content-Type": "application/json"}, b'{"stream":true}')
        error = reply.body.removeprefix(b"".join(SAID)).removeprefix(b"event: error\ndata: ")
        assert (json.loads(error)["event_type"], json.loads(error)["error"]["code"]) == ("error", 502)
        assert (await plane.answered()).outcome == "server_error"


@pytest.mark.parametrize(
    ("last", "outcome", "total"),
    [
        (of_interaction("interaction.completed", interaction={"status": "completed", "usage": USED}), "ok", 6),
        (of_interaction("interaction.completed", interaction={"status": "requires_action"}), "ok", None),
        (of_interaction("error", error={"message": "overloaded", "code": 503}), "overloaded", None),
    ],
)
async def test_an_interaction_ends_as_it_says(last: bytes, outcome: str, total: int | None) -> None:
    async with (
        RawUpstream(saying(*SAID, last)) as upstream,
        sidecar({"p": pool(upstream.url, new_keys(1), dialect="gemini")}) as plane,
    ):
        reply = await plane.post("/v1beta/interactions", {"model": "m", "input": "x", "stream": True})
        assert reply.body == b"".join(SAID) + last
        assert (await plane.answered()).outcome == outcome
        usage = plane.of(Attempted)[-1].usage
        assert (usage.total if usage else None) == total


COHERE = [
    event("message-start", delta={"message": {"role": "assistant", "content": []}}),
    event("content-delta", index=0, delta={"message": {"content": {"text": "Hi"}}}),
    event("message-end", delta={"usage": {"tokens": {"input_tokens": 4, "output_tokens": 2}}}),
]


def saying_json(body: object) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(json.dumps(body).encode())

    return answer


CLAUDE = [
    event("message_start", message={"content": [], "usage": {"input_tokens": 4, "output_tokens": 1}}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hi"}),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
    event("message_stop"),
]
OPENAI = [
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"total_tokens":6}}\n\n',
    b"data: [DONE]\n\n",
]
GEMINI = [
    b'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}],'
    b'"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":2,"totalTokenCount":6}}\r\n\r\n'
]
LLAMA = [b'data: {"content":"Hi","stop":false}\n\n', b'data: {"content":"","stop":true}\n\n']


@pytest.mark.parametrize(
    ("provider", "path", "said", "total"),
    [
        ("cohere", "v2/chat", COHERE, 6),
        ("cohere", "compatibility/v1/chat/completions", OPENAI, 6),
        ("deepseek", "anthropic/v1/messages", CLAUDE, 6),
        ("vllm", "v1/messages", CLAUDE, 6),
        ("vllm", "messages", CLAUDE, 6),
        ("vllm", "v1/responses", [event("response.completed", response={"usage": {"total_tokens": 6}})], 6),
        ("vllm", "completion", LLAMA, None),
        ("anthropic", "v1/messages", CLAUDE, 6),
        ("gemini", "v1beta/models/m:streamGenerateContent?alt=sse", GEMINI, 6),
        ("gemini", "v1beta/openai/chat/completions", OPENAI, 6),
    ],
)
async def test_below_a_named_pool_an_answer_is_read_as_its_path_tells(
    provider: str, path: str, said: list[bytes], total: int | None
) -> None:
    """Many a provider serves more than one API, and only one of them is its first."""
    async with RawUpstream(saying(*said)) as upstream:
        keys = [{"id": "a", "secret": "k" * 20}]
        async with sidecar({"p": {"provider": provider, "base_url": upstream.url, "keys": keys}}) as plane:
            reply = await plane.post(f"/pools/p/{path}", {"model": "m", "stream": True})
            assert (reply.status, reply.body) == (200, b"".join(said))
            assert (await plane.answered()).outcome == "ok"
            usage = plane.of(Attempted)[-1].usage
            assert (usage.total if usage else None) == total


@pytest.mark.parametrize(
    ("provider", "path", "said", "told"),
    [
        ("vllm", "v1/messages", CLAUDE[:2], b'event: error\ndata: {"type":"error","error":{"type":"api_error"'),
        ("gemini", "v1beta/openai/chat/completions", OPENAI[1:2], b'data: {"error":{"message":'),
        ("openai", "v1/responses/resp_1", [event("response.output_text.delta", delta="a")], b"event: error\ndata: {"),
    ],
)
async def test_below_a_named_pool_a_last_word_is_missed_in_the_dialect_of_its_path(
    provider: str, path: str, said: list[bytes], told: bytes
) -> None:
    async with RawUpstream(saying(*said)) as upstream:
        keys = [{"id": "a", "secret": "k" * 20}]
        async with sidecar({"p": {"provider": provider, "base_url": upstream.url, "keys": keys}}) as plane:
            reply = await plane.post(f"/pools/p/{path}", {"model": "m", "stream": True})
            assert reply.body.startswith(b"".join(said) + told)
            assert (await plane.answered()).outcome == "server_error"


async def test_beside_a_providers_dialect_the_sidecars_errors_are_in_it() -> None:
    """Who calls its own API knows that dialect, if any."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(COHERE[1])
        exchange.cut()

    async with RawUpstream(answer) as upstream:
        keys = [{"id": "a", "secret": "k" * 20}]
        async with sidecar({"p": {"provider": "cohere", "base_url": upstream.url, "keys": keys}}) as plane:
            reply = await plane.post("/pools/p/v2/chat", {"model": "m", "stream": True})
            error = json.loads(reply.body.removeprefix(COHERE[1] + b"event: error\ndata: "))["error"]
            assert error["code"] == "upstream_broken"


@pytest.mark.parametrize("path", ["videos/video_6a1b2c3d4e5f", "fine_tuning/jobs/ftjob-6a1b2c3d4e5f", "unknown/things"])
@pytest.mark.parametrize("kind", ["rate_limit_error", "server_error"])
async def test_below_a_named_pool_what_is_looked_at_has_errors_of_its_own(path: str, kind: str) -> None:
    """A job failed long ago: that rests no key and is asked of no other."""
    job = {"id": "video_6a1b2c3d4e5f", "status": "failed", "error": {"type": kind, "message": "too many at once"}}
    async with RawUpstream(saying_json(job)) as upstream:
        keys = [{"id": name, "secret": name * 20} for name in "abc"]
        async with sidecar({"p": {"provider": "openai", "base_url": f"{upstream.url}/v1", "keys": keys}}) as plane:
            replies = [await plane.send("GET", f"/pools/p/{path}") for _ in range(2)]
            assert [(reply.status, reply.attempts) for reply in replies] == [(200, 1)] * 2


@pytest.mark.parametrize("path", ["responses/resp_6a1b2c3d4e5f/cancel", "batches/batch_6a1b2c3d4e5f/cancel"])
async def test_below_a_named_pool_what_a_thing_once_cost_is_not_paid_again(path: str) -> None:
    used = {"id": "resp_1", "status": "cancelled", "usage": {"input_tokens": 1, "output_tokens": 500_000}}
    async with RawUpstream(saying_json(used)) as upstream:
        limit = {"tokens": 100_000, "per": "hour"}
        told = {"provider": "openai", "base_url": f"{upstream.url}/v1", "keys": [{"id": "a", "secret": "k" * 20}]}
        async with sidecar({"p": told | {"limits": [limit], "max_wait": "0s"}}) as plane:
            assert [(await plane.post(f"/pools/p/{path}", {})).status for _ in range(2)] == [200, 200]
