"""The sidecar is stopped while requests are under way: where each of them is, its client is told in its own way."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from sidecar.model.events import Answered, Attempted
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_breaks import error_of
from tests.proxy.test_streams import STREAM

STOPPED = ("stopped", "The sidecar was stopped before the answer ended.")


async def test_a_body_that_is_still_coming_is_answered(plane: Plane) -> None:
    """And the rest of it is read by nobody: the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
    await plane.entered()
    plane.server.stop()
    head, _, body = (await reader.readuntil(b"}}")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert {b"Retry-After: 1", b"x-should-retry: true", b"Connection: close"} < set(head.split(b"\r\n"))
    assert json.loads(body)["error"]["message"] == STOPPED[1]
    writer.close()
    event = await plane.answered()
    assert (event.status, event.outcome) == (503, "stopped")


async def test_a_request_without_an_answer_is_told_and_its_attempt_ends(plane: Plane, provider: StrictProvider) -> None:
    provider.faults.append(Fault(hang=True))
    asked = asyncio.create_task(plane.chat())
    await provider.wait_for(lambda: provider.calls)
    plane.server.stop()
    reply = await asked
    assert (reply.status, reply.headers["Retry-After"], reply.attempts) == (503, "1", 1)
    assert (reply.data["error"]["code"], reply.data["error"]["message"]) == STOPPED
    await provider.wait_for(lambda: provider.arrivals[0].ended == "cancelled")


IMAGE = ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a cat"})
MAIL = ("/v1/responses", {"model": "gpt-4o", "input": "mail it", "tools": [{"type": "mcp", "server_label": "mail"}]})
PLAIN = ("/v1/responses", {"model": "gpt-4o", "input": "a cat"})


async def stopped(plane: Plane, asked: asyncio.Task[Reply]) -> tuple[int, str, str]:
    """What a client is told that is stopped now: its status, when to come back, and whether its SDK may."""
    plane.server.stop()
    reply = await asked
    assert reply.data["error"]["message"].startswith(STOPPED[1])
    return reply.status, reply.headers.get("Retry-After", ""), reply.headers["x-should-retry"]


@pytest.mark.parametrize(
    ("call", "options", "told"),
    [
        (IMAGE, {}, ("", "false")),
        (MAIL, {}, ("", "false")),
        (PLAIN, {}, ("1", "true")),
        (IMAGE, {"retry_unsafe": True}, ("1", "true")),
    ],
)
async def test_what_may_have_been_done_is_not_to_be_asked_for_again(
    provider: StrictProvider, call: tuple[str, Any], options: dict[str, Any], told: tuple[str, str]
) -> None:
    """Its SDK would come back by itself, and the second image is paid for too."""
    provider.faults.append(Fault(hang=True))
    async with sidecar({"chat": pool(provider.url, [*provider.accounts], **options)}) as plane:
        asked = asyncio.create_task(plane.post(*call))
        await provider.wait_for(lambda: provider.calls)
        assert await stopped(plane, asked) == (503, *told)


async def test_what_a_key_refused_may_be_asked_for_again(provider: StrictProvider) -> None:
    """It waits for room: nothing was done."""
    provider.faults.append(Fault(status=429, headers={"retry-after": "5"}))
    async with sidecar({"chat": pool(provider.url, [*provider.accounts][:1], max_wait="9s")}) as plane:
        asked = asyncio.create_task(plane.post(*IMAGE))
        while not plane.of(Attempted):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert await stopped(plane, asked) == (503, "1", "true")


async def test_what_was_done_is_not_to_be_asked_for_again_though_its_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between its last byte and the first for the client it is remembered whose the batch is."""
    comes = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        comes.set()
        await asyncio.Event().wait()

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b'{"id": "batch_0123456789abcdef", "object": "batch"}')

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(2))}) as plane:
        monkeypatch.setattr(plane.replica.store.made, "add", never)
        asked = asyncio.create_task(plane.post("/v1/batches", {"endpoint": "/v1/responses"}))
        await comes.wait()
        assert await stopped(plane, asked) == (503, "", "false")


async def test_a_stream_that_began_with_comments_ends_with_an_event(provider: StrictProvider) -> None:
    provider.faults.append(Fault(hang=True))
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, keepalive="1s") as plane:
        response = await plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM)
        assert (await response.content.readuntil(b"\n\n")).startswith(b":")
        plane.server.stop()
        error = error_of(await response.read())
        assert (error["status"], error["code"], error["message"]) == (503, *STOPPED)
        assert (await plane.answered()).outcome == "stopped"


async def test_what_is_no_stream_is_cut() -> None:
    """Nothing can be said in it, and a clean end would be taken for the whole."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind="audio/mpeg")
        with suppress(ConnectionError):
            while True:
                await exchange.chunk(b"x" * 1000)
                await asyncio.sleep(0.01)

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        response = await plane.http.post(f"{plane.url}/v1/audio/speech", json={"model": "tts-1", "input": "hello"})
        assert await response.content.readany()
        plane.server.stop()
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        event = await plane.answered()
        assert (event.status, event.outcome) == (200, "stopped")


async def test_what_was_stopped_is_not_kept(provider: StrictProvider) -> None:
    """A part of an answer is no answer, although nothing went wrong with it."""
    provider.faults.append(Fault(hold=True, times=1))
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, cache={}) as plane:
        response = await plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM)
        assert await response.content.readuntil(b"\n\n")
        plane.server.stop()
        assert await response.read()
        again = await plane.chat(stream=True)
        assert again.headers["x-sidecar-cache"] == "miss"
        assert again.body.endswith(b"data: [DONE]\n\n")


async def test_all_that_wait_for_the_same_answer_are_told(provider: StrictProvider) -> None:
    provider.faults.append(Fault(hang=True))
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, cache={}) as plane:
        asked = [asyncio.create_task(plane.chat()) for _ in range(5)]
        await provider.wait_for(lambda: provider.calls)
        while plane.replica.inflight < 5:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        plane.server.stop()
        assert {reply.status for reply in await asyncio.gather(*asked)} == {503}
        assert len(provider.arrivals) == 1


async def test_what_is_reserved_for_who_waits_is_given_back(provider: StrictProvider) -> None:
    limit = {"requests": 1, "per": "2s", "guard": "100ms"}
    chat = pool(provider.url, [*provider.accounts][:1], limits=[limit], max_wait="9s")
    async with sidecar({"chat": chat}) as plane:
        assert (await plane.chat()).grant == 0
        asked = asyncio.create_task(plane.chat())
        await plane.entered()
        await asyncio.sleep(0.2)  # the acquire is in the store, nothing tells of it
        plane.server.stop()
        assert (await asked).status == 503
        reply = await plane.chat()
        assert (reply.status, reply.grant) == (200, 2)
        assert float(reply.headers["x-sidecar-waited-ms"]) < 2200
        assert [event.outcome for event in plane.of(Answered)] == ["ok", "stopped", "ok"]
