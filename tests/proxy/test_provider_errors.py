"""A provider's error passes as it is, but for the one thing that it must not show."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from urllib.parse import quote

import aiohttp
import pytest

from sidecar.providers.dialect import ERROR_BYTES
from tests.proxy.plane import CHAT, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

SECRET = "sk-live/4711+x=="


def telling(secret: str) -> bytes:
    return json.dumps({"error": {"message": f"Incorrect API key provided: {secret}.", "code": 7}}).encode()


async def test_an_error_passes_with_its_bytes_status_and_headers() -> None:
    body = b'{ "error" :{"message":"The model `x` does not exist",\n "type":"invalid_request_error"}}\n'

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, "404 Not Found", "X-Request-Id: req-9", "Content-Type: application/problem+json")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.body, reply.headers["x-request-id"]) == (404, body, "req-9")
        assert reply.headers["content-type"] == "application/problem+json"
        assert (reply.key, reply.grant, reply.attempts) == ("k0", 0, 1)


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
@pytest.mark.parametrize(
    "shown",
    [SECRET, quote(SECRET, safe="").lower(), SECRET.replace("/", "\\/"), SECRET.replace("+", "\\u002B")],
    ids=["plain", "in a URL", "in JSON", "in .NET's JSON"],
)
async def test_the_secret_in_an_error_is_replaced_by_the_keys_id(coding: str, shown: str) -> None:
    """However it is written and packed, in the body and in the headers."""
    body = b'{"error": {"message": "Incorrect API key provided: ' + shown.encode() + b'."}}'

    async def answer(exchange: Exchange) -> None:
        packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body) if coding else body
        coded = [f"Content-Encoding: {coding}"] if coding else []
        await exchange.reply(packed, "400 Bad Request", f"X-Key: <{SECRET}>", "X-Key: other", *coded)

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, [SECRET])}) as plane:
        reply = await plane.chat({"Accept-Encoding": "gzip, deflate"})
        assert reply.status == 400
        assert reply.data == {"error": {"message": "Incorrect API key provided: k0."}}
        assert "content-encoding" not in reply.headers
        assert reply.headers.getall("x-key") == ["<k0>", "other"]
        assert SECRET not in "".join(reply.headers.values())


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_error_without_a_secret_stays_packed(coding: str) -> None:
    packed = (gzip.compress if coding == "gzip" else zlib.compress)(telling("***"))

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(packed, "400 Bad Request", f"Content-Encoding: {coding}")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat({"Accept-Encoding": coding})
        assert (reply.body, reply.headers["content-encoding"]) == (packed, coding)


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (telling(SECRET) + b" " * ERROR_BYTES, ""),
        (telling(SECRET) + bytes(4 * ERROR_BYTES), "gzip"),
        (telling(SECRET), "br"),
        (telling(SECRET), "gzip, gzip"),
        (telling(SECRET).decode().encode("utf-16"), ""),
        (telling(SECRET).decode().encode("utf-32-be"), "gzip"),
    ],
    ids=[
        "over a MiB",
        "over a MiB unpacked",
        "packed so that it cannot be read",
        "packed twice",
        "UTF-16",
        "UTF-32 packed",
    ],
)
async def test_what_cannot_be_searched_is_not_shown(body: bytes, coding: str) -> None:
    """The status stays the provider's; the words are the sidecar's."""

    async def answer(exchange: Exchange) -> None:
        packed = gzip.compress(body) if coding == "gzip" else body
        await exchange.reply(packed, "422 Unprocessable Entity", *([f"Content-Encoding: {coding}"] if coding else []))

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, [SECRET])}) as plane:
        reply = await plane.chat({"Accept-Encoding": "gzip"})
        assert reply.status == 422
        assert SECRET.encode() not in reply.body.replace(b"\0", b"")
        assert reply.data["error"]["code"] == "upstream_error"
        assert (reply.key, reply.grant, reply.attempts) == ("k0", 0, 1)
        assert (await plane.chat()).status == 422


async def test_an_error_of_almost_a_mib_passes_whole() -> None:
    body = telling("***").ljust(ERROR_BYTES)

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, "400 Bad Request")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.chat()).body == body


async def test_an_error_event_that_passes_keeps_the_secret_to_itself() -> None:
    """A 200 whose first event blames the request and quotes the key."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        told = {"error": {"message": f"bad parameter for {SECRET}", "type": "invalid_request_error", "code": 400}}
        await exchange.chunk(b"data: " + json.dumps(told).encode() + b"\n\ndata: [DONE]\n\n")
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, [SECRET])}) as plane:
        reply = await plane.chat(stream=True)
        assert b"bad parameter for k0" in reply.body
        assert SECRET.encode() not in reply.body
        assert reply.body.endswith(b"data: [DONE]\n\n")


DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n'
TOLD = {"error": {"message": f"Incorrect API key provided: {SECRET}", "code": "invalid_api_key"}}
ERROR = b"data: " + json.dumps(TOLD).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize(
    "said",
    [DELTA % 1 + ERROR + DONE, DELTA % 1 + DELTA % 2 + ERROR + ERROR + DONE, DELTA % 1 + ERROR.rstrip()],
    ids=["once", "twice", "without a blank line behind it"],
)
async def test_an_error_event_behind_an_answers_beginning_keeps_the_secret_to_itself(
    said: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the network cuts it; all else passes as it came."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(said)
        await exchange.chunk(b"")

    async def cut(stream: aiohttp.StreamReader) -> bytes:
        return await stream.read(size)

    monkeypatch.setattr(aiohttp.StreamReader, "readany", cut)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, [SECRET])}) as plane:
        reply = await plane.chat(stream=True)
        monkeypatch.undo()
        assert reply.body == said.replace(SECRET.encode(), b"k0")
        assert (await plane.answered()).outcome == "invalid_key"


async def test_a_stream_packed_unasked_passes_unpacked_with_the_keys_id_in_its_error() -> None:
    async def answer(exchange: Exchange) -> None:
        pack = zlib.compressobj(wbits=31)
        await exchange.begin("Content-Encoding: gzip")
        await exchange.chunk(pack.compress(DELTA % 1) + pack.flush(zlib.Z_SYNC_FLUSH))
        await seen.wait()
        await exchange.chunk(pack.compress(ERROR + DONE) + pack.flush())
        await exchange.chunk(b"")

    seen = asyncio.Event()
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, [SECRET])}) as plane:
        url, headers = f"{plane.url}/v1/chat/completions", {"Accept-Encoding": "gzip"}
        async with plane.http.post(url, json=CHAT | {"stream": True}, headers=headers) as response:
            shown = b""
            async for data in response.content.iter_any():
                seen.set()
                shown += data
        assert shown == (DELTA % 1 + ERROR + DONE).replace(SECRET.encode(), b"k0")
        assert (await plane.answered()).outcome == "invalid_key"


async def test_a_429_whose_body_is_cut_still_rests_its_key() -> None:
    """Its status and its headers came whole, and they say how long."""

    async def answer(exchange: Exchange) -> None:
        if exchange.header("authorization") != [f"Bearer {first}"]:
            await exchange.reply()
            return
        await exchange.say(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 600\r\nContent-Length: 500\r\n\r\n{")
        exchange.cut()

    first, *_ = keys = new_keys(2)
    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, keys)}) as plane:
        replies = [await plane.chat() for _ in range(4)]
        assert [(reply.status, reply.key) for reply in replies] == [(200, "k1")] * 4
        assert [reply.attempts for reply in replies] == [2, 1, 1, 1]


async def test_the_secret_in_a_header_is_found_in_each_form() -> None:
    """A redirect quotes the request's own target, where the key stands percent-encoded."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"", "302 Found", f"Location: http://other.test{exchange.target.decode()}")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, [SECRET], auth={"query": "token"})}) as plane,
    ):
        reply = await plane.chat()
        assert reply.status == 302
        assert reply.headers["location"].endswith("token=k0")


@pytest.mark.parametrize("stream", [False, True])
async def test_the_secret_of_a_targets_header_is_told_by_the_headers_name(stream: bool) -> None:
    """In an error, an error event and a header, beside the key's own, each by its name."""
    gateway = "gw/5150+word=="

    async def answer(exchange: Exchange) -> None:
        (said,) = exchange.header("x-gateway")
        error = json.dumps({"error": {"message": f"{said} or {SECRET} is wrong", "code": "x", "type": "bad_request"}})
        if stream:
            await exchange.begin(f"X-Seen: {said}")
            await exchange.chunk(DELTA % 1 + f"data: {error}\n\n".encode() + DONE)
            await exchange.chunk(b"")
        else:
            await exchange.reply(error.encode(), "400 Bad Request", f"X-Seen: {said}")

    routes = {"m": [{"pool": "chat", "headers": {"X-Gateway": "Bearer ${GATEWAY}"}}]}
    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, [SECRET])}, {"GATEWAY": gateway}, routes=routes) as plane,
    ):
        reply = await plane.chat(model="m", stream=stream)
        assert b"Bearer x-gateway or k0 is wrong" in reply.body
        assert reply.headers["x-seen"] == "Bearer x-gateway"
        assert gateway not in f"{reply.body!r}{reply.headers}"
