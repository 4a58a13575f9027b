"""Streams that end cleanly: an error is added only where a last word is known and was not said."""

from __future__ import annotations

import json
from typing import Any

import pytest

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
