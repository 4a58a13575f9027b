"""Who may call, what a caller can ask for, and the pages beside."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.model.events import Answered
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
