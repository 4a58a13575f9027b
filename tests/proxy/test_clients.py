"""Who may call, what a caller can ask for, and the pages beside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.model.events import Answered
from sidecar.model.tokens import digest
from sidecar.ops import clients
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, pool, sidecar
from tests.proxy.shapes import shape

GENERATE = "/v1beta/models/gemini-2.0-flash:generateContent"
CLIENTS = [{"id": "web", "token": "virtual-web-token"}, {"id": "batch", "token": "virtual-batch-token"}]


@pytest.fixture
async def guarded(provider: StrictProvider) -> AsyncIterator[Plane]:
    """A pool a dialect, two clients, a route and some models by name."""
    one, two, three = provider.accounts
    pools = {
        "oai": pool(provider.url, [one], limits=[{"requests": 1000, "per": "minute", "model": "gpt-4o-mini"}]),
        "ant": pool(provider.url, [two], dialect="anthropic") | {"base_url": provider.url},
        "gem": pool(provider.url, [three], dialect="gemini") | {"base_url": provider.url},
    }
    routes = {"gpt-4": [{"pool": "oai", "model": "gpt-4o"}], "claude-*": [{"pool": "ant"}]}
    async with sidecar(pools, routes=routes, clients=CLIENTS) as plane:
        yield plane


@pytest.mark.parametrize(
    ("path", "body", "headers", "query"),
    [
        ("/v1/chat/completions", CHAT, {"Authorization": "Bearer virtual-web-token"}, ""),
        ("/v1/chat/completions", CHAT, {"authorization": "bearer  virtual-web-token "}, ""),
        ("/v1/messages", CHAT | {"model": "claude-3"}, {"x-api-key": "virtual-web-token"}, ""),
        (GENERATE, {"contents": []}, {"x-goog-api-key": "virtual-web-token"}, ""),
        (GENERATE, {"contents": []}, {}, "?key=virtual-web-token"),
        ("/v1/chat/completions", CHAT, {"x-api-key": "virtual-web-token", "Authorization": "Bearer sk-other"}, ""),
    ],
)
async def test_a_client_is_known_by_its_token_wherever_its_dialect_puts_it(
    guarded: Plane, path: str, body: object, headers: dict[str, str], query: str
) -> None:
    assert (await guarded.post(path + query, body, headers)).status == 200
    assert (await guarded.answered()).client == "web"


async def test_white_space_before_a_body_hides_nothing_of_it(provider: StrictProvider) -> None:
    """It is JSON all the same, and a provider reads it so: limits of a model hold, and so do the names of a client."""
    limit = {"requests": 1, "per": "minute", "model": "gpt-5-pro"}
    two = [CLIENTS[0] | {"limits": [limit]}, CLIENTS[1] | {"models": ["gpt-5-pro"]}]
    twice = b'{"model": "gpt-4o", "messages": [], "model": "gpt-5-pro"}'
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, clients=two) as plane:
        headers = {"Authorization": "Bearer virtual-web-token", "x-sidecar-max-wait": "0"}
        body = b"\n" * 64 + b'{"model": "gpt-5-pro", "messages": []}'
        for path, status in (
            ("/v1/chat/completions", 200),
            ("/pools/chat/chat/completions", 429),
            ("/v1/unknown", 429),
        ):
            reply = await plane.post(path, body, headers | {"Content-Type": "text/plain"})
            assert (path, reply.status) == (path, status)
        other = {"Authorization": "Bearer virtual-batch-token"}
        assert (await plane.post("/v1/chat/completions", b" " * 99 + twice, other)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "virtual-web-toke"},
        {"Authorization": "Bearer virtual-web-token2"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer VIRTUAL-WEB-TOKEN"},
        {"x-api-key": "web"},
        {"Cookie": "virtual-web-token"},
    ],
)
@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
        (GENERATE, "gemini"),
        ("/pools/oai/x", "openai"),
    ],
)
async def test_anybody_else_is_refused_in_his_dialect(
    guarded: Plane, provider: StrictProvider, headers: dict[str, str], path: str, dialect: str
) -> None:
    """Before the body is looked at, and nothing is sent."""
    reply = await guarded.post(path, b"not json", headers)
    assert (reply.status, shape(reply.data), reply.attempts) == (401, dialect, 0)
    assert provider.arrivals == []
    assert [event.client for event in guarded.of(Answered)] == [""]


async def test_who_sent_no_virtual_key_is_told_so_and_who_sent_another_that_it_is_unknown(guarded: Plane) -> None:
    none = await guarded.post("/v1/chat/completions", b"{}", {})
    other = await guarded.post("/v1/chat/completions", b"{}", {"Authorization": "Bearer sk-other"})
    assert none.data["error"]["message"].startswith("The request has no virtual key:")
    assert other.data["error"]["message"].startswith("The virtual key is unknown:")


async def test_each_dialect_lists_what_it_can_ask_for(guarded: Plane) -> None:
    """Names of routes and of models that pools name; the path decides whose shape, else the header."""
    token = CLIENTS[0]["token"]
    openai = {"Authorization": f"Bearer {token}"}
    for path in ("/v1/models", "/models"):
        listed = (await guarded.send("GET", path, openai)).data
        assert listed["object"] == "list"
        assert {"gpt-4", "gpt-4o-mini"} <= {model["id"] for model in listed["data"]}
        assert {model["object"] for model in listed["data"]} == {"model"}
        assert not [model["id"] for model in listed["data"] if "claude" in model["id"]]
    anthropic = (await guarded.send("GET", "/v1/models", {"x-api-key": token})).data
    assert anthropic["has_more"] is False
    versioned = await guarded.send("GET", "/v1/models", openai | {"anthropic-version": "2023-06-01"})
    assert versioned.data == anthropic
    for reply in (
        await guarded.send("GET", "/v1beta/models", openai),
        await guarded.send("GET", "/v1/models", {"x-goog-api-key": token}),
        await guarded.send("GET", f"/v1/models?key={token}"),
    ):
        assert all(model["name"].startswith("models/") for model in reply.data["models"])
        assert (reply.attempts, reply.headers["x-sidecar-waited-ms"]) == (0, "0")


async def test_the_list_is_the_clients_too(guarded: Plane) -> None:
    assert (await guarded.send("GET", "/v1/models")).status == 401


async def test_pages_are_served_beside(provider: StrictProvider) -> None:
    """Health and metrics on the data plane; they take no grant and are no forwarded request."""
    async with sidecar({"chat": pool(provider.url, [*provider.accounts])}) as plane:
        health = await plane.send("GET", "/health")
        assert (health.status, health.data["status"]) == (200, "healthy")
        assert (await plane.send("GET", "/health/live")).status == 200
        assert b"sidecar_build_info" in (await plane.send("GET", "/metrics")).body
        assert (await plane.send("HEAD", "/health")).body == b""
        assert (await plane.send("GET", "/health", {"Host": "evil.example"})).status == 403
        assert plane.of(Answered) == []
        assert provider.arrivals == []


# --- what a client may use ----------------------------------------------------------------------------


@pytest.fixture
async def bounded(provider: StrictProvider) -> AsyncIterator[Plane]:
    """`web` may use some models, `all` each of them; one key, of which a fifth is kept from batches."""
    clients = [
        {"id": "web", "token": "web-token", "models": ["gpt-4", "gpt-4o-*", "claude-*", "gemini-2.0-*", "ant/*"]},
        {"id": "all", "token": "all-token", "models": ["*"]},
        {"id": "nightly", "token": "nightly-token", "priority": "batch"},
    ]
    one, two, three = provider.accounts
    limits = [{"requests": 5, "per": "minute"}]
    pools = {
        "oai": pool(provider.url, [one], limits=limits, max_wait="0s"),
        "ant": pool(provider.url, [two], dialect="anthropic") | {"base_url": provider.url},
        "gem": pool(provider.url, [three], dialect="gemini") | {"base_url": provider.url},
    }
    routes = {
        "gpt-4": [{"pool": "oai", "model": "gpt-4o"}],
        "gpt-5": [{"pool": "oai"}],
        "gpt-4o-mini": [{"pool": "oai"}],
    }
    async with sidecar(pools, routes=routes, clients=clients) as plane:
        yield plane


def bearer(client: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {client}-token"}


@pytest.mark.parametrize(
    ("path", "body", "dialect", "named"),
    [
        ("/v1/chat/completions", CHAT, "openai", 'the model "gpt-4o"'),
        ("/v1/chat/completions", CHAT | {"model": "oai/gpt-4"}, "openai", 'the model "oai/gpt-4"'),
        ("/v1/messages", CHAT | {"model": "opus"}, "anthropic", 'the model "opus"'),
        ("/v1beta/models/gemini-9:generateContent", {"contents": []}, "gemini", 'the model "gemini-9"'),
        ("/v1/chat/completions", b'{"model": "o3", "m\\u006fdel": "gpt-4"}', "openai", 'the model "o3"'),
        ("/v1/chat/completions", b'{"model": "gpt-4", "model": "o3", "model": "gpt-4"}', "openai", 'the model "o3"'),
        ("/v1/moderations", {"input": "x"}, "openai", "calls that name no model"),
        ("/pools/oai/chat/completions", CHAT | {"model": "gpt-4"}, "openai", "/pools/oai (oai/*)"),
        ("/pools/oai/deployments/gpt-4o/x", {"model": "gpt-4"}, "openai", "/pools/oai (oai/*)"),
    ],
)
async def test_a_model_that_is_not_for_the_client_is_refused_in_his_dialect(
    bounded: Plane, provider: StrictProvider, path: str, body: object, dialect: str, named: str
) -> None:
    """By the name that he asks for, wherever it leads; he is told which he may use, and nothing is spent."""
    reply = await bounded.post(path, body, bearer("web"))
    assert (reply.status, shape(reply.data), reply.attempts) == (403, dialect, 0)
    assert f"Client web may not use {named}. It may use: gpt-4, gpt-4o-*, " in reply.body.decode().replace('\\"', '"')
    assert provider.arrivals == []
    assert ((await bounded.answered()).client, (await bounded.answered()).outcome) == ("web", "model_not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT | {"model": "gpt-4"}),
        ("/v1/chat/completions", CHAT | {"model": "gpt-4o-mini"}),
        ("/v1/messages", CHAT | {"model": "claude-3"}),
        (GENERATE, {"contents": []}),
        ("/pools/ant/v1/messages", CHAT | {"model": "anything"}),
    ],
)
async def test_a_model_that_is_for_the_client_is_served(bounded: Plane, path: str, body: object) -> None:
    """Also one whose route leads to a model that he may not name."""
    assert (await bounded.post(path, body, bearer("web"))).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="model"',
        b'X: %s\r\nContent-Disposition: form-data; name="model"' % (b"x" * 5000),
        b'Content-Disposition: form-data;\r\n name="model"',
        b'Content-Disposition: form-data; filename="; name=x"; name="Model"',
    ],
    ids=["twice", "far", "folded", "quoted"],
)
@pytest.mark.parametrize("last", [False, True])
async def test_a_form_names_no_model_beside_the_one_that_is_for_the_client(
    bounded: Plane, head: bytes, last: bool
) -> None:
    """Whichever of them its reader would find."""
    own, other = b'Content-Disposition: form-data; name="model"\r\n\r\ngpt-4o-mini', head + b"\r\n\r\no1"
    form = bearer("web") | {"Content-Type": "multipart/form-data; boundary=x"}
    told = []
    for parts in ([own], [own, other] if last else [other, own]):
        body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
        told.append(await bounded.post("/v1/audio/transcriptions", body, form))
    assert [reply.status for reply in told] == [200, 403]
    assert 'may not use the model \\"o1\\"' in told[1].body.decode()


async def test_who_may_use_every_model_may_name_none(bounded: Plane) -> None:
    assert (await bounded.post("/v1/moderations", {"input": "x"}, bearer("all"))).status == 200
    assert (await bounded.chat(bearer("nightly"))).status == 200


async def test_a_client_sees_what_it_may_ask_for(bounded: Plane) -> None:
    listed = (await bounded.send("GET", "/v1/models", bearer("web"))).data
    assert [model["id"] for model in listed["data"]] == ["gpt-4", "gpt-4o-mini"]
    every = (await bounded.send("GET", "/v1/models", bearer("all"))).data
    assert [model["id"] for model in every["data"]] == ["gpt-4", "gpt-5", "gpt-4o-mini", "gpt-4o"]
    assert (await bounded.send("GET", "/v1/models/gpt-5", bearer("web"))).status == 403


async def test_a_batch_client_leaves_a_share_to_the_others_whatever_it_says(bounded: Plane) -> None:
    """Of five a minute a batch gets four. A header lowers a request and raises none."""
    wanted = {"x-sidecar-priority": "interactive"}
    sent = [(await bounded.chat(bearer("nightly") | wanted)).status for _ in range(5)]
    assert sent == [200, 200, 200, 200, 429]
    assert (await bounded.chat(bearer("all") | {"x-sidecar-priority": "batch"})).status == 429
    assert (await bounded.chat(bearer("all"))).status == 200


async def test_a_token_that_has_expired_says_so_and_its_successor_serves(provider: StrictProvider) -> None:
    """Whoever presents it had the real one, so it is told whose it was; a guess is told nothing."""
    tokens = [
        {"token_hash": f"sha256:{digest('former')}", "expires": "2020-01-31"},
        {"token_hash": f"sha256:{digest('present')}", "expires": "9999-12-31"},
    ]
    pools = {"chat": pool(provider.url, [*provider.accounts])}
    async with sidecar(pools, clients=[{"id": "web", "tokens": tokens}]) as plane:
        reply = await plane.chat({"Authorization": "Bearer former"})
        assert (reply.status, reply.data["error"]["code"]) == (401, "expired_api_key")
        assert "client web has expired" in reply.data["error"]["message"]
        assert (await plane.chat({"Authorization": "Bearer present"})).status == 200
        guess = await plane.chat({"Authorization": f"Bearer sha256:{digest('present')}"})
        assert (guess.status, guess.data["error"]["code"]) == (401, "invalid_api_key")
        assert len(provider.arrivals) == 1


async def test_a_virtual_key_is_no_models_name(provider: StrictProvider) -> None:
    """It would stand in Redis, in logs and metrics; of one that is known by its hash its shape tells."""
    token = "sk-sidecar-" + "Az09_-" * 7 + "x"
    pools = {"chat": pool(provider.url, [*provider.accounts])}
    clients = [{"id": "web", "token_hash": f"sha256:{digest(token)}"}]
    async with sidecar(pools, clients=clients) as plane:
        reply = await plane.chat({"Authorization": f"Bearer {token}"}, model=token)
        assert (reply.status, token in reply.body.decode()) == (400, False)
        assert "holds a secret" in reply.data["error"]["message"]
        assert (await plane.answered()).model == ""


# --- how much it may use ------------------------------------------------------------------------------


@pytest.fixture
async def limited(provider: StrictProvider) -> AsyncIterator[Plane]:
    """Clients with limits of each kind, on pools without one of their own, which wait for nothing."""
    limits = [{"requests": 2, "per": "hour"}]
    callers = [
        {"id": "web", "token": "web-token", "limits": limits},
        {"id": "over", "token": "over-token", "limits": limits, "overage": "allow"},
        {"id": "one", "token": "one-token", "concurrency": 1},
        {"id": "counted", "token": "counted-token", "limits": [{"tokens": 9_000, "per": "calendar_month"}]},
        {"id": "mini", "token": "mini-token", "limits": [{"requests": 1, "per": "hour", "model": "gpt-4"}]},
    ]
    one, two, three = provider.accounts
    pools = {
        "oai": pool(provider.url, [one], max_wait="0s"),
        "ant": pool(provider.url, [two], dialect="anthropic", max_wait="0s") | {"base_url": provider.url},
        "gem": pool(provider.url, [three], dialect="gemini", max_wait="0s") | {"base_url": provider.url},
    }
    async with sidecar(pools, routes={"gpt-4": [{"pool": "oai", "model": "gpt-4o"}]}, clients=callers) as plane:
        yield plane


async def used(plane: Plane, client: str) -> list[tuple[int, int]]:
    """Of each limit of a client what is used and what remains, as `sidecar clients list` says it."""
    config, store = plane.replica.state.config, plane.replica.store
    (found,) = (one for one in (await clients.read(config, store))["clients"] if one["id"] == client)
    return [(limit["used"], limit["remaining"]) for limit in found["limits"]]


@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/v1/chat/completions", CHAT, "openai"),
        ("/v1/messages", CHAT | {"model": "ant/claude-3"}, "anthropic"),
        (GENERATE, {"contents": []}, "gemini"),
    ],
)
async def test_beyond_its_limit_a_client_is_told_when_in_its_dialect_and_nobody_else_is_held_up(
    limited: Plane, provider: StrictProvider, path: str, body: object, dialect: str
) -> None:
    """Over all pools together; nothing was sent, and the next grant has the next number."""
    assert (await limited.post("/v1/chat/completions", CHAT, bearer("web"))).grant == 0
    assert (await limited.post("/v1/messages", CHAT | {"model": "ant/claude-3"}, bearer("web"))).status == 200
    reply = await limited.post(path, body, bearer("web"))
    assert (reply.status, shape(reply.data), reply.attempts) == (429, dialect, 0)
    assert 3590 < int(reply.headers["Retry-After"]) <= 3601
    assert reply.data["error"]["message"].startswith('The client "web" has reached a limit of its own')
    assert (await limited.answered()).outcome == "client_limit_exceeded"
    assert len(provider.arrivals) == 2
    assert (await limited.post("/v1/chat/completions", CHAT, bearer("over"))).grant == 1
    assert await used(limited, "web") == [(2, 0)]


async def test_a_request_is_one_however_many_keys_it_takes(provider: StrictProvider) -> None:
    """Whatever the others answered, or if they broke off; and what it takes more is refused to nobody."""
    callers = [{"id": "web", "token": "web-token", "limits": [{"requests": 2, "per": "hour"}]}]
    provider.faults += [Fault(status=429, times=1), Fault(status=500, times=1), Fault(close="before", times=1)]
    keys = pool(provider.url, list(provider.accounts), max_wait="0s", max_attempts=9)
    async with sidecar({"chat": keys}, clients=callers) as plane:
        first = await plane.chat(bearer("web"))
        assert (first.status, first.attempts) == (200, 4)
        assert await used(plane, "web") == [(1, 1)]
        assert [(await plane.chat(bearer("web"))).status for _ in range(2)] == [200, 429]
        assert len(provider.arrivals) == 5


async def test_where_overage_is_allowed_it_is_counted(limited: Plane) -> None:
    assert [(await limited.chat(bearer("over"))).status for _ in range(3)] == [200, 200, 200]
    assert await used(limited, "over") == [(3, 0)]


async def test_a_client_has_no_more_requests_in_flight_than_it_may(limited: Plane, provider: StrictProvider) -> None:
    provider.faults.append(Fault(hang=True, times=1))
    first = asyncio.create_task(limited.chat(bearer("one")))
    await provider.wait_for(lambda: provider.open == 1)
    reply = await limited.chat(bearer("one"))
    assert (reply.status, "as many requests in flight as it may" in reply.body.decode()) == (429, True)
    assert (await limited.chat(bearer("web"))).status == 200
    provider.release()
    assert (await first).status == 200
    assert (await limited.chat(bearer("one"))).status == 200


async def test_tokens_of_a_client_are_what_its_answers_came_to(limited: Plane) -> None:
    """Reserved by an estimate, then settled: what is left is what the provider's usage leaves."""
    told = [(await limited.chat(bearer("counted"))).data["usage"]["total_tokens"] for _ in range(2)]
    await limited.answered()
    await limited.chat(bearer("one"))  # what is queued goes before it
    assert await used(limited, "counted") == [(sum(told), 9_000 - sum(told))]


async def test_a_limit_of_a_model_is_of_the_name_that_the_client_asks_for(limited: Plane) -> None:
    """Not of the one that a route makes of it."""
    asked = [
        (await limited.chat(bearer("mini"), model=model)).status for model in ("gpt-4o", "gpt-4", "gpt-4o", "gpt-4")
    ]
    assert asked == [200, 200, 200, 429]
