"""Answers that send a request to its route's next target at once, where the route names them; and the end of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

CASES = Path(__file__).parent.parent / "wire" / "cases"
CALLS = {
    "openai": ("/v1/chat/completions", {"model": "asked"}),
    "anthropic": ("/v1/messages", {"model": "asked"}),
    "gemini": ("/v1beta/models/asked:generateContent", {}),
}
AZURE_FILTER = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
    }
}
REFUSED = {
    "type": "message",
    "role": "assistant",
    "content": [],
    "stop_reason": "refusal",
    "usage": {"input_tokens": 1},
}
EXCEEDED = REFUSED | {"stop_reason": "model_context_window_exceeded"}
SAFETY = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 4}}
FILTERED = {"choices": [{"index": 0, "message": {"role": "assistant"}, "finish_reason": "content_filter"}]}


def case(name: str) -> tuple[int, Any]:
    read = json.loads((CASES / f"{name}.json").read_text())
    return read["status"], read["body"]


class Two:
    """Two targets in front of one upstream: the first answers as it is told to, the second that all is well."""

    def __init__(self, plane: Plane, upstream: RawUpstream, dialect: str) -> None:
        self.plane, self.upstream, self.dialect = plane, upstream, dialect

    async def call(self, path: str = "", **fields: Any) -> Reply:
        where, body = CALLS[self.dialect]
        return await self.plane.post(path or where, body | fields)

    @property
    def heard(self) -> str:
        """The target of each attempt."""
        return "".join(exchange.target.decode()[1] for exchange in self.upstream.heard)


@asynccontextmanager
async def two(
    status: int, body: Any, *names: str, dialect: str = "openai", both: bool = False, kind: str = "application/json"
) -> AsyncIterator[Two]:
    async def answer(exchange: Exchange) -> None:
        if both or exchange.target.startswith(b"/a"):
            data = (
                body if isinstance(body, bytes) else json.dumps(body | {"of": exchange.target[1:2].decode()}).encode()
            )
            await exchange.reply(data, f"{status} As Told", f"Content-Type: {kind}")
        else:
            await exchange.reply(b'{"fine":true}')

    async with RawUpstream(answer) as upstream:
        base = "/v1" if dialect == "openai" else ""
        pools = {
            name: pool("", new_keys(3)) | {"base_url": f"{upstream.url}/{name}{base}", "dialect": dialect}
            for name in "ab"
        }
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": list(names)}
        async with sidecar(pools, routes={"asked": route}) as plane:
            yield Two(plane, upstream, dialect)


@pytest.mark.parametrize(
    ("dialect", "told", "name"),
    [
        ("openai", case("openai-400-context-length"), "context_too_long"),
        ("openai", case("cohere-400-too-many-tokens"), "context_too_long"),
        ("anthropic", case("anthropic-400-too-long"), "context_too_long"),
        ("anthropic", (200, EXCEEDED), "context_too_long"),
        ("gemini", case("vertex-400-too-long"), "context_too_long"),
        ("openai", case("openai-400-context-length"), "bad_request"),
        ("openai", (400, AZURE_FILTER), "blocked"),
        ("openai", (200, FILTERED), "blocked"),
        ("anthropic", (200, REFUSED), "blocked"),
        ("gemini", (200, SAFETY), "blocked"),
        ("openai", (422, {"detail": "Extra inputs are not permitted"}), "bad_request"),
        ("openai", (404, {"error": {"message": "The model `m` has been deprecated."}}), "not_found"),
        ("openai", (503, {"error": {"message": "The server is overloaded."}}), "overloaded"),
        ("anthropic", (529, {"type": "error", "error": {"type": "overloaded_error"}}), "overloaded"),
        ("openai", (500, {"error": {"message": "Sorry"}}), "server_error"),
        ("gemini", (504, {"error": {"code": 504, "status": "DEADLINE_EXCEEDED"}}), "timeout"),
    ],
)
async def test_answer_that_the_route_names_sends_the_request_to_its_next_target(
    dialect: str, told: tuple[int, Any], name: str
) -> None:
    """After one attempt at the first, and without a wait."""
    async with two(*told, name, dialect=dialect) as route:
        reply = await route.call()
        assert (reply.status, reply.data, reply.headers["x-sidecar-pool"]) == (200, {"fine": True}, "b")
        assert route.heard == "ab"


@pytest.mark.parametrize(
    ("told", "names"),
    [
        (case("openai-400-context-length"), ()),
        (case("openai-400-context-length"), ("blocked", "not_found", "overloaded")),
        ((400, AZURE_FILTER), ("context_too_long", "bad_request")),
        ((200, FILTERED), ("context_too_long",)),
        ((422, {"detail": "no"}), ("not_found", "blocked")),
        ((200, EXCEEDED), ("blocked",)),
        ((200, EXCEEDED | {"content": [{"type": "text", "text": "Hi"}]}), ("context_too_long",)),
    ],
)
async def test_answer_that_it_does_not_name_is_the_callers(told: tuple[int, Any], names: tuple[str, ...]) -> None:
    async with two(*told, *names, dialect="anthropic" if "stop_reason" in told[1] else "openai") as route:
        reply = await route.call()
        assert (reply.status, reply.data) == (told[0], told[1] | {"of": "a"})
        assert route.heard == "a"


WORDS: Any = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}


@pytest.mark.parametrize(("words", "names", "heard"), [(0, 1, "ab"), (0, 0, "a"), (1, 1, "a")])
async def test_a_stream_that_found_no_room_to_begin_is_too_long_and_one_that_filled_it_an_answer(
    words: int, names: int, heard: str
) -> None:
    """Unchanged where nobody else is asked."""
    end: Any = {"type": "message_delta", "delta": {"stop_reason": "model_context_window_exceeded"}}
    events: Any = [
        {"type": "message_start", "message": {"content": []}},
        *[WORDS] * words,
        end,
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    named = ["context_too_long"] * names
    async with two(200, body, *named, dialect="anthropic", kind="text/event-stream") as route:
        reply = await route.call(stream=True)
        assert (reply.status, route.heard) == (200, heard)
        assert heard == "ab" or reply.body == body


async def test_without_a_name_a_fault_is_tried_on_the_targets_own_keys_first() -> None:
    async with two(500, {"error": "x"}) as route:
        assert (await route.call()).headers["x-sidecar-pool"] == "b"
        assert route.heard == "aaab"


async def test_if_the_last_target_says_the_same_its_answer_is_the_callers() -> None:
    """Unchanged: it was asked last, as it would have been alone."""
    status, body = case("anthropic-400-too-long")
    async with two(status, body, "context_too_long", dialect="anthropic", both=True) as route:
        reply = await route.call()
        assert (reply.status, reply.data) == (400, body | {"of": "b"})
        assert (route.heard, reply.headers["x-sidecar-pool"]) == ("ab", "b")


async def test_if_no_other_target_answers_the_one_that_was_passed_over_is_the_callers() -> None:
    """All keys of the other are dead: what the first one said of the request is the truth about it."""

    async def answer(exchange: Exchange) -> None:
        told = (
            case("openai-400-context-length") if exchange.target.startswith(b"/a") else case("openai-401-deactivated")
        )
        await exchange.reply(json.dumps(told[1]).encode(), f"{told[0]} As Told")

    async with RawUpstream(answer) as upstream:
        pools = {name: pool(f"{upstream.url}/{name}", new_keys(2)) for name in "ab"}
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["context_too_long"]}
        async with sidecar(pools, routes={"asked": route}) as plane:
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.data) == case("openai-400-context-length")
            assert reply.headers["x-sidecar-pool"] == "a"


async def test_a_target_without_room_is_told_as_such_behind_one_that_was_passed_over() -> None:
    """The route serves such requests, and will again: 429 with the moment, not the first one's 400."""
    status, body = case("openai-400-context-length")

    async def answer(exchange: Exchange) -> None:
        told = (json.dumps(body).encode(), f"{status} As Told") if b"/a" in exchange.target else (b"{}",)
        await exchange.reply(*told)

    async with RawUpstream(answer) as upstream:
        one = pool(f"{upstream.url}/b", new_keys(1), limits=[{"requests": 1, "per": "minute"}], max_wait="0s")
        pools = {"a": pool(f"{upstream.url}/a", new_keys(2)), "b": one}
        named = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["context_too_long"]}
        async with sidecar(pools, routes={"asked": named}) as plane:
            assert [(await plane.chat(model="asked")).status for _ in range(2)] == [200, 429]


