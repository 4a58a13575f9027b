"""Cached answers as clients see them: the same bytes, no key and no budget; never an error, never a part of one."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
import redis

from sidecar.model.events import Answered, KeptChanged, StoreAtRisk
from sidecar.proxy import cache
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store import cache as kept
from sidecar.store.cache import Cache, Kept
from tests.proxy.plane import CHAT, Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_gone import begun
from tests.servers import RedisProcess, free_port

ONCE_A_MINUTE = {"requests": 1, "per": "minute"}
CUT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
ANSWER = (
    b'{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
)


def cached(provider: StrictProvider, cache: object = None, **pool_fields: Any) -> Any:
    """A sidecar of the provider's first key that keeps answers."""
    return sidecar({"chat": pool(provider.url, [*provider.accounts][:1], **pool_fields)}, cache=cache or {})


def cache_of(reply: Reply) -> str:
    return reply.headers["x-sidecar-cache"]


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


# --- at the same moment -----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_one_runs_for_all_that_ask_the_same(provider: StrictProvider, stream: bool) -> None:
    provider.faults.append(Fault(hang=True))
    async with cached(provider) as plane:
        asking = [asyncio.ensure_future(plane.chat(stream=stream)) for _ in range(20)]
        await provider.wait_for(lambda: provider.calls)
        while plane.replica.inflight < 20:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        replies = await asyncio.gather(*asking)
        assert len({reply.body for reply in replies}) == 1
        assert sorted(map(cache_of, replies)) == ["hit"] * 19 + ["miss"]
        assert len(provider.arrivals) == 1
        assert sorted(event.cache for event in plane.of(Answered)) == ["miss"] + ["waited"] * 19


