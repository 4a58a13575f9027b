"""Requests that ask the same at the same moment: one runs, the others wait for its answer as long as that helps."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis

from sidecar.model.events import Answered
from sidecar.proxy import cache
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store import cache as kept
from sidecar.store.cache import Cache
from tests.proxy.cached import CUT, ONCE_A_MINUTE, cache_of, cached
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.proxy.raw import Exchange, RawUpstream
from tests.proxy.test_gone import begun

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


# --- behind an answer that is too old ----------------------------------------------------------------


async def aged(plane: Plane, redis_url: str, left_s: int) -> None:
    """As if the only answer had lived for all but so long."""
    with redis.Redis.from_url(redis_url) as raw:
        while not (names := raw.keys(plane.replica.store.names.answer("*"))):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        raw.expire(names[0], left_s)


@pytest.mark.parametrize(
    ("ttl", "headers"), [("10m", {"Cache-Control": "max-age=60"}), ("1m", {})], ids=["its caller", "the config by now"]
)
async def test_one_runs_for_all_to_whom_an_answer_is_too_old(
    provider: StrictProvider, redis_url: str, ttl: str, headers: dict[str, str]
) -> None:
    """Whoever says so, and at whichever replica."""
    shared: dict[str, Any] = {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}"}
    pools = {"chat": pool(provider.url, [*provider.accounts][:1])}
    async with sidecar(pools, cache={"ttl": "10m"}, **shared) as before:
        first = await before.chat()
        await aged(before, redis_url, 300)
    provider.faults.append(Fault(hang=True))
    async with (
        sidecar(pools, cache={"ttl": ttl}, **shared) as one,
        sidecar(pools, cache={"ttl": ttl}, **shared) as other,
    ):
        asking = [asyncio.ensure_future(plane.chat(headers)) for plane in (one, other) for _ in range(10)]
        await provider.wait_for(lambda: len(provider.calls) == 2)
        while one.replica.inflight + other.replica.inflight < 20:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        replies = await asyncio.gather(*asking)
        assert sorted(map(cache_of, replies)) == ["hit"] * 19 + ["miss"]
        assert {reply.body for reply in replies}.isdisjoint({first.body})
        assert len(provider.arrivals) == 2


async def test_who_takes_an_older_answer_has_it_while_another_runs(provider: StrictProvider, redis_url: str) -> None:
    """Those to whom it is too old wait for that one, whatever age each of them takes."""
    shared: dict[str, Any] = {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}"}
    async with sidecar({"chat": pool(provider.url, [*provider.accounts][:1])}, cache={}, **shared) as plane:
        first = await plane.chat()
        await aged(plane, redis_url, 300)
        provider.faults.append(Fault(hang=True))
        asking = [asyncio.ensure_future(plane.chat({"Cache-Control": f"max-age={age}"})) for age in (60, 60, 120)]
        await provider.wait_for(lambda: len(provider.calls) == 2)
        older = await plane.chat()
        assert (cache_of(older), older.body) == ("hit", first.body)
        while plane.replica.inflight < 3:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)
        provider.release()
        assert sorted([cache_of(reply) for reply in await asyncio.gather(*asking)]) == ["hit", "hit", "miss"]
        assert len(provider.arrivals) == 2


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


async def in_line(
    plane: Plane, provider: StrictProvider, redis_url: str, headers: dict[str, str]
) -> tuple[asyncio.Future[Reply], asyncio.Future[Reply]]:
    """A request that has the only place, and one with these headers that waits for it."""
    before = asyncio.ensure_future(plane.chat(seed=1))
    await provider.wait_for(lambda: provider.calls)
    runner = asyncio.ensure_future(plane.chat(headers))
    await told(plane, redis_url, "sent", "waits")
    return before, runner


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
        before, runner = await in_line(one, provider, redis_url, PATIENT)
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
        before, runner = await in_line(one, provider, redis_url, PATIENT)
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
        before, runner = await in_line(one, provider, redis_url, {"x-sidecar-max-wait": "0.2"})
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
