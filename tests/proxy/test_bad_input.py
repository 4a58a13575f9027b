"""Bad input: a clear error in the caller's dialect, no grant lost, nothing sent, and the process lives on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, Reply, new_keys, pool, sidecar
from tests.proxy.shapes import shape

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
SAID = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider(new_keys(4)) as provider:
        yield provider


@pytest.fixture
async def three(provider: StrictProvider) -> AsyncIterator[Plane]:
    """A pool a dialect: `oai`, `ant` and `gem`; a body may have 100,000 bytes."""
    one, two, three, _ = provider.accounts
    pools = {
        "oai": pool(provider.url, [one]),
        "ant": pool(provider.url, [two], dialect="anthropic") | {"base_url": provider.url},
        "gem": pool(provider.url, [three], dialect="gemini") | {"base_url": provider.url},
    }
    async with sidecar(pools, max_body=100_000) as plane:
        yield plane


async def unharmed(plane: Plane, provider: StrictProvider) -> None:
    """Nothing was sent, and the next grant of every rotation is its first."""
    assert provider.arrivals == []
    assert (await plane.chat()).grant == 0
    assert (await plane.post("/v1/messages", CHAT | {"max_tokens": 9})).grant == 0
    assert (await plane.post(GENERATE, {"contents": []})).grant == 0


def told(reply: Reply, status: int, dialect: str) -> str:
    """The error's words, after a look at its status, its dialect and what every answer carries."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-sidecar-request-id"]
    assert (reply.attempts, reply.headers["x-sidecar-waited-ms"]) == (0, "0")
    assert "x-sidecar-key" not in reply.headers
    assert shape(reply.data) == dialect
    message: str = reply.data["error"]["message"]
    return message


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "openai"),
        ("/chat/completions", "openai"),
        ("/v1/completions", "openai"),
        ("/v1/embeddings", "openai"),
        ("/v1beta/openai/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'model': 'gpt-4o'}",
        b"not json",
        b'{"model": "gpt-4o"} trailing',
        b"\xff\xfe{}",
        b'{"model": "gpt-4o",}',
        b'["model"]',
        b'"gpt-4o"',
        b"null",
        b"{}",
        b'{"model": null}',
        b'{"model": 4}',
        b'{"model": ["gpt-4o"]}',
        b'{"model": {"name": "gpt-4o"}}',
        b'{"model": ""}',
        b'{"Model": "gpt-4o"}',
        b'{"model": "a\\nb"}',
        b'{"model": "a\\u0000b"}',
        b'{"model": "%s"}' % (b"x" * 257),
        b'{"messages": ' + b"[" * 50_000,
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
async def test_a_body_without_a_model_that_can_be_read_is_400(
    three: Plane, provider: StrictProvider, path: str, dialect: str, body: bytes
) -> None:
    assert told(await three.post(path, body), 400, dialect)
    await unharmed(three, provider)


async def test_a_malformed_body_of_gemini_is_400_too(three: Plane, provider: StrictProvider) -> None:
    """Its model is in the path; its body is read all the same, or sent as it is: never a crash."""
    for body in (b"{", b"not json", b"[1]"):
        reply = await three.post(GENERATE, body)
        assert reply.status == 400
        assert shape(reply.data) == "gemini"


@pytest.mark.parametrize(
    ("path", "body", "dialect", "words"),
    [
        ("/v1/chat/completions", CHAT | {"model": "nope/x"}, "openai", "nope/x"),
        ("/v1/chat/completions", CHAT | {"model": "gpt-4p"}, "openai", "gpt-4o"),
        ("/v1/messages", CHAT | {"model": "claude-9"}, "anthropic", "claude"),
        (GENERATE.replace("gemini-2.0-flash", "unknown"), {"contents": []}, "gemini", "unknown"),
    ],
)
async def test_an_unknown_model_is_404_and_says_what_is_served(
    provider: StrictProvider, path: str, body: Any, dialect: str, words: str
) -> None:
    """With two pools of every dialect, a bare name that none of them names leads nowhere."""
    first, second, *_ = provider.accounts
    routes = {"gpt-4o": [{"pool": "a"}], "claude-3": [{"pool": "c"}], "gemini-2.0-flash": [{"pool": "e"}]}
    pools = {
        name: pool(provider.url, [secret], dialect=kind) | {"base_url": provider.url}
        for kind, names in (("openai", "ab"), ("anthropic", "cd"), ("gemini", "ef"))
        for name, secret in zip(names, (first, second), strict=True)
    }
    async with sidecar(pools, routes=routes) as plane:
        message = told(await plane.post(path, body), 404, dialect)
        assert words in message
        assert "Served: " in message
        assert provider.arrivals == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v2/models"),
        ("POST", "/chatter"),
        ("POST", "/v1"),
        ("GET", "/favicon.ico"),
        ("GET", "/admin/v1/keys"),
        ("GET", "/pools/"),
        ("GET", "/pools/none/v1/models"),
        ("GET", "/pools/%6Fai/v1/models"),
    ],
)
async def test_an_unknown_path_is_404(three: Plane, provider: StrictProvider, method: str, path: str) -> None:
    assert told(await three.send(method, path), 404, "openai")
    await unharmed(three, provider)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [("/v1/chat/completions", "openai"), ("/v1/messages", "anthropic"), (GENERATE, "gemini")],
)
async def test_what_a_client_may_not_send_is_refused_in_its_dialect(
    three: Plane, provider: StrictProvider, path: str, dialect: str
) -> None:
    """A body too large, a coding unknown, a foreign host or page, a method that is not forwarded, an upgrade."""
    large = json.dumps(SAID | {"model": "m", "x": "y" * 100_000}).encode()
    told(await three.post(path, large), 413, dialect)
    told(await three.post(path, b"{}", {"Content-Encoding": "br"}), 415, dialect)
    told(await three.post(path, b"junk", {"Content-Encoding": "gzip"}), 400, dialect)
    told(await three.post(path, CHAT, {"Host": "evil.example"}), 403, dialect)
    told(await three.post(path, CHAT, {"Origin": "https://evil.example"}), 403, dialect)
    told(await three.post(path, CHAT, {"Origin": "null"}), 403, dialect)
    told(await three.post(path, CHAT, {"x-sidecar-max-wait": "soon"}), 400, dialect)
    told(await three.post(path, CHAT, {"Connection": "Upgrade", "Upgrade": "websocket"}), 501, dialect)
    refused = await three.send("OPTIONS", path)
    told(refused, 405, dialect)
    assert "POST" in refused.headers["allow"]
    told(await three.send("TRACE", path), 405, dialect)
    await unharmed(three, provider)


