"""Cached answers as clients see them: the same bytes, no key and no budget; never an error, never a part of one."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
import redis

from sidecar.model.events import Answered, KeptChanged, StoreAtRisk
from sidecar.proxy import cache
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.cache import Kept
from tests.proxy.cached import ANSWER, CUT, ONCE_A_MINUTE, cache_of, cached
from tests.proxy.plane import CHAT, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.servers import RedisProcess, free_port


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_is_answered_the_same_without_a_key(provider: StrictProvider, stream: bool) -> None:
    """To the byte, a stream as a stream; and where the budget is spent."""
    async with cached(provider, limits=[ONCE_A_MINUTE], max_wait="0s") as plane:
        first, second = [await plane.chat(stream=stream) for _ in range(2)]
        assert (cache_of(first), cache_of(second)) == ("miss", "hit")
        assert (second.status, second.body) == (200, first.body)
        assert second.headers["content-type"] == first.headers["content-type"]
        assert ("content-length" in second.headers) is not stream
        assert {name: second.headers.get(f"x-sidecar-{name}") for name in ("pool", "key", "model", "grant")} == {
            "pool": "chat",
            "key": None,
            "model": "gpt-4o",
            "grant": None,
        }
        assert (second.attempts, second.headers["x-sidecar-waited-ms"], second.headers["age"]) == (0, "0", "0")
        assert (await plane.chat(stream=stream, seed=1)).status == 429
        assert len(provider.arrivals) == 1
        event = plane.of(Answered)[1]
        assert (event.cache, event.pool, event.key, event.model, event.outcome) == ("hit", "chat", "", "gpt-4o", "ok")


async def test_what_a_hit_saves_is_told(provider: StrictProvider) -> None:
    async with cached(provider) as plane:
        first, *others = [await plane.chat() for _ in range(3)]
        usage = first.data["usage"]
        saved = [event.saved for event in plane.of(Answered)]
        assert saved[0] is None
        assert [(one.input, one.output) for one in saved[1:]] == [
            (usage["prompt_tokens"], usage["completion_tokens"])
        ] * len(others)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_packed_answer_is_kept_for_who_cannot_unpack_it(provider: StrictProvider, coding: str) -> None:
    provider.faults.append(Fault(gzip=True))
    async with cached(provider) as plane:
        packed = await plane.chat({"Accept-Encoding": coding})
        plain = await plane.chat()
        assert packed.headers["content-encoding"] == "gzip"
        assert "content-encoding" not in plain.headers
        assert (cache_of(plain), plain.body) == ("hit", gzip.decompress(packed.body))


async def test_other_words_for_the_same_are_the_same(provider: StrictProvider) -> None:
    async with cached(provider) as plane:
        await plane.chat()
        turned = json.dumps(dict(reversed(CHAT.items())), indent=1).encode()
        assert cache_of(await plane.post("/v1/chat/completions", turned, {"User-Agent": "other"})) == "hit"
        assert cache_of(await plane.chat(temperature=0)) == "miss"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=400),
        Fault(status=500),
        Fault(status=429, headers={"retry-after": "1"}),
        Fault(status=200, body={"error": {"message": "no", "code": 503}}),
        Fault(at="first", status=500),
        Fault(at="middle", status=500),
        Fault(close="middle"),
        Fault(close="before"),
    ],
    ids=lambda fault: f"{fault.status} {fault.at} {fault.close}",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_no_error_and_no_part_of_an_answer_is_kept(provider: StrictProvider, fault: Fault, stream: bool) -> None:
    """The next one who asks gets what the provider says then."""
    provider.faults.append(fault)
    async with cached(provider, max_attempts=1, cooldown={"default": "1s"}, max_wait="5s") as plane:
        with suppress(aiohttp.ClientError):
            await plane.chat({"x-sidecar-max-wait": "0"}, stream=stream)
        provider.faults.clear()
        reply = await plane.chat(stream=stream)
        assert (reply.status, cache_of(reply)) == (200, "miss")
        assert b"error" not in reply.body
        assert cache_of(await plane.chat(stream=stream)) == "hit"


def saying(body: bytes, *headers: str) -> Callable[[Exchange], Awaitable[None]]:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(body, "200 OK", *headers)

    return answer


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (ANSWER.replace(b'"stop"', b'"content_filter"'), "application/json"),
        (ANSWER.replace(b'"x"', b'"%s"' % (b"x" * 5000)), "application/json"),
        (CUT, "text/event-stream"),
    ],
    ids=["blocked", "large", "cut"],
)
async def test_neither_is_what_was_blocked_or_is_too_large(body: bytes, kind: str) -> None:
    async with RawUpstream(saying(body, f"Content-Type: {kind}")) as upstream:
        pools = {"chat": pool(upstream.url, new_keys(1))}
        async with sidecar(pools, cache={"max_bytes": 4096}) as plane:
            for _ in range(2):
                with suppress(aiohttp.ClientError):
                    assert cache_of(await plane.chat({"Connection": "close"})) == "miss"
            assert len(upstream.heard) == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>Just a moment...</html>", "text/html"),
        (b"busy", "application/json"),
        (ANSWER[:-30], "application/json"),
        (ANSWER[:-30].replace(b'"x"', b'"%s"' % (b"x" * 300_000)), "application/json"),
        (ANSWER.replace(b'"x"', b'""'), "application/json"),
        (CUT.replace(b'"x"', b'""') + b"data: [DONE]\n\n", "text/event-stream"),
        (b"data: [DONE]\n\n", "text/event-stream"),
    ],
    ids=["page", "text", "half", "half of a long one", "empty", "empty stream", "no stream"],
)
async def test_neither_is_what_nobody_can_read_or_has_no_content(body: bytes, kind: str) -> None:
    """Its own caller gets it as it came; who asks again is not to get it again. HTTP ended well."""

    async def answer(exchange: Exchange) -> None:
        await exchange.begin(kind=kind)
        await exchange.chunk(body)
        await exchange.chunk(b"")

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={}) as plane:
        for _ in range(2):
            reply = await plane.chat()
            assert (reply.status, cache_of(reply), reply.body) == (200, "miss", body)


TWO = CUT + CUT.replace(b'"index":0', b'"index":1') + b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'
LONG = b'{"data":[' + b'{"embedding":[1]},' * 5000 + b'{"embedding":[1]}'


@pytest.mark.parametrize(
    ("body", "kind", "second"),
    [
        (TWO, "text/event-stream", "miss"),
        (TWO + b"data: [DONE]\n\n", "text/event-stream", "hit"),
        (LONG, "application/json", "miss"),
        (ANSWER, "application/json", "hit"),
    ],
    ids=["one of two choices", "a last word", "too long to be read", "read to its end"],
)
async def test_where_only_its_connection_ends_it_must_say_itself_that_it_is_whole(
    body: bytes, kind: str, second: str
) -> None:
    """Such an end may come in the middle."""

    async def answer(exchange: Exchange) -> None:
        await exchange.say(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body)
        exchange.cut()

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={}) as plane:
        assert [cache_of(await plane.chat(n=2)) for _ in range(2)] == ["miss", second]


async def test_long_answers_without_a_word_of_usage_are_kept() -> None:
    """As Gemini's of many vectors."""
    vectors = json.dumps({"embeddings": [{"values": [0.5] * 60_000}]}).encode()
    async with RawUpstream(saying(vectors)) as upstream:
        pools = {"g": {"provider": "gemini", "base_url": upstream.url, "keys": [{"id": "a", "secret": new_keys(1)[0]}]}}
        async with sidecar(pools, cache={}) as plane:
            path = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
            assert [cache_of(await plane.post(path, {"requests": []})) for _ in range(2)] == ["miss", "hit"]


