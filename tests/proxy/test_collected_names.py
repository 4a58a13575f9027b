"""A model of Google's is one model, with `models/` before its name or without."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.proxy.plane import CHAT, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream

OPENAI = ("/v1beta/openai/chat/completions", "/v1/chat/completions")
LIMIT = {"requests": 2, "per": "minute", "model": "pro"}
WEB = {"Authorization": "Bearer web-token"}


async def ok(exchange: Exchange) -> None:
    await exchange.reply(b'{"id":"x","object":"chat.completion","choices":[]}')


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with RawUpstream(ok) as raw:
        yield raw


def google(upstream: RawUpstream, **said: Any) -> dict[str, Any]:
    (key,) = new_keys(1)
    keys = [{"id": "a", "secret": key}]
    return {"provider": "gemini", "base_url": upstream.url, "keys": keys, "max_wait": "0s"} | said


@pytest.mark.parametrize(
    ("path", "model"),
    [*((path, "models/pro") for path in OPENAI), ("/v1/chat/completions", "g/models/pro"),
     ("/pools/g/v1beta/openai/chat/completions", "models/pro")],
)  # fmt: skip
async def test_a_limit_holds_for_both(upstream: RawUpstream, path: str, model: str) -> None:
    """Two of them together, and a third is none of either."""
    async with sidecar({"g": google(upstream, limits=[LIMIT])}) as plane:
        first = await plane.post(path, CHAT | {"model": model})
        assert (first.status, first.headers["x-sidecar-model"]) == (200, "pro")
        native = "/v1beta/models/pro:generateContent"
        assert (await plane.post(native, {"contents": []})).status == 200
        assert (await plane.post(path, CHAT | {"model": model})).status == 429
        assert (await plane.post(path, CHAT | {"model": "flash"})).status == 200
        assert len(upstream.heard) == 3


@pytest.mark.parametrize("path", OPENAI)
async def test_a_route_and_a_client_know_both(upstream: RawUpstream, path: str) -> None:
    clients = [{"id": "web", "token": "web-token", "models": ["pro", "flash"]}]
    routes = {"pro": [{"pool": "g", "model": "lite"}]}
    async with sidecar({"g": google(upstream)}, routes=routes, clients=clients) as plane:
        asked = [(await plane.post(path, CHAT | {"model": f"models/{name}"}, WEB)) for name in ("pro", "flash", "big")]
        assert [reply.status for reply in asked] == [200, 200, 403]
        assert [json.loads(heard.body)["model"] for heard in upstream.heard] == ["lite", "flash"]


async def test_one_that_is_looked_up_is_too(upstream: RawUpstream) -> None:
    """Google lists them so."""
    async with sidecar({"g": google(upstream)}) as plane:
        reply = await plane.send("GET", "/v1beta/openai/models/models/pro")
        assert (reply.headers["x-sidecar-model"], upstream.heard[0].target) == ("pro", b"/v1beta/openai/models/pro")


async def test_below_a_pool_a_body_stays_as_it_is(upstream: RawUpstream) -> None:
    """Only its API knows where the name must have `models/`: that of a cached content must."""
    async with sidecar({"g": google(upstream)}) as plane:
        body = b'{"model": "models/pro", "contents": []}'
        reply = await plane.post("/pools/g/v1beta/cachedContents", body)
        assert (reply.headers["x-sidecar-model"], upstream.heard[0].body) == ("pro", body)


async def test_elsewhere_a_model_may_be_called_so(upstream: RawUpstream) -> None:
    """As a server calls one that it reads from a folder of that name."""
    clients = [{"id": "web", "token": "web-token", "models": ["models/a"]}]
    own = pool(upstream.url, new_keys(1), limits=[LIMIT | {"model": "models/a"}], max_wait="0s")
    async with sidecar({"own": own, "g": google(upstream)}, clients=clients) as plane:
        asked = [await plane.chat(WEB, model="models/a") for _ in range(3)]
        assert [reply.status for reply in asked] == [200, 200, 429]
        assert {json.loads(heard.body)["model"] for heard in upstream.heard} == {"models/a"}
        assert (await plane.chat(WEB, model="a")).status == 403