@pytest.mark.parametrize("host", ["localhost:4000", "127.0.0.1", "[::1]:4000", "10.1.2.3", "app.localhost", "api.mine"])
async def test_hosts_of_this_machine_and_listed_ones_are_served(provider: StrictProvider, host: str) -> None:
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}, hosts=["api.mine"]) as plane:
        assert (await plane.chat({"Host": host, "Origin": "http://localhost:3000"})).status == 200
        assert (await plane.chat({"Host": host, "Origin": "https://api.mine"})).status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Absurd: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /v1/models?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + b"X-Many: 1\r\n" * 500 + b"\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nno colon here\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nBad Name: 1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"POST /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"NONSENSE\r\n\r\n",
    ],
    ids=lambda data: repr(data[:40]),
)
async def test_malformed_http_is_400_in_json_and_hurts_nobody_else(
    three: Plane, provider: StrictProvider, request_bytes: bytes
) -> None:
    """An absurd header, a smuggled length, TLS on a plain port: answered, closed, and not forwarded."""
    said = await asyncio.wait_for(three.speak(request_bytes), 5)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert shape(json.loads(body)) == "openai"
    await unharmed(three, provider)


async def test_a_chunked_body_that_breaks_is_400(three: Plane, provider: StrictProvider) -> None:
    said = await three.speak(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nno chunk\r\n"
    )
    assert b" 400 " in said.partition(b"\r\n")[0]
    assert shape(json.loads(said.partition(b"\r\n\r\n")[2])) == "openai"
    await unharmed(three, provider)