async def test_what_a_caller_wishes_is_done(provider: StrictProvider) -> None:
    """`no-store` leaves no trace, `no-cache` brings a new answer for all, `max-age` bounds how old one may be."""
    async with cached(provider) as plane:
        assert cache_of(await plane.chat({"Cache-Control": "no-store"})) == "bypass"
        first = await plane.chat({"Cache-Control": "no-cache"})
        assert (cache_of(first), cache_of(await plane.chat({"Cache-Control": "no-store"}))) == ("miss", "bypass")
        assert (await plane.chat()).body == first.body
        second = await plane.chat({"Cache-Control": "no-cache"})
        assert second.body != first.body
        kept = await plane.chat({"Cache-Control": "max-age=60"})
        assert (cache_of(kept), kept.body) == ("hit", second.body)
        assert cache_of(await plane.chat({"Cache-Control": "max-age=0"})) == "miss"


async def test_an_answer_is_another_clients_only_where_that_may_be(provider: StrictProvider) -> None:
    clients = [{"id": name, "token": f"token-of-{name}-0123456789"} for name in ("web", "app")]
    web, app = ({"Authorization": f"Bearer token-of-{name}-0123456789"} for name in ("web", "app"))
    pools = {"chat": pool(provider.url, list(provider.accounts))}
    for scope, last in (("client", "miss"), ("all", "hit")):
        async with sidecar(pools, cache={"scope": scope}, clients=clients) as plane:
            assert [cache_of(await plane.chat(who)) for who in (web, web, app)] == ["miss", "hit", last]


