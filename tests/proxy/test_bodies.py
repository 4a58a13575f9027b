"""Request bodies: byte for byte, however they come, and bounded."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidecar.model.events import Answered
from sidecar.proxy import bodies
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

WEIRD = (
    b' \t{"messages" : [ ], "n":1.0, "n":2e3,\r\n "model"  :\t"gpt-4o" , "x":"\\u00e9\xc3\xa9\\/","cut":"\\ud83d",'
    b'"model_x":"gpt-4o","deep":{"model":"gpt-4o"} }\n\n'
)


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b"{}")


async def pieces(body: bytes, size: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def large(size: int, model: str = "gpt-4o") -> bytes:
    """A chat call of exactly so many bytes, its model at the end."""
    head, tail = b'{"messages": [{"role": "user", "content": "', f'"}}], "model": "{model}"}}'.encode()
    return head + b"x" * (size - len(head) - len(tail)) + tail


async def test_a_body_arrives_byte_for_byte() -> None:
    """Whitespace, duplicate keys, number formats and escapes, also half a surrogate pair, are the client's own."""
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.post("/v1/chat/completions", WEIRD)).status == 200
        assert upstream.heard[0].body == WEIRD
        assert upstream.heard[0].header("content-length") == [str(len(WEIRD))]


async def test_a_route_changes_the_value_of_the_model_and_nothing_else() -> None:
    async with RawUpstream(ok) as upstream:
        routes = {"gpt-4o": [{"pool": "chat", "model": "up/stream-\u00fc"}]}
        async with sidecar({"chat": pool(upstream.url, new_keys(1))}, routes=routes) as plane:
            reply = await plane.post("/v1/chat/completions", WEIRD)
            assert reply.status == 200
            assert upstream.heard[0].header("content-length") == [str(len(upstream.heard[0].body))]
            before, after = WEIRD.split(b'\t"gpt-4o"')
            heard = upstream.heard[0].body
            assert heard.startswith(before)
            assert heard.endswith(after)
            assert json.loads(heard[len(before) : len(heard) - len(after)]) == "up/stream-\u00fc"


@pytest.mark.parametrize("asked", ["chat/org/model", "chat/gpt-4o"])
async def test_a_pool_in_front_of_the_model_is_taken_off(asked: str) -> None:
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat(model=asked)
        assert reply.headers["x-sidecar-model"] == asked.removeprefix("chat/")
        assert json.loads(upstream.heard[0].body)["model"] == asked.removeprefix("chat/")


async def test_a_multipart_form_keeps_its_bytes_but_for_a_renamed_model() -> None:
    """An audio file with the model as a form field, which no JSON reader finds."""
    audio = bytes(range(256)) * 40
    form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n--B\r\n' % b"whisper"
    form += b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + audio + b"\r\n--B--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    async with RawUpstream(ok) as upstream:
        routes = {"alias": [{"pool": "chat", "model": "whisper"}]}
        async with sidecar({"chat": pool(upstream.url, new_keys(1))}, routes=routes) as plane:
            assert (await plane.post("/v1/audio/transcriptions", form, headers)).status == 200
            renamed = form.replace(b"whisper", b"alias")
            assert (await plane.post("/v1/audio/transcriptions", renamed, headers)).status == 200
        assert [heard.body for heard in upstream.heard] == [form, form]
        assert upstream.heard[1].header("content-type") == ["multipart/form-data; boundary=B"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_large_body_arrives_whole_and_can_be_sent_twice(provider: StrictProvider, chunked: bool) -> None:
    """Two MiB, renamed, refused by the first key: the second one gets the same bytes."""
    body = large(2 * 1024 * 1024)
    async with RawUpstream(lambda exchange: refused_once(exchange, upstream)) as upstream:
        routes = {"gpt-4o": [{"pool": "chat", "model": "other"}]}
        async with sidecar({"chat": pool(upstream.url, new_keys(2))}, routes=routes) as plane:
            data = pieces(body) if chunked else body
            reply = await plane.send("POST", "/v1/chat/completions", {"Content-Type": "application/json"}, data)
            assert (reply.status, reply.attempts) == (200, 2)
        expected = large(len(body))[: -len(b'gpt-4o"}')] + b'other"}'
        assert [heard.body == expected for heard in upstream.heard] == [True, True]


async def refused_once(exchange: Exchange, upstream: RawUpstream) -> None:
    if len(upstream.heard) == 1:
        await exchange.reply(b"{}", "429 Too Many Requests", "Retry-After: 60")
    else:
        await exchange.reply(b"{}")


@pytest.mark.parametrize("how", ["length", "chunked", "gzip", "deflate"])
async def test_max_body_is_the_largest_that_passes(provider: StrictProvider, how: str) -> None:
    """By its length, as it comes without one, and as it is without its compression."""
    size = 1_500_000
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, max_body=size) as plane:
        fits = await sent(plane, large(size), how)
        assert fits.status == 200
        assert provider.calls[0].body == large(size)
        over = await sent(plane, large(size + 1), how)
        assert over.status == 413
        assert over.data["error"]["message"]
        assert len(provider.arrivals) == 1
        assert (await plane.chat()).grant == 1


