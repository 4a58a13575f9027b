"""A request that is over is forgotten, whatever lives on: connections, timers, those who wait."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.proxy.call import Call
from sidecar.proxy.origin.incoming import Incoming
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.servers import RedisProcess

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


# --- without the collector --------------------------------------------------------------------------

# It comes after thousands of objects: many requests, each with a prompt that may be a megabyte and counts no more.
NO_ROOM = {"limits": [{"requests": 1, "per": "day"}], "max_wait": "0s"}
AWAY = {"max_wait": "0s"}
QUICK = {"timeout": "100ms"}


@pytest.fixture
def uncollected() -> Iterator[list[Call | Incoming]]:
    """What there is before, other tests' too."""
    gc.collect()
    gc.disable()
    yield [found for found in gc.get_objects() if isinstance(found, Call | Incoming)]
    gc.enable()


async def remaining(plane: Plane, before: list[Call | Incoming]) -> list[Call | Incoming]:
    """Requests since then, and bodies of answers, that only the collector would find."""
    await plane.replica.idle.wait()
    for _ in range(10):  # turns of the loop, until the server's own task has ended
        await asyncio.sleep(0)
    plane.events.clear()
    known = set(map(id, before))
    return [found for found in gc.get_objects() if isinstance(found, Call | Incoming) and id(found) not in known]


@pytest.mark.parametrize("headers", [{}, {"x-sidecar-keepalive": "true"}], ids=["", "signs"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "faults", "status"),
    [
        pytest.param(NO_ROOM, [], 429, id="no room"),
        pytest.param({}, [Fault(status=429)], 429, id="rate limits"),
        pytest.param({}, [Fault(close="before")], 502, id="no answer"),
        pytest.param(QUICK, [Fault(hang=True)], 504, id="timeout"),
        pytest.param({}, [Fault(dead=True)], 401, id="dead keys"),
    ],
)
async def test_a_request_that_ends_badly_leaves_nothing_to_the_collector(
    uncollected: list[Call | Incoming],
    provider: StrictProvider,
    more: dict[str, Any],
    faults: list[Fault],
    status: int,
    stream: bool,
    headers: dict[str, str],
) -> None:
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), **more)}) as plane:
        if more is NO_ROOM:
            for _ in provider.accounts:
                await plane.chat()
        provider.faults += faults
        for _ in range(3):
            assert (await plane.chat(headers, stream=stream)).status == status
        assert await remaining(plane, uncollected) == []


@pytest.mark.parametrize("headers", [{}, {"x-sidecar-keepalive": "true"}], ids=["", "signs"])
async def test_a_request_without_a_store_leaves_nothing_to_the_collector(
    uncollected: list[Call | Incoming], provider: StrictProvider, redis_process: RedisProcess, headers: dict[str, str]
) -> None:
    pools = {"chat": pool(provider.url, list(provider.accounts), **AWAY)}
    async with sidecar(pools, redis=redis_process.url) as plane:
        assert (await plane.chat()).status == 200
        redis_process.kill()
        for _ in range(3):
            assert (await plane.chat(headers, stream=True)).status == 503
        assert await remaining(plane, uncollected) == []


async def test_a_stream_that_breaks_off_leaves_nothing_to_the_collector(
    uncollected: list[Call | Incoming], plane: Plane, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(close="middle"))
    for _ in range(3):
        assert (await plane.chat(stream=True)).status == 200
    assert await remaining(plane, uncollected) == []


async def test_a_request_whose_client_goes_leaves_nothing_to_the_collector(
    uncollected: list[Call | Incoming], plane: Plane, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(hang=True))
    for turn in range(3):
        request = asyncio.create_task(plane.chat())
        await provider.wait_for(lambda: len(provider.arrivals) > turn)  # noqa: B023 - awaited here
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        await plane.replica.idle.wait()
    provider.release()
    provider.calls.clear()
    assert await remaining(plane, uncollected) == []