Told = tuple[int, Any]
DOWN: Told = (503, {"error": {"message": "The model is overloaded."}})
GONE = case("openai-401-deactivated")


@asynccontextmanager
async def left(first: Iterable[Told], other: Told, only: str = "overloaded", **more: Any) -> AsyncIterator[Two]:
    """The first target's answers, after which all is well there; the other's. `more`: fields of the other's pool."""
    told = iter(first)

    async def answer(exchange: Exchange) -> None:
        status, body = next(told, (200, {"fine": True})) if exchange.target.startswith(b"/a") else other
        await exchange.reply(json.dumps(body).encode(), f"{status} As Told")

    async with RawUpstream(answer) as upstream:
        pools = {"a": pool(f"{upstream.url}/a", new_keys(3)), "b": pool(f"{upstream.url}/b", new_keys(1), **more)}
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": [only]}
        async with sidecar(pools, routes={"asked": route}) as plane:
            yield Two(plane, upstream, "openai")


SPENT = {"limits": [{"requests": 1, "per": "minute"}], "max_wait": "10s"}


@pytest.mark.parametrize(
    ("other", "more", "before", "heard"),
    [
        pytest.param((200, {}), SPENT, 1, "aa", id="no room, and it might be waited for"),
        pytest.param((200, {}), {**SPENT, "max_wait": "0s"}, 1, "aa", id="no room"),
        pytest.param(DOWN, {"max_attempts": 1, "breaker": {"failures": 1}}, 1, "aa", id="its breaker is open"),
        pytest.param(GONE, {}, 0, "aba", id="its keys are dead"),
        pytest.param(DOWN, {"max_attempts": 1}, 0, "aba", id="it fails too"),
    ],
)
async def test_a_target_left_at_a_fault_is_asked_on_where_no_other_serves(
    other: Told, more: dict[str, Any], before: int, heard: str
) -> None:
    """It has healthy keys: without `fallback_on` they would have been asked first."""
    async with left([DOWN], other, **more) as route:
        for _ in range(before):
            await route.plane.chat(model="b/asked")
        route.upstream.heard.clear()
        reply = await route.call()
        assert (reply.status, reply.headers["x-sidecar-pool"]) == (200, "a")
        assert (route.heard, reply.headers["x-sidecar-waited-ms"]) == (heard, "0")