async def test_bytes_that_are_no_text_harm_nobody(three: Plane, provider: StrictProvider) -> None:
    """In a header, in the path and in the query: forwarded as they are or refused, never a crash."""
    for line in (b"GET /v1/files/\xff\xfe HTTP/1.1", b"GET /v1/files?q=\xff\xfe HTTP/1.1", b"GET /v1/files HTTP/1.1"):
        said = await three.speak(line + b"\r\nHost: localhost\r\nX-Odd: caf\xe9 \xff\r\nConnection: close\r\n\r\n")
        assert said.split(b" ")[1] in {b"200", b"400"}, said
    assert (await three.chat()).status == 200


async def test_a_connection_goes_on_after_an_error(three: Plane, provider: StrictProvider) -> None:
    """What was refused with its body read leaves the connection good, also for requests that were sent behind it."""
    bad, good = b"{", json.dumps(CHAT).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s"
    said = await three.speak(
        request % (b"", len(bad), bad)
        + request % (b"", 1, b"{")
        + request % (b"Connection: close\r\n", len(good), good)
    )
    assert said.count(b"HTTP/1.1 400 ") == 2
    assert said.count(b"HTTP/1.1 200 ") == 1
    assert len(provider.arrivals) == 1


async def test_a_connection_with_an_unwanted_rest_is_closed(three: Plane, provider: StrictProvider) -> None:
    """What is still to come of a body that nobody reads would be taken for the next request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", three.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n{")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()
    writer.close()
    await unharmed(three, provider)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/health/ready?x=1"])
@pytest.mark.parametrize("method", ["OPTIONS", "POST", "DELETE"])
async def test_a_page_is_read_and_nothing_else(three: Plane, method: str, path: str) -> None:
    reply = await three.send(method, path, {}, b"x" if method == "POST" else None)
    told(reply, 405, "openai")
    assert reply.headers["allow"] == "GET, HEAD"


async def test_a_name_in_the_body_that_is_no_text_takes_no_grant(three: Plane, provider: StrictProvider) -> None:
    """Gemini's nested requests name the model again, and it must change where a pool is named in front."""
    path = "/v1beta/models/gem%2Fm:batchEmbedContents"
    told(await three.post(path, b'{"requests":[{"model":"\xff\xfe"}]}'), 400, "gemini")
    assert (await three.post(path, b'{"requests":[{"model":"models/gem/m"}]}')).grant == 0


async def test_head_of_a_list_of_models_is_answered_here(three: Plane, provider: StrictProvider) -> None:
    """As GET is, and without a body."""
    reply = await three.send("HEAD", "/v1/models")
    assert (reply.status, reply.attempts, reply.body) == (200, 0, b"")
    await unharmed(three, provider)


async def test_a_pool_without_a_key_for_the_model_says_so(provider: StrictProvider) -> None:
    """404, as by any other way to it: nothing was tried, so nothing is out of reach."""
    keys = [{"id": "k0", "secret": next(iter(provider.accounts)), "models": ["gpt-4o*"]}]
    async with sidecar({"own": {"base_url": f"{provider.url}/v1", "dialect": "openai", "keys": keys}}) as plane:
        message = told(await plane.post("/pools/own/chat/completions", CHAT | {"model": "o1"}), 404, "openai")
        assert '"o1"' in message
        assert "without a model" in told(await plane.post("/pools/own/files", b"{}"), 404, "openai")
        assert (await plane.post("/pools/own/chat/completions", CHAT)).status == 200
    assert len(provider.arrivals) == 1