async def test_the_next_runs_where_the_one_that_runs_goes_away(
    provider: StrictProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, not when it is found to be silent; and those that wait for it leave as they like."""
    monkeypatch.setattr(kept, "HOLD_MS", 3_600_000)
    provider.faults.append(Fault(hang=True))
    async with cached(provider) as plane:
        runner = await begun(plane)
        await provider.wait_for(lambda: provider.calls)
        leaving = await begun(plane)
        asking = [asyncio.ensure_future(plane.chat()) for _ in range(5)]
        while plane.replica.inflight < 7:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        leaving.close()
        runner.close()
        await provider.wait_for(lambda: len(provider.calls) == 2)
        provider.release()
        replies = await asyncio.gather(*asking)
        assert [reply.status for reply in replies] == [200] * 5
        assert len(provider.arrivals) == 2


async def test_all_go_by_themselves_where_nothing_comes_of_it(provider: StrictProvider) -> None:
    """At once, not one after the other."""
    provider.faults.append(Fault(hang=True, status=400, times=1))
    provider.faults.append(Fault(hang=True))
    async with cached(provider) as plane:
        asking = [asyncio.ensure_future(plane.chat()) for _ in range(6)]
        await provider.wait_for(lambda: provider.calls)
        while plane.replica.inflight < 6:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        await provider.wait_for(lambda: len(provider.calls) == 6)
        provider.release()
        assert sorted([reply.status for reply in await asyncio.gather(*asking)]) == [200] * 5 + [400]


async def test_nobody_waits_for_an_answer_that_is_too_large() -> None:
    """They go as soon as that is known, not when it has passed."""
    more = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.chunk(CUT * 100)
        await more.wait()
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={"max_bytes": 1024}) as plane,
    ):
        asking = [asyncio.ensure_future(plane.chat(stream=True)) for _ in range(3)]
        while len(upstream.heard) < 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        more.set()
        assert {cache_of(reply) for reply in await asyncio.gather(*asking)} == {"miss"}


async def test_a_wait_for_another_replica_ends_with_the_requests_time(provider: StrictProvider, redis_url: str) -> None:
    """The other one runs on."""
    provider.faults.append(Fault(hang=True))
    shared = {"redis": redis_url, "namespace": "t-deadline"}
    key = [*provider.accounts][:1]
    async with (
        sidecar({"chat": pool(provider.url, key)}, cache={"ttl": "5s"}, **shared) as one,
        sidecar({"chat": pool(provider.url, key, timeout="300ms")}, cache={"ttl": "5s"}, **shared) as other,
    ):
        running = asyncio.ensure_future(one.chat())
        await provider.wait_for(lambda: provider.calls)
        late = await other.chat()
        assert (late.status, late.data["error"]["code"], late.attempts) == (504, "timeout", 0)
        assert int(late.headers["x-sidecar-waited-ms"]) > 0
        waiting = asyncio.ensure_future(other.chat())
        await other.entered()
        provider.release()
        assert {(await running).status, (await waiting).status} == {200}
        assert len(provider.arrivals) == 1


async def test_nobody_waits_for_a_client_that_reads_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider is read no faster than the client of the one that runs reads: the others go by themselves."""
    monkeypatch.setattr(cache, "RENEW_S", 0.05)

    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for _ in range(1 if len(upstream.heard) > 1 else 1000):
            await exchange.chunk(CUT * 1000)
        await exchange.chunk(b"data: [DONE]\n\n")
        await exchange.chunk(b"")

    async with (
        RawUpstream(answer) as upstream,
        sidecar({"chat": pool(upstream.url, new_keys(1))}, cache={"max_bytes": "64MiB"}) as plane,
    ):
        slow = await begun(plane, stream=True)
        while not upstream.heard:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert cache_of(await plane.chat(stream=True)) == "miss"
        slow.close()


# --- one that waits for room itself ------------------------------------------------------------------

PATIENT, IMPATIENT = {"x-sidecar-max-wait": "300"}, {"x-sidecar-max-wait": "0"}


@pytest.fixture(params=[1, 2])
def replicas(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@asynccontextmanager
async def two(
    provider: StrictProvider, redis_url: str, count: int, **fields: Any
) -> AsyncIterator[tuple[Plane, Plane]]:
    """Where one runs and where others ask the same: two replicas, or the same one. `fields`: of the pool."""
    shared: dict[str, Any] = {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}", "cache": {}}
    pools = {"chat": pool(provider.url, [*provider.accounts][:1], **fields)}
    async with sidecar(pools, **shared) as one:
        if count == 1:
            yield one, one
            return
        async with sidecar(pools, **shared) as other:
            yield one, other


async def told(plane: Plane, redis_url: str, *states: str) -> None:
    """Returns once that is what the other replicas are told of the runs that are under way."""
    found: list[str] = []
    with redis.Redis.from_url(redis_url) as raw:
        while found != sorted(states):
            await asyncio.sleep(0.001)
            texts = [raw.get(name) or b"" for name in raw.keys(plane.replica.store.names.run("*"))]
            found = sorted(text.partition(b"|")[0].decode() for text in texts)


async def leaves(client: asyncio.Future[Reply]) -> None:
    """A client that waits goes away."""
    client.cancel()
    with suppress(asyncio.CancelledError):
        await client


async def test_who_may_not_wait_for_room_does_not_wait_for_another_that_does(
    provider: StrictProvider, redis_url: str, replicas: int
) -> None:
    """By its header or by its pool's own bound: the exact moment at which there is room, and no attempt."""
    fields = {"limits": [ONCE_A_MINUTE], "max_wait": "100ms"}
    async with two(provider, redis_url, replicas, **fields) as (one, other):
        await one.chat(seed=1)
        runner = asyncio.ensure_future(one.chat(PATIENT))
        await told(one, redis_url, "waits")
        for headers, at_least_ms in ((IMPATIENT, 0), ({}, 100)):
            late = await other.chat(headers)
            assert (late.status, late.attempts, cache_of(late)) == (429, 0, "miss")
            assert at_least_ms <= int(late.headers["x-sidecar-waited-ms"]) < 5000
            assert 50_000 < int(late.headers["retry-after-ms"]) <= 122_000
        await leaves(runner)
        assert len(provider.arrivals) == 1


async def test_who_may_wait_for_room_waits_for_the_answer_of_the_one_that_does(
    provider: StrictProvider, redis_url: str, replicas: int
) -> None:
    """Also behind one that went by itself: it is one call, and the same answer."""
    provider.faults.append(Fault(hang=True, times=1))
    async with two(provider, redis_url, replicas, concurrency=1) as (one, other):
        before = asyncio.ensure_future(one.chat(seed=1))
        await provider.wait_for(lambda: provider.calls)
        runner = asyncio.ensure_future(one.chat(PATIENT))
        await told(one, redis_url, "sent", "waits")
        leaving = asyncio.ensure_future(other.chat({"x-sidecar-max-wait": "0.2"}))
        waiting = [asyncio.ensure_future(other.chat(PATIENT)) for _ in range(3)]
        assert (await leaving).status == 429
        provider.release()
        assert (await before).status == 200
        answers = [await runner, *[await one for one in waiting]]
        assert [cache_of(answer) for answer in answers] == ["miss", "hit", "hit", "hit"]
        assert len({answer.body for answer in answers}) == 1
        assert len(provider.arrivals) == 2


async def test_all_wait_for_one_that_was_sent(provider: StrictProvider, redis_url: str, replicas: int) -> None:
    """A provider's answer is no wait for room; also where the one that runs had to wait for some before."""
    provider.faults.append(Fault(hang=True))
    async with two(provider, redis_url, replicas, concurrency=1) as (one, other):
        before = asyncio.ensure_future(one.chat(seed=1))
        await provider.wait_for(lambda: provider.calls)
        runner = asyncio.ensure_future(one.chat(PATIENT))
        await told(one, redis_url, "sent", "waits")
        provider.release()
        await before
        await provider.wait_for(lambda: len(provider.calls) == 2)
        await told(one, redis_url, "sent")
        waiting = asyncio.ensure_future(other.chat(IMPATIENT))
        while one.replica.inflight + (other.replica.inflight if replicas == 2 else 0) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        provider.release()
        assert [cache_of(answer) for answer in (await runner, await waiting)] == ["miss", "hit"]


async def test_who_waits_for_an_answer_goes_when_the_run_turns_to_wait_for_room(
    provider: StrictProvider, redis_url: str, replicas: int
) -> None:
    """Its key was refused: who may not wait for it to come back is told when it does."""
    provider.faults.append(Fault(hang=True, status=429, headers={"retry-after": "30"}, times=1))
    async with two(provider, redis_url, replicas) as (one, other):
        runner = asyncio.ensure_future(one.chat(PATIENT))
        await provider.wait_for(lambda: provider.calls)
        waiting = asyncio.ensure_future(other.chat(IMPATIENT))
        while one.replica.inflight + (other.replica.inflight if replicas == 2 else 0) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        provider.release()
        late = await waiting
        assert (late.status, late.attempts) == (429, 0)
        assert 20_000 < int(late.headers["retry-after-ms"]) <= 31_000
        await leaves(runner)


async def test_a_refusal_of_the_one_that_runs_is_not_the_others(
    provider: StrictProvider, redis_url: str, replicas: int
) -> None:
    """They wait for room as long as they may."""
    provider.faults.append(Fault(hang=True, times=1))
    async with two(provider, redis_url, replicas, concurrency=1) as (one, other):
        before = asyncio.ensure_future(one.chat(seed=1))
        await provider.wait_for(lambda: provider.calls)
        runner = asyncio.ensure_future(one.chat({"x-sidecar-max-wait": "0.2"}))
        await told(one, redis_url, "sent", "waits")
        waiting = asyncio.ensure_future(other.chat(PATIENT))
        assert (await runner).status == 429
        provider.release()
        assert [(await one).status for one in (before, waiting)] == [200, 200]


async def test_who_has_room_of_its_own_takes_it_once_it_may_not_wait(provider: StrictProvider) -> None:
    """The one that runs waits for the room of its own client."""
    clients = [
        {"id": "web", "token": "token-of-web-0123456789", "limits": [ONCE_A_MINUTE]},
        {"id": "app", "token": "token-of-app-0123456789"},
    ]
    web, app = ({"Authorization": f"Bearer token-of-{name}-0123456789"} for name in ("web", "app"))
    pools = {"chat": pool(provider.url, list(provider.accounts))}
    async with sidecar(pools, cache={"scope": "all"}, clients=clients) as plane:
        await plane.chat(web, seed=1)
        runner = asyncio.ensure_future(plane.chat(web | PATIENT))
        while not plane.replica.state.pools.waiting.count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        assert (await plane.chat(app | IMPATIENT)).status == 200
        await leaves(runner)


async def test_only_a_run_that_waits_says_so(provider: StrictProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other costs Redis nothing more."""
    said: list[bool] = []
    monkeypatch.setattr(Cache, "renew", lambda _self, _digest, _token, waits: said.append(waits))
    provider.faults.append(Fault(hang=True, times=1))
    async with cached(provider, concurrency=1) as plane:
        before = asyncio.ensure_future(plane.chat(seed=1))
        await provider.wait_for(lambda: provider.calls)
        waiting = asyncio.ensure_future(plane.chat(PATIENT))
        while not said:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        assert [(await before).status, (await waiting).status] == [200, 200]
        assert said == [True, False]


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
