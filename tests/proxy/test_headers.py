"""What of a request's and an answer's headers crosses the sidecar."""

from __future__ import annotations

import json

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

BODY = json.dumps(CHAT).encode()


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b'{"choices": []}')


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"Authorization": "Bearer of-the-client"}, ""),
        ({"authorization": "Basic of-the-client"}, ""),
        ({"X-Api-Key": "of-the-client"}, ""),
        ({"x-goog-api-key": "of-the-client"}, ""),
        ({"api-key": "of-the-client"}, ""),
        ({}, "?key=of-the-client"),
        ({}, "?a=1&key=of-the-client&b=2"),
        ({}, "?%6Bey=of-the-client"),
        ({"Authorization": "Bearer of-the-client", "X-Api-Key": "of-the-client"}, "?key=of-the-client"),
        ({}, ""),
    ],
)
async def test_the_clients_credential_is_replaced_by_exactly_one_key(headers: dict[str, str], query: str) -> None:
    secrets = new_keys(1)
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, secrets)}) as plane:
        answer = await plane.post(f"/v1/chat/completions{query}", CHAT, headers)
        assert answer.status == 200
        (heard,) = upstream.heard
        assert b"of-the-client" not in heard.head
        assert heard.header("authorization") == [f"Bearer {secrets[0]}"]
        assert heard.head.count(secrets[0].encode()) == 1
        assert not {"x-api-key", "x-goog-api-key", "api-key"} & {name for name, _ in heard.headers}


async def test_repeated_credentials_are_all_stripped() -> None:
    """A header sent twice does not slip through as its second value."""
    secrets = new_keys(1)
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, secrets)}) as plane:
        await plane.speak(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Authorization: Bearer one\r\nauthorization: Bearer two\r\nX-API-KEY: three\r\nx-api-key: four\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        )
        assert upstream.heard[0].header("authorization") == [f"Bearer {secrets[0]}"]
        assert upstream.heard[0].header("x-api-key") == []


@pytest.mark.parametrize(
    ("dialect", "path", "body", "expected"),
    [
        ("anthropic", "/v1/messages", CHAT | {"max_tokens": 9}, "x-api-key"),
        ("gemini", "/v1beta/models/gemini-2.0-flash:generateContent", {"contents": []}, "x-goog-api-key"),
    ],
)
async def test_each_dialect_presents_the_key_in_its_own_header(
    dialect: str, path: str, body: object, expected: str
) -> None:
    secrets = new_keys(1)
    async with RawUpstream(ok) as upstream:
        own = pool(upstream.url, secrets, dialect=dialect) | {"base_url": upstream.url}
        async with sidecar({"own": own}) as plane:
            answer = await plane.post(path, body, {"Authorization": "Bearer x", "x-goog-api-key": "y"})
            assert answer.status == 200
            assert upstream.heard[0].header(expected) == [secrets[0]]
            assert upstream.heard[0].head.count(secrets[0].encode()) == 1
            assert upstream.heard[0].header("authorization") == []


async def test_a_pools_own_auth_takes_the_place_of_the_dialects() -> None:
    """A header of its own name, a query field, or no credential at all."""
    secrets = ["s3cret/with+signs&more"]
    async with RawUpstream(ok) as upstream:
        own = {"base_url": upstream.url, "keys": [{"id": "a", "secret": secrets[0]}]}
        pools = {
            "header": own | {"auth": {"header": "x-token"}},
            "query": own | {"auth": {"query": "sig"}},
            "none": own | {"auth": "none"},
        }
        async with sidecar(pools) as plane:
            await plane.send("GET", "/pools/header/a?b=1", {"x-token": "of-the-client"})
            await plane.send("GET", "/pools/query/a?b=1&sig=of-the-client")
            await plane.send("GET", "/pools/none/a?b=1")
        header, query, none = upstream.heard
        assert header.header("x-token") == secrets
        assert query.target == b"/a?b=1&sig=s3cret%2Fwith%2Bsigns%26more"
        assert none.target == b"/a?b=1"
        assert b"s3cret" not in none.head