async def test_an_answer_to_what_was_first_asked_with_a_key_is_nobody_elses() -> None:
    """A provider that honours `Idempotency-Key` answers another question with it by the former answer."""
    first: dict[str, bytes] = {}

    async def answer(exchange: Exchange) -> None:
        said = json.loads(exchange.body)["messages"][0]["content"].encode()
        for key in exchange.header("idempotency-key"):
            said = first.setdefault(key, said)
        await exchange.reply(ANSWER.replace(b'"x"', b'"%s"' % said))

    async with RawUpstream(answer) as upstream, sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={}) as plane:

        async def asked(text: str, **headers: str) -> tuple[str, str]:
            reply = await plane.chat(headers, messages=[{"role": "user", "content": text}])
            return cache_of(reply), reply.data["choices"][0]["message"]["content"]

        key = {"Idempotency-Key": "k"}
        assert await asked("one", **key) == ("miss", "one")
        assert await asked("other", **key) == ("miss", "one")
        assert await asked("other") == ("miss", "other")
        assert await asked("one", **key) == ("hit", "one")


async def test_what_is_not_kept_is_not_marked(provider: StrictProvider) -> None:
    async with cached(provider) as plane:
        replies = [await plane.chat(store=True) for _ in range(2)]
        assert not any("x-sidecar-cache" in reply.headers for reply in replies)
        assert len(provider.arrivals) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_route_keeps_its_answers_as_it_says(provider: StrictProvider, stream: bool) -> None:
    """And as its callers got them: a masked model is what they called it."""
    to = [{"pool": "chat", "model": "gpt-4o"}]
    routes: dict[str, Any] = {"own": {"targets": to, "cache": {"ttl": "1m"}, "mask_model": True}, "plain": to}
    pools = {"chat": pool(provider.url, list(provider.accounts))}
    async with sidecar(pools, routes=routes) as plane:
        first, second = [await plane.chat(model="own", stream=stream) for _ in range(2)]
        assert (cache_of(first), cache_of(second)) == ("miss", "hit")
        assert second.body == first.body
        assert b'"model":"own"' in second.body
        assert "x-sidecar-cache" not in (await plane.chat(model="plain", stream=stream)).headers
    routes["own"] |= {"cache": "off"}
    async with sidecar(pools, routes=routes, cache={}) as plane:
        assert "x-sidecar-cache" not in (await plane.chat(model="own", stream=stream)).headers
        assert cache_of(await plane.chat(model="plain", stream=stream)) == "miss"


