"""Signs of life between the events of a stream, while its model thinks."""

from __future__ import annotations

import asyncio
import re
import zlib
from typing import Any

import openai
import pytest

from sidecar.config import resolve
from tests.proxy.plane import CHAT, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_breaks import error_of
from tests.proxy.test_keepalive import SIGN, STREAMED, after_signs
from tests.proxy.test_streams import DELTA, DONE, FINISH, STREAM


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config may ask for more signs than a user's may."""
    monkeypatch.setattr(resolve, "LEAST_KEEPALIVE_US", 1)


@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_signs_go_on_while_the_model_thinks(coding: str) -> None:
    """Between events, also where half of the next is there, and none of them is kept."""
    seen = asyncio.Event()
    packer = zlib.compressobj(wbits=31)

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(*([f"Content-Encoding: {coding}"] if coding else []))
        for piece in (DELTA % 1 + FINISH[:9], FINISH[9:] + DONE):
            packed = packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH if piece[-1:] != b"\n" else zlib.Z_FINISH)
            await exchange.chunk(packed if coding else piece)
            await seen.wait()
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={}, keepalive="50ms") as plane,
    ):
        async with plane.http.post(f"{plane.url}/v1/chat/completions", json=STREAM) as reply:
            got = b""
            while DELTA % 1 + 2 * SIGN not in got:
                got += await reply.content.readany()
            seen.set()
            got += await reply.read()
        signs = b"(?:%s)*" % re.escape(SIGN)
        assert re.fullmatch(signs + signs.join(map(re.escape, (DELTA % 1, FINISH, DONE))) + signs, got)
        assert (await plane.answered()).outcome == "ok"
        assert (await plane.post("/v1/chat/completions", STREAM)).body == STREAMED
        assert len(upstream.heard) == 1


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("number", [b"", b"id: 1\n"])
async def test_openais_sdk_passes_over_signs_between_events(number: bytes, ends: bytes) -> None:
    """Also behind an event with an id, where it takes a blank line for an event without data, and between the two
    bytes that end one."""
    first = (number + DELTA % 1).replace(b"\n", ends)
    cut = len(first) - (len(ends) - 1)

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(first[:cut])
        await asyncio.sleep(0.3)
        await exchange.chunk(first[cut:] + (number + FINISH + DONE).replace(b"\n", ends))
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="50ms") as plane,
        openai.AsyncOpenAI(api_key="k", base_url=f"{plane.url}/v1", max_retries=0) as client,
    ):
        hello: Any = CHAT["messages"]
        stream = await client.chat.completions.create(model="gpt-4o", messages=hello, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["1", None]


async def test_signs_do_not_hide_that_the_provider_stalls() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(DELTA % 1)
        await asyncio.Event().wait()

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1), idle_timeout="400ms")}, keepalive="50ms") as plane,
    ):
        reply = await plane.post("/v1/chat/completions", STREAM)
        assert error_of(after_signs(reply.body.partition(DELTA % 1)[2]))["status"] == 504
        assert (await plane.answered()).outcome == "timeout"


@pytest.mark.parametrize(
    ("headers", "begin", "rest"),
    [
        (["Content-Type: text/event-stream", "Content-Encoding: zstd"], b"\x28\xb5\x2f\xfd", b"packed"),
        (["Content-Type: text/event-stream"], b"data: " + b"x" * 5_000_000, b"\n\n" + FINISH + DONE),
        (["Content-Type: application/x-ndjson"], b'{"choices":[{"text":"a"}]}\n', b'{"choices":[{"text":"b"}]}\n'),
    ],
    ids=["packed", "within an event", "no events"],
)
async def test_an_answer_without_a_place_for_signs_gets_none(headers: list[str], begin: bytes, rest: bytes) -> None:
    """Nothing can be said in what is packed, in an event of which a part was shown, or between objects of JSON."""

    async def answer(exchange: Exchange) -> None:
        lines = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(begin + rest)}", *headers])
        await exchange.say(f"{lines}\r\n\r\n".encode() + begin)
        await asyncio.sleep(1.0)
        await exchange.say(rest)

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, keepalive="400ms") as plane,
    ):
        assert (await plane.post("/v1/chat/completions", STREAM)).body == begin + rest