async def test_what_belongs_to_the_clients_connection_or_account_stays_behind() -> None:
    headers = {
        "Connection": "keep-alive, X-Mine",
        "X-Mine": "hop",
        "Keep-Alive": "timeout=5",
        "TE": "trailers",
        "Trailer": "X-Sum",
        "Proxy-Authorization": "Basic abc",
        "Proxy-Connection": "keep-alive",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "proj-1",
        "x-goog-user-project": "p",
        "Cookie": "session=1",
        "x-sidecar-max-wait": "1",
        "X-Sidecar-Anything": "1",
    }
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.chat(headers)).status == 200
        names = {name for name, _ in upstream.heard[0].headers}
        assert not names & ({name.lower() for name in headers} - {"connection"})
        assert not [value for value in upstream.heard[0].header("connection") if "mine" in value.lower()]
        assert upstream.heard[0].header("host") == [upstream.url.removeprefix("http://")]


async def test_an_offer_of_http_2_is_passed_over() -> None:
    """Some clients make it with every first request on a plain connection; it binds nobody."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"}
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        assert (await plane.chat(offer)).status == 200
        assert not {"upgrade", "http2-settings"} & {name for name, _ in upstream.heard[0].headers}


async def test_all_other_headers_pass_as_they_are() -> None:
    """Values, repetitions and an empty one; and nothing is invented where the client said nothing."""
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        await plane.speak(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"X-Twice: one\r\nX-Twice: two, three\r\nX-Empty:\r\nIdempotency-Key: k-1\r\nOpenAI-Beta: assistants=v2\r\n"
            b"User-Agent: mine/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(BODY), BODY)
        )
        heard = upstream.heard[0]
        assert heard.header("x-twice") == ["one", "two, three"]
        assert heard.header("x-empty") == [""]
        assert heard.header("idempotency-key") == ["k-1"]
        assert heard.header("openai-beta") == ["assistants=v2"]
        assert heard.header("user-agent") == ["mine/1.0"]
        assert heard.header("accept") == ["*/*"]
        await plane.send("GET", "/v1/files")
        assert {name for name, _ in upstream.heard[1].headers} == {"host", "authorization", "accept-encoding"}


@pytest.mark.parametrize(
    ("accepted", "sent"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate"),
        ("br", "identity"),
        ("gzip", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        (None, "identity"),
    ],
)
async def test_the_provider_may_compress_only_so_that_the_sidecar_can_read_along(
    accepted: str | None, sent: str
) -> None:
    async with RawUpstream(ok) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        await plane.chat({"Accept-Encoding": accepted} if accepted else None)
        assert upstream.heard[0].header("accept-encoding") == [sent]


async def test_an_answers_own_headers_pass_and_those_of_one_hidden_key_do_not() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(
            b'{"choices": []}',
            "201 Made",
            "X-Request-Id: req-1",
            "OpenAI-Processing-Ms: 12",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
            "X-RateLimit-Remaining-Requests: 1",
            "x-ratelimit-reset-tokens: 6ms",
            "anthropic-ratelimit-requests-limit: 5",
            "Keep-Alive: timeout=5",
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "Proxy-Authenticate: Basic",
            "x-sidecar-key: forged",
        )

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}) as plane:
        reply = await plane.chat()
        assert reply.status == 201
        assert reply.headers["x-request-id"] == "req-1"
        assert reply.headers["openai-processing-ms"] == "12"
        assert reply.headers.getall("set-cookie") == ["a=1", "b=2"]
        assert reply.headers.getall("x-sidecar-key") == ["k0"]
        dropped = ("x-ratelimit-", "anthropic-ratelimit-", "keep-alive", "x-hop", "proxy-authenticate")
        assert not [name for name in reply.headers if name.lower().startswith(dropped)]


async def test_an_answer_says_which_grant_it_is(plane: Plane, provider: StrictProvider) -> None:
    """Pool, key, model, number, attempts and wait; each key in its turn."""
    replies = [await plane.chat() for _ in range(4)]
    assert [(reply.key, reply.grant, reply.attempts) for reply in replies] == [
        ("k0", 0, 1),
        ("k1", 1, 1),
        ("k2", 2, 1),
        ("k0", 3, 1),
    ]
    for reply in replies:
        assert reply.headers["x-sidecar-pool"] == "chat"
        assert reply.headers["x-sidecar-model"] == "gpt-4o"
        assert reply.headers["x-sidecar-waited-ms"] == "0"
        assert reply.headers["x-sidecar-request-id"]
    assert len({reply.headers["x-sidecar-request-id"] for reply in replies}) == 4
    assert list(provider.counts().values()) == [2, 1, 1]