async def sent(plane: Plane, body: bytes, how: str) -> Reply:
    headers = {"Content-Type": "application/json"}
    data: bytes | AsyncIterator[bytes] = body
    if how == "chunked":
        data = pieces(body)
    elif how in {"gzip", "deflate"}:
        headers["Content-Encoding"] = how
        data = gzip.compress(body) if how == "gzip" else zlib.compress(body)
    return await plane.send("POST", "/v1/chat/completions", headers, data)


async def test_a_compressed_bomb_is_refused_before_it_is_unpacked(provider: StrictProvider) -> None:
    """200 MB of zeros in 200 kB."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, max_body=1_000_000) as plane:
        headers = {"Content-Encoding": "gzip"}
        assert (await plane.send("POST", "/v1/chat/completions", headers, bomb)).status == 413
        assert (await plane.chat()).status == 200
        assert len(provider.arrivals) == 1


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(WEIRD)),
        ("GZIP", gzip.compress(WEIRD)),
        ("deflate", zlib.compress(WEIRD)),
        ("deflate", zlib.compressobj(wbits=-15).compress(b"") + zlib.compress(WEIRD)[2:-4]),
        ("identity", WEIRD),
    ],
)
async def test_a_compressed_body_is_forwarded_without_its_compression(coding: str, packed: bytes) -> None:
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.post("/v1/chat/completions", packed, {"Content-Encoding": coding})
        assert reply.status == 200, reply.body
        assert upstream.heard[0].body == WEIRD
        assert upstream.heard[0].header("content-encoding") == []
        assert upstream.heard[0].header("content-length") == [str(len(WEIRD))]


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", b"\x0b\x02\x80{}\x03", 415),
        ("zstd", b"(\xb5/\xfd", 415),
        ("compress", b"x", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(WEIRD)), 415),
        ("nonsense", WEIRD, 415),
        ("gzip", b"this is no gzip", 400),
        ("gzip", gzip.compress(WEIRD)[:-12], 400),
        ("deflate", b"nor deflate", 400),
    ],
)
async def test_a_body_that_cannot_be_unpacked_is_refused(
    plane: Plane, provider: StrictProvider, coding: str, body: bytes, status: int
) -> None:
    reply = await plane.post("/v1/chat/completions", body, {"Content-Encoding": coding})
    assert reply.status == status
    assert reply.data["error"]["message"]
    assert provider.arrivals == []
    assert (await plane.chat()).grant == 0


async def test_expect_100_continue_is_answered_and_not_forwarded() -> None:
    body = json.dumps(CHAT).encode()
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert upstream.heard == []
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        assert upstream.heard[0].header("expect") == []
        assert upstream.heard[0].body == body


async def test_no_body_is_asked_for_that_would_be_refused(provider: StrictProvider) -> None:
    """A body over max_body is refused instead of `100 Continue`; another expectation gets 417."""
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, max_body=100) as plane:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 101\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        writer.write(head + b"Expect: 100-continue\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
        writer.write(head.replace(b"101", b"2") + b"Expect: the-unexpected\r\n\r\n{}")
        assert (await reader.readline()).startswith(b"HTTP/1.1 417 ")
        writer.close()
        assert provider.arrivals == []


async def test_a_slow_body_holds_nobody_up(plane: Plane, provider: StrictProvider) -> None:
    """No grant is taken before the last byte of the body is there."""
    body = json.dumps(CHAT).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body[:5]))
    await writer.drain()
    assert [(await plane.chat()).grant for _ in range(3)] == [0, 1, 2]
    writer.write(body[5:])
    assert b"x-sidecar-grant: 3" in (await reader.read()).lower()
    writer.close()
    assert len(provider.arrivals) == 4


# --- all bodies together ------------------------------------------------------------------------------

SMALL, LARGE = 2_000, 5_000  # the largest in memory, and the largest at all: one of each fits
SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["memory", "file"])


@pytest.fixture
async def narrow(provider: StrictProvider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    """A sidecar that holds one SMALL and one LARGE body and not a byte more."""
    for name, value in {"IN_MEMORY": SMALL, "MEMORY_MOST": SMALL, "FILES_MOST": LARGE, "FILES_MOST_BODIES": 1}.items():
        monkeypatch.setattr(bodies, name, value)
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, max_body=LARGE) as plane:
        yield plane


@asynccontextmanager
async def client(plane: Plane, body: bytes, length: int | None = None) -> AsyncIterator[None]:
    """One that sends this much of a chat call, listens to nothing, and leaves."""
    _, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
    writer.write(head.format(length or len(body)).encode() + body)
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def held(plane: Plane, provider: StrictProvider, size: int) -> AsyncIterator[None]:
    """A body of this size is with the provider, which answers the next one, and not this."""
    provider.faults.append(Fault(hang=True, times=1))
    arrived = len(provider.calls)
    async with client(plane, large(size)):
        await provider.wait_for(lambda: len(provider.calls) > arrived)
        yield


async def has_room(plane: Plane, provider: StrictProvider) -> bool:
    """Whether the sidecar holds nothing at all: one body of each kind fits to the last byte."""
    await plane.replica.idle.wait()
    return [(await sent(plane, large(size), "length")).status for size in (SMALL, LARGE)] == [200, 200]


@SIZES
@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_bodies_that_do_not_fit_together_are_told_to_come_back(
    narrow: Plane, provider: StrictProvider, size: int, how: str
) -> None:
    """While one is on its way another of its kind is 503, also where it shows only as it comes."""
    async with held(narrow, provider, size):
        refused = await sent(narrow, large(size), how)
        assert (refused.status, refused.headers["Retry-After"], refused.attempts) == (503, "1", 0)
        assert refused.data["error"]["code"] == "too_many_bodies"
        assert narrow.of(Answered)[-1].outcome == "too_many_bodies"
        assert len(provider.arrivals) == 1
    assert await has_room(narrow, provider)


async def test_small_bodies_pass_while_files_are_full(narrow: Plane, provider: StrictProvider) -> None:
    async with held(narrow, provider, LARGE):
        assert (await sent(narrow, large(SMALL), "length")).status == 200


async def test_the_refusal_of_a_body_is_in_its_callers_dialect(narrow: Plane, provider: StrictProvider) -> None:
    async with held(narrow, provider, SMALL):
        claude = await narrow.post("/v1/messages", {"model": "claude", "max_tokens": 1, "messages": []})
        assert (claude.status, claude.data["type"]) == (503, "error")
        gemini = await narrow.post("/v1beta/models/gemini-pro:generateContent", {"contents": []})
        assert (gemini.status, gemini.data["error"]["status"]) == (503, "UNAVAILABLE")


@SIZES
async def test_a_client_that_leaves_leaves_no_body_behind(narrow: Plane, provider: StrictProvider, size: int) -> None:
    """Before its body is whole, and while its answer is awaited."""
    async with client(narrow, large(size)[:-1], size):
        await narrow.entered()
    assert await has_room(narrow, provider)
    async with held(narrow, provider, size):
        pass
    await provider.wait_for(lambda: provider.arrivals[-1].ended == "cancelled")
    assert await has_room(narrow, provider)


@SIZES
@pytest.mark.parametrize(
    ("how", "cut", "status"),
    [("length", slice(-1), 400), ("chunked", slice(-1), 400), ("gzip", slice(-9), 400), ("deflate", slice(-9), 400)],
)
async def test_a_body_that_cannot_be_read_leaves_nothing_behind(
    narrow: Plane, provider: StrictProvider, size: int, how: str, cut: slice, status: int
) -> None:
    """JSON without its end, and compressed data without it."""
    body = large(size)
    if how in {"gzip", "deflate"}:
        packed = (gzip if how == "gzip" else zlib).compress(body)[cut]
        reply = await narrow.post("/v1/chat/completions", packed, {"Content-Encoding": how})
    else:
        reply = await sent(narrow, body[cut], how)
    assert reply.status == status
    assert await has_room(narrow, provider)


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_a_body_that_is_too_large_leaves_nothing_behind(
    narrow: Plane, provider: StrictProvider, how: str
) -> None:
    assert (await sent(narrow, large(LARGE + 1), how)).status == 413
    assert await has_room(narrow, provider)


@SIZES
async def test_what_goes_wrong_after_the_body_leaves_nothing_behind(
    narrow: Plane, provider: StrictProvider, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such model, a provider that breaks off, a fault of our own."""
    assert (await narrow.send("POST", "/pools/nowhere/x", {}, large(size))).status == 404
    provider.faults.append(Fault(close="before", times=20))
    assert (await sent(narrow, large(size), "length")).status == 502
    provider.faults.clear()
    assert await has_room(narrow, provider)
    with monkeypatch.context() as broken:
        broken.setattr("sidecar.proxy.call.without_credentials", lambda _: 1 / 0)
        assert (await sent(narrow, large(size), "length")).status == 500
    assert await has_room(narrow, provider)


async def test_a_disk_without_room_leaves_nothing_behind(
    narrow: Plane, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503 in the dialect; the log says what is wrong and where that is set."""

    def full() -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("tempfile.TemporaryFile", full)
        reply = await sent(narrow, large(LARGE), "length")
    assert (reply.status, reply.headers["retry-after"], reply.data["error"]["code"]) == (503, "1", "no_storage")
    assert "No space left on device; TMPDIR" in caplog.text
    assert await has_room(narrow, provider)


async def test_no_body_is_asked_for_that_would_not_fit(narrow: Plane, provider: StrictProvider) -> None:
    """By its length it is refused instead of `100 Continue`."""
    async with held(narrow, provider, LARGE):
        reader, writer = await asyncio.open_connection("127.0.0.1", narrow.port)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % (SMALL + 1))
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_the_largest_body_always_passes(
    narrow: Plane, provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little all files may take: four of the largest."""
    monkeypatch.setattr(bodies, "FILES_MOST", 0)
    assert (await sent(narrow, large(LARGE), "length")).status == 200
