"""What Google has cached for one model is of no use to another, whichever a route would take."""

from __future__ import annotations

import json

import pytest

from tests.proxy.plane import new_keys, sidecar
from tests.proxy.raw import Exchange, RawUpstream

CACHES = [{"pool": "g", "model": "gemini-2.5-flash"}, {"pool": "g", "model": "gemini-2.5-pro"}]
LISTED = '{"cachedContents": [{"name": "%s", "model": "models/gemini-2.5-flash"}]}'


@pytest.mark.parametrize("keys", [1, 3])
@pytest.mark.parametrize("weights", [(1, 1), ()], ids=["shared", "ordered"])
async def test_a_cache_is_of_its_model_too(keys: int, weights: tuple[int, ...]) -> None:
    """Also where there is one account, the route's first model has no room, or a list has shown it since."""
    cache = "cachedContents/abc123def456"

    async def answer(exchange: Exchange) -> None:
        model = json.loads(exchange.body or b"{}").get("model", "")
        made = json.dumps({"name": cache, "model": model})
        await exchange.reply((LISTED % cache if exchange.head.startswith(b"GET") else made).encode())

    routes = [one | {"weight": weight} for one, weight in zip(CACHES, weights, strict=True)] if weights else CACHES
    limits = [{"requests": 3, "per": "minute", "model": "gemini-2.5-flash"}]
    async with RawUpstream(answer) as upstream:
        own = {"provider": "gemini", "base_url": upstream.url, "max_wait": "0s", "limits": limits}
        named = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(new_keys(keys))]
        async with sidecar({"g": own | {"keys": named}}, routes={"fast": routes}) as plane:
            made = await plane.post("/v1beta/cachedContents", {"model": "models/fast", "contents": []})
            assert made.status == 200
            of = made.headers["x-sidecar-model"]
            assert (await plane.send("GET", "/v1beta/cachedContents")).status == 200
            asked = {"contents": [], "cachedContent": cache}
            got = [await plane.post("/v1beta/models/fast:generateContent", asked) for _ in range(3)]
            answered = [reply for reply in got if reply.status == 200]
            assert {reply.headers["x-sidecar-model"] for reply in answered} == {of}
            assert len(answered) == (2 if of == "gemini-2.5-flash" else 3)
            for refused in got[len(answered) :]:
                assert refused.status == 429
                assert "is for gemini-2.5-flash alone" in refused.data["error"]["message"]
