"""Paths and queries go upstream as the client wrote them; what is no plain path goes nowhere."""

from __future__ import annotations

import json

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.shapes import shape


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b"{}")


@pytest.mark.parametrize(
    "target",
    [
        "/files/a%2Fb%2fc",
        "/files/a+b;c=d,e:f@g!$&'()*~",
        "/files/%41%zz%",
        "/files//double///",
        "/files/%E4%BD%A0%E5%A5%BD",
        "/files/a.b..c/...",
        "/files/?",
        "/files?a=1&a=2&b",
        "/files?a=%2F+%20;x&&=&c=%26",
        "/files?q=what?ever/../x",
        "/files??x",
        "/files?url=http://other.example/%00",
    ],
)
async def test_path_and_query_arrive_byte_for_byte(target: str) -> None:
    async with (
        RawUpstream(ok) as upstream,
        sidecar({"own": {"base_url": f"{upstream.url}/base", "keys": [{"id": "a", "secret": "sk-aaaa"}]}}) as plane,
    ):
        said = await plane.speak(
            f"GET /pools/own{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        assert said.startswith(b"HTTP/1.1 200 ")
        assert upstream.heard[0].target.decode().removesuffix("?") == f"/base{target}".removesuffix("?")


@pytest.mark.parametrize(
    ("base", "path", "arrives"),
    [
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/openai/v1", "/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/v1", "/v1/chat/completions?api-version=1", "/v1/chat/completions?api-version=1"),
        ("/v1", "/v1beta/openai/chat/completions", "/v1/chat/completions"),
    ],
)
async def test_a_version_that_base_url_and_path_both_name_stands_once(base: str, path: str, arrives: str) -> None:
    async with RawUpstream(ok) as upstream:
        own = pool(upstream.url, new_keys(1)) | {"base_url": upstream.url + base}
        async with sidecar({"chat": own}) as plane:
            assert (await plane.post(path, CHAT)).status == 200
            assert upstream.heard[0].target.decode() == arrives


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/../admin", "openai"),
        ("/v1/files/..", "openai"),
        ("/v1/files/./x", "openai"),
        ("/v1/files/%2e%2e/x", "openai"),
        ("/v1/files/.%2E/x", "openai"),
        ("/v1/files/%252e%252e/x", "openai"),
        ("/v1/files/%%%332e%%%332e/x", "openai"),
        ("/v1/files/..%2fx", "openai"),
        ("/v1/files/..%5cx", "openai"),
        ("/v1/files/a\\b", "openai"),
        ("/v1/files/a%00b", "openai"),
        ("/v1/files/a%0d%0aX-Injected:%201", "openai"),
        ("/pools/chat/../../x", "openai"),
        ("/v1/messages/../x", "anthropic"),
        ("/v1beta/models/../../x", "gemini"),
    ],
)
async def test_dot_segments_backslashes_and_controls_are_refused(
    plane: Plane, provider: StrictProvider, path: str, dialect: str
) -> None:
    reply = await plane.send("GET", path)
    assert reply.status == 400
    assert shape(reply.data) == dialect
    assert provider.arrivals == []


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://evil.example/v1/models HTTP/1.1",
        b"POST https://localhost/v1/chat/completions HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET * HTTP/1.1",
        b"CONNECT evil.example:443 HTTP/1.1",
    ],
)
async def test_only_a_path_is_a_target(plane: Plane, provider: StrictProvider, line: bytes) -> None:
    """Absolute, asterisk and authority form are refused with words, and nobody is called."""
    said = await plane.speak(line + b"\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert said.split(b" ")[1] in {b"400", b"405"}
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert provider.arrivals == []
    assert (await plane.chat()).grant == 0


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "GET", "HEAD"])
async def test_every_method_is_forwarded(method: str) -> None:
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.send(method, "/v1/files/file-1", data=b"{}" if method in {"PUT", "PATCH"} else None)
        assert reply.status == 200
        assert upstream.heard[0].head.startswith(f"{method} /v1/files/file-1 HTTP/1.1\r\n".encode())
        assert upstream.heard[0].body == (b"{}" if method in {"PUT", "PATCH"} else b"")


async def test_a_head_answer_keeps_the_length_it_tells() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4711\r\nContent-Type: text/plain\r\n\r\n")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.send("HEAD", "/v1/files/file-1/content")
        assert (reply.status, reply.headers["content-length"], reply.body) == (200, "4711", b"")
        assert (await plane.send("HEAD", "/v1/files/file-1/content")).grant == 1


async def test_an_answer_without_a_body_stays_one() -> None:
    """204 and 304 have neither length nor bytes, and the connection goes on."""

    async def answer(exchange: Exchange) -> None:
        status = b"204 No Content" if b"DELETE" in exchange.head else b"304 Not Modified"
        await exchange.say(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        for grant, (method, status) in enumerate([("DELETE", 204), ("GET", 304), ("DELETE", 204)]):
            reply = await plane.send(method, "/v1/files/file-1")
            assert (reply.status, reply.body, reply.grant) == (status, b"", grant)
            assert reply.headers["etag"] == "x"
            assert "transfer-encoding" not in reply.headers


async def test_redirects_are_not_followed() -> None:
    """The key would go to whatever host the answer names."""

    async def answer(exchange: Exchange) -> None:
        await exchange.reply(b"moved", "307 Moved", "Location: http://127.0.0.1:1/evil", "Content-Type: a/b")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.headers["location"], reply.body) == (307, "http://127.0.0.1:1/evil", b"moved")
        assert len(upstream.heard) == 1


async def test_no_proxy_or_netrc_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key goes to the configured host and nowhere else."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.chat()).status == 200
        assert upstream.heard[0].target == b"/v1/chat/completions"