# --- Redis ------------------------------------------------------------------------------------------


async def test_a_cache_that_is_away_holds_nobody_up(provider: StrictProvider) -> None:
    """Its Redis is another one than the budgets'; that it is away is told once."""
    away = {"redis": f"redis://127.0.0.1:{free_port()}/0"}
    async with cached(provider, away) as plane:
        replies = [await plane.chat() for _ in range(3)]
        assert [(reply.status, cache_of(reply)) for reply in replies] == [(200, "bypass")] * 3
        assert [event.cache for event in plane.of(Answered)] == ["away"] * 3
        told = plane.of(KeptChanged)
        assert [event.works for event in told] == [False]
        assert "away" in told[0].reason
        assert (await plane.send("GET", "/health")).status == 200


async def test_a_redis_that_restarts_in_the_middle_loses_no_answer(
    provider: StrictProvider, redis_process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who wait here have it, and it is kept."""
    monkeypatch.setattr(cache, "RENEW_S", 0.02)
    provider.faults.append(Fault(hang=True))
    async with cached(provider, {"redis": redis_process.url}) as plane:
        asking = [asyncio.ensure_future(plane.chat()) for _ in range(3)]
        await provider.wait_for(lambda: provider.calls)
        while plane.replica.inflight < 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        redis_process.kill()
        while not plane.of(KeptChanged):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        redis_process.start()
        while len(plane.of(KeptChanged)) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        answers = [*await asyncio.gather(*asking), await plane.chat()]
        assert sorted(map(cache_of, answers)) == ["hit", "hit", "hit", "miss"]
        assert len(provider.arrivals) == 1


async def test_an_answer_that_cannot_be_unpacked_is_asked_for_again(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in Redis: a request is never an error for it."""
    async with cached(provider) as plane:
        await plane.chat()
        monkeypatch.setattr(Kept, "body", lambda _: None)
        reply = await plane.chat()
        assert (reply.status, cache_of(reply)) == (200, "miss")
        assert len(provider.arrivals) == 2


async def test_an_answer_is_no_older_than_the_config_says_by_now(provider: StrictProvider, redis_url: str) -> None:
    """One that was kept for longer by the config before."""
    pools = {"chat": pool(provider.url, list(provider.accounts))}
    shared = {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}"}
    async with sidecar(pools, cache={"ttl": "1h"}, **shared) as before:
        first = await before.chat()
    async with sidecar(pools, cache={"ttl": "1ms"}, **shared) as plane:
        await asyncio.sleep(0.002)
        second = await plane.chat()
        assert (cache_of(second), second.body == first.body) == ("miss", False)


async def test_answers_live_as_long_as_the_config_says(provider: StrictProvider) -> None:
    async with cached(provider, {"ttl": "50ms"}) as plane:
        first = await plane.chat()
        await asyncio.sleep(0.06)
        second = await plane.chat()
        assert (cache_of(first), cache_of(second)) == ("miss", "miss")


async def test_a_redis_that_may_evict_budgets_is_told_of(provider: StrictProvider, redis_process: RedisProcess) -> None:
    """In the log and by `/health`, also where nothing is cached; and that it may not any more."""
    with redis.Redis(port=redis_process.port) as client:
        client.config_set("maxmemory", 100_000_000)
        client.config_set("maxmemory-policy", "volatile-lru")
        async with sidecar({"chat": pool(provider.url, new_keys(1))}, redis=redis_process.url) as plane:
            assert "volatile-lru" in plane.of(StoreAtRisk)[0].reason
            health = await plane.send("GET", "/health")
            assert (health.status, "volatile-lru" in health.data["warning"]) == (200, True)
            client.config_set("maxmemory-policy", "noeviction")
            await plane.replica._show_life()
            assert [event.reason for event in plane.of(StoreAtRisk)][1:] == [""]
            assert "warning" not in (await plane.send("GET", "/health")).data
