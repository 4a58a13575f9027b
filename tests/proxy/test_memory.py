"""A request that is over is forgotten, whatever lives on: connections, timers, those who wait."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from sidecar.proxy.call import Call
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

WHOLE = json.dumps({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}).encode()
PIECE = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": "hi"}}]}).encode() + b"\n\n"


def calls() -> list[Call]:
    """All that something still refers to, other tests' too."""
    gc.collect()
    return [found for found in gc.get_objects() if isinstance(found, Call)]


async def left(plane: Plane, before: list[Call]) -> list[str]:
    """The requests since then that something still refers to."""
    await plane.replica.idle.wait()
    await asyncio.sleep(0)
    plane.events.clear()
    known = {id(call) for call in before}
    return [call.request_id for call in calls() if id(call) not in known]


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("stream", [False, True])
async def test_of_a_request_that_was_answered_nothing_is_kept(status: int, stream: bool) -> None:
    """Its connection is, for the next one, and the time that a provider may be silent has not passed."""

    async def answer(exchange: Exchange) -> None:
        if stream and status == 200:
            await exchange.begin()
            await exchange.chunk(PIECE)
            await exchange.chunk(b"data: [DONE]\n\n")
            await exchange.chunk(b"")
        else:
            await exchange.reply(WHOLE, f"{status} As Told")

    async with RawUpstream(answer) as upstream:
        one = pool(upstream.url, new_keys(1), idle_timeout="1h", timeout="2h", max_attempts=1)
        async with sidecar({"chat": one}) as plane:
            before = calls()
            for _ in range(5):
                assert (await plane.chat(stream=stream)).status == status
            assert await left(plane, before) == []
