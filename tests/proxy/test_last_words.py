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