async def test_a_target_that_is_asked_on_is_left_no_more() -> None:
    """Each is asked as often as on any route; then the last answer is the caller's."""
    async with left([DOWN] * 9, DOWN, max_attempts=2) as route:
        assert (await route.call()).status == 503
        assert route.heard == "abaaaab"


async def test_what_a_retry_budget_forbids_is_not_asked_on_either() -> None:
    async with left([DOWN], DOWN, max_attempts=1) as route:
        route.plane.replica.state.pools.retries.allow = lambda *_: False  # type: ignore[method-assign]
        assert (await route.call()).status == 503
        assert route.heard == "ab"


async def test_what_may_have_been_executed_is_not_sent_to_another_target_either() -> None:
    """An image costs money."""
    async with two(504, {"error": {"message": "too slow"}}, "timeout", "server_error") as route:
        reply = await route.call("/v1/images/generations", prompt="a cat")
        assert (reply.status, route.heard) == (504, "a")


CUT = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": [{"type": "mcp_call"}]}
ACTED = {**REFUSED, "content": [{"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "send_mail"}]}
TOO_MUCH = {"status": "failed", "error": {"code": "context_length_exceeded", "message": "Too long."}, "output": []}


@pytest.mark.parametrize(
    ("dialect", "call", "told", "name"),
    [
        ("openai", {"input": "mail it", "tools": [{"type": "mcp"}]}, CUT, "blocked"),
        ("openai", {"input": "and now?", "conversation": "conv_1"}, TOO_MUCH, "context_too_long"),
        ("anthropic", {"messages": [], "mcp_servers": [{"type": "url", "url": "https://mcp.test"}]}, ACTED, "blocked"),
    ],
)
async def test_nor_is_what_a_2xx_says_was_begun(dialect: str, call: Any, told: Any, name: str) -> None:
    """A tool may have acted before the answer was blocked."""
    async with two(200, told, name, dialect=dialect) as route:
        reply = await route.call("/v1/responses" if dialect == "openai" else "", **call)
        assert (reply.data, route.heard) == (told | {"of": "a"}, "a")


def stream(*events: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % (json.dumps(event).encode()) for event in events)


def openings() -> list[Any]:
    first = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    filtered = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
    start = {"type": "message_start", "message": {"id": "m", "model": "c", "content": []}}
    refusal = {"type": "message_delta", "delta": {"stop_reason": "refusal"}}
    return [
        pytest.param("openai", stream(first, filtered) + b"data: [DONE]\n\n", id="openai"),
        pytest.param("gemini", stream(SAFETY), id="gemini"),
        pytest.param("anthropic", stream(start, refusal, {"type": "message_stop"}), id="anthropic"),
    ]


@pytest.mark.parametrize(("dialect", "data"), openings())
async def test_a_stream_that_is_blocked_before_it_says_anything_goes_to_the_next_target(
    dialect: str, data: bytes
) -> None:
    async with two(200, data, "blocked", dialect=dialect, kind="text/event-stream") as route:
        assert (await route.call(stream=True)).data == {"fine": True}
        assert route.heard == "ab"
    async with two(200, data, "blocked", dialect=dialect, kind="text/event-stream", both=True) as route:
        assert (await route.call(stream=True)).body == data
        assert route.heard == "ab"


async def test_a_stream_that_is_blocked_after_it_spoke_is_the_callers() -> None:
    """However its bytes were cut: here all of them come at once."""
    said = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Once"}}]}
    filtered = {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
    data = stream(said, filtered) + b"data: [DONE]\n\n"
    async with two(200, data, "blocked", kind="text/event-stream") as route:
        reply = await route.call(stream=True)
        assert (reply.body, route.heard) == (data, "a")


async def test_a_target_that_cannot_be_reached_is_passed_over_at_once() -> None:
    async def ok(exchange: Exchange) -> None:
        await exchange.reply(b"{}")

    async with RawUpstream(ok) as gone:
        nowhere = gone.url
    async with RawUpstream(ok) as upstream:
        pools = {"a": pool(nowhere, new_keys(3)), "b": pool(upstream.url, new_keys(1))}
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["connect"]}
        async with sidecar(pools, routes={"asked": route}) as plane:
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.headers["x-sidecar-pool"], reply.attempts) == (200, "b", 2)


async def test_the_next_target_is_waited_for_as_if_it_were_the_only_one() -> None:
    """Also where keys of the one before were to be tried again: it is out of the question now."""
    told = iter([(500, {"error": "x"}), case("openai-400-context-length")])

    async def answer(exchange: Exchange) -> None:
        status, body = next(told) if exchange.target.startswith(b"/a") else (200, {})
        await exchange.reply(json.dumps(body).encode(), f"{status} As Told")

    async with RawUpstream(answer) as upstream:
        busy = pool(f"{upstream.url}/b", new_keys(1), limits=[{"requests": 1, "per": "1s"}], max_wait="10s")
        route = {"targets": [{"pool": "a"}, {"pool": "b"}], "fallback_on": ["context_too_long"]}
        pools = {"a": pool(f"{upstream.url}/a", new_keys(3)), "b": busy}
        async with sidecar(pools, routes={"asked": route}) as plane:
            assert (await plane.chat(model="b/asked")).status == 200
            reply = await plane.chat(model="asked")
            assert (reply.status, reply.headers["x-sidecar-pool"], reply.attempts) == (200, "b", 3)
            assert int(reply.headers["x-sidecar-waited-ms"]) > 0
