"""The circuit breaker: who fails all in a row is asked by nobody for a while, and then by one of all replicas."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from sidecar.model.configured import Target
from sidecar.model.events import KeyChanged
from sidecar.model.words import Report
from sidecar.pool.search import Held, Search
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store import calls
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar
from tests.servers import free_port

AT_ONCE = {"x-sidecar-max-wait": "0"}
DOWN = Fault(status=503, body={"error": {"message": "The model is overloaded."}})


@asynccontextmanager
async def world(**more: Any) -> AsyncIterator[tuple[StrictProvider, Plane]]:
    async with StrictProvider(new_keys(3)) as provider:
        told = pool(provider.url, list(provider.accounts), max_attempts=1, **more)
        async with sidecar({"chat": told}) as plane:
            yield provider, plane


async def skip(plane: Plane, seconds: float) -> None:
    """From now on Redis's clock is so much later."""
    store = plane.replica.store
    later_us = (await store.inspect(())).now_us + round(seconds * 1_000_000)
    await store._lanes.front.call(calls.report(store.names, Report(""), (), now=str(later_us)))


async def asked(plane: Plane, **fields: Any) -> Reply:
    """A request that may not wait."""
    return await plane.chat(AT_ONCE, **fields)


def search(model: str) -> Search:
    """What a request of a replica brings to its pools."""
    return Search("r", (Target("chat", model),), monotonic() + 60, max_wait_s=0)


async def fails(plane: Plane, times: int, **fields: Any) -> None:
    for _ in range(times):
        assert (await asked(plane, **fields)).attempts == 1


def pauses(plane: Plane) -> list[tuple[str, str | None, str, float]]:
    return [(event.key, event.model, event.reason, round(event.seconds, 1)) for event in plane.of(KeyChanged)]


async def test_ten_faults_in_a_row_open_it_and_nobody_asks() -> None:
    """The provider's own answer passes until then; from then on ours says when to come back, and is worth a retry."""
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        replies = [await asked(plane) for _ in range(20)]
        assert [reply.status for reply in replies] == [503] * 20
        assert [reply.attempts for reply in replies] == [1] * 10 + [0] * 10
        assert len(provider.arrivals) == 10
        assert replies[10].data["error"]["code"] == "provider_overloaded"
        assert (replies[10].headers["retry-after"], replies[10].headers["x-should-retry"]) == ("5", "true")
        assert pauses(plane) == [("", "gpt-4o", "overloaded", 5.0)]


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_between_faults_ends_their_run(status: int) -> None:
    """A refusal too: who refuses a request is not down."""
    async with world() as (provider, plane):
        for _ in range(3):
            provider.faults[:] = [DOWN]
            await fails(plane, 9)
            provider.faults[:] = [] if status == 200 else [Fault(status=status)]
            assert (await asked(plane)).status == status
        assert pauses(plane) == []


async def test_attempts_of_one_request_are_one_fault() -> None:
    """Else one request that no provider can serve, sent twice, would shut it for all."""
    async with StrictProvider(new_keys(5)) as provider:
        told = pool(provider.url, list(provider.accounts), max_attempts=5, retry_budget="off")
        async with sidecar({"chat": told}) as plane:
            provider.faults.append(DOWN)
            replies = [await asked(plane) for _ in range(3)]
            assert [(reply.status, reply.attempts) for reply in replies] == [(503, 5)] * 3
            assert pauses(plane) == []
            replies = [await asked(plane) for _ in range(8)]
            assert [reply.attempts > 0 for reply in replies] == [True] * 7 + [False]
            assert pauses(plane) == [("", "gpt-4o", "overloaded", 5.0)]


async def test_pools_at_one_address_have_one_provider() -> None:
    """Also one that the catalogue does not know: its keys may be kept in as many pools as one likes."""
    async with StrictProvider(new_keys(2)) as provider:
        provider.faults.append(DOWN)
        one, two = (pool(provider.url, [secret], max_attempts=1) for secret in provider.accounts)
        async with sidecar({"one": one, "two": two}) as plane:
            replies = [await asked(plane, model=f"{name}/gpt-4o") for _ in range(6) for name in ("one", "two")]
            assert [reply.attempts for reply in replies] == [1] * 10 + [0] * 2


async def test_a_dead_proxy_shuts_nobody_out_who_comes_another_way() -> None:
    """The provider is one, and works: what failed is how one of its pools reaches it."""
    async with StrictProvider(new_keys(2)) as provider:
        behind, direct = (pool(provider.url, [secret], max_attempts=1) for secret in provider.accounts)
        for one in (behind, direct):
            del one["dialect"]
        pools = {
            "behind": behind | {"provider": "openai", "proxy": f"http://127.0.0.1:{free_port()}"},
            "direct": direct | {"provider": "openai"},
        }
        async with sidecar(pools) as plane:
            replies = [await asked(plane, model="behind/gpt-4o") for _ in range(11)]
            assert [reply.attempts for reply in replies] == [1] * 10 + [0]
            assert (await asked(plane, model="direct/gpt-4o")).status == 200
            assert [event.pool for event in plane.of(KeyChanged)] == ["behind"]
            assert (await asked(plane, model="behind/gpt-4o")).attempts == 0


async def test_a_fault_of_the_one_that_finds_out_counts_whatever_its_request_met_before() -> None:
    """It met its first fault before the pause began, and is the one that is let through after it."""
    async with StrictProvider(new_keys(1)) as provider:
        told = pool(provider.url, list(provider.accounts), max_attempts=2, breaker={"failures": 2, "pause": "200ms"})
        async with sidecar({"chat": told}) as plane:
            provider.faults[:] = [Fault(status=503, hang=True, times=1), DOWN]
            waits = asyncio.create_task(plane.chat())
            await provider.wait_for(lambda: len(provider.arrivals) == 1)
            assert (await asked(plane)).status == 503
            assert pauses(plane) == []
            provider.release()
            assert (await waits).attempts == 2
            assert (await asked(plane)).attempts == 0
            assert [seconds for *_, seconds in pauses(plane)] == [0.2, 0.4]


async def test_a_request_that_always_fails_shuts_nobody_out_while_others_are_served() -> None:
    """However often its client sends it again: what is answered between says that the provider works."""
    async with world() as (provider, plane):
        provider.faults[:] = [Fault(path="/v1/embeddings", status=500)]
        for _ in range(30):
            for _ in range(2):
                poison = await plane.post("/v1/embeddings", {"model": "gpt-4o", "input": "poison"}, AT_ONCE)
                assert (poison.status, poison.attempts) == (500, 1)
            assert (await asked(plane)).status == 200
        assert pauses(plane) == []


async def test_answers_that_took_longer_than_the_faults_end_their_run_too() -> None:
    """A provider that needs a while for each answer works, though nobody who came after the faults has got one yet."""
    async with world() as (provider, plane):
        for _ in range(2):
            provider.faults[:] = [Fault(hang=True, times=1)]
            slow = asyncio.create_task(asked(plane))
            await provider.wait_for(lambda: provider.arrivals and provider.arrivals[-1].ended == "open")
            provider.faults[:] = [DOWN]
            await fails(plane, 9)
            provider.release()
            assert (await slow).status == 200
        await fails(plane, 9)
        assert pauses(plane) == []


async def test_faults_far_apart_are_no_run() -> None:
    async with world(breaker={"failures": 2, "within": "10s"}) as (provider, plane):
        provider.faults.append(DOWN)
        for _ in range(3):
            await fails(plane, 1)
            await skip(plane, 11)
        assert pauses(plane) == []
        await fails(plane, 2)
        assert (await asked(plane)).attempts == 0


async def test_a_success_at_another_replica_ends_the_run_of_one_whose_network_is_broken(redis_url: str) -> None:
    shared = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    async with StrictProvider(new_keys(1)) as provider:
        told = pool(provider.url, list(provider.accounts), max_attempts=1)
        async with sidecar({"chat": told}, **shared) as broken, sidecar({"chat": told}, **shared) as other:
            for _ in range(3):
                provider.faults[:] = [DOWN]
                await fails(broken, 9)
                provider.faults.clear()
                assert (await asked(other)).status == 200
            assert pauses(broken) == []


async def test_one_request_of_all_replicas_finds_out_whether_it_works_again(redis_url: str) -> None:
    """While it does, the others are refused at once; its success is the end of it for all."""
    shared = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    async with StrictProvider(new_keys(3)) as provider:
        pools = {"chat": pool(provider.url, list(provider.accounts), max_attempts=1)}
        async with (
            sidecar(pools, **shared) as one,
            sidecar(pools, **shared) as two,
            sidecar(pools, **shared) as three,
        ):
            provider.faults.append(DOWN)
            replies = [await asked(plane) for _ in range(10) for plane in (one, two, three)]
            assert sum(reply.attempts for reply in replies) == len(provider.arrivals) == 10
            provider.faults[:] = [Fault(hang=True, times=1)]
            await skip(one, 5)
            probes = [asyncio.create_task(asked(plane)) for plane in (one, two, three) for _ in range(5)]
            await provider.wait_for(lambda: len(provider.arrivals) == 11)
            refused, _ = await asyncio.wait(probes, return_when="FIRST_COMPLETED")
            while len(refused) < 14:
                refused, _ = await asyncio.wait(probes, timeout=0.05)
            assert {task.result().status for task in refused} == {503}
            assert len(provider.arrivals) == 11
            provider.release()
            assert [(await task).status for task in probes if task not in refused] == [200]
            assert {(await asked(plane)).status for plane in (one, two, three)} == {200}


async def test_pause_doubles_to_a_minute_while_who_finds_out_meets_a_fault() -> None:
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        for seconds in (5, 10, 20, 40, 60, 60):
            assert (await asked(plane)).attempts == 0
            assert pauses(plane)[-1][3] == seconds
            await skip(plane, seconds)
            await fails(plane, 1)


async def test_a_refusal_of_the_one_that_finds_out_says_that_it_works() -> None:
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        provider.faults[:] = [Fault(status=400, times=1)]
        await skip(plane, 5)
        assert [(await asked(plane)).status for _ in range(3)] == [400, 200, 200]


async def test_a_client_that_leaves_while_it_finds_out_leaves_it_to_the_next() -> None:
    """At once: who goes away says nothing of the provider, and must not keep all others from it."""
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        provider.faults[:] = [Fault(hang=True, times=2)]
        await skip(plane, 5)
        for _ in range(2):
            provider.arrivals.clear()
            gone = asyncio.create_task(asked(plane))
            await provider.wait_for(lambda: provider.arrivals)
            assert (await asked(plane)).status == 503
            gone.cancel()
            await provider.wait_for(lambda: provider.arrivals[-1].ended == "cancelled")
            await plane.replica.idle.wait()
        assert (await asked(plane)).status == 200


@pytest.mark.parametrize(("pause_s", "waited_s"), [(2, 5), (12, 12), (90, 30)])
async def test_who_finds_out_nothing_for_as_long_as_the_pause_was_leaves_it_to_another(
    pause_s: int, waited_s: int
) -> None:
    """It may be a replica that is gone. Five seconds at least, for answers take their time; half a minute at most."""
    async with world(breaker={"pause": f"{pause_s}s"}) as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        provider.faults[:] = [Fault(hang=True, times=1)]
        await skip(plane, pause_s)
        gone = asyncio.create_task(asked(plane))
        await provider.wait_for(lambda: len(provider.arrivals) == 11)
        await skip(plane, waited_s - 1)
        refused = await asked(plane)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        await skip(plane, 1)
        assert (await asked(plane)).status == 200
        gone.cancel()


async def test_an_acquire_of_nobodys_keeps_others_from_a_provider_no_longer_than_its_pause_did() -> None:
    """Redis ran it for a replica that was killed, or whose connection broke before the reply."""
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        provider.faults.clear()
        await skip(plane, 5)
        lost = await plane.replica.state.pools.acquire(search("gpt-4o"))
        assert isinstance(lost, Held)
        assert (await asked(plane)).status == 503
        await skip(plane, 5)
        assert [(await asked(plane)).status for _ in range(3)] == [200] * 3


async def test_one_that_finds_out_and_is_not_sent_leaves_it_to_the_next() -> None:
    async with world() as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 10)
        provider.faults.clear()
        await skip(plane, 5)
        unsent = await plane.replica.state.pools.acquire(search("gpt-4o"))
        assert isinstance(unsent, Held)
        plane.replica.state.pools.release(unsent)
        assert [(await asked(plane)).status for _ in range(3)] == [200] * 3


async def test_who_may_wait_for_the_end_of_the_pause_finds_out() -> None:
    """Who may wait until another would find out goes as soon as it is known; who may not is refused."""
    async with world(breaker={"failures": 2, "pause": "500ms"}) as (provider, plane):
        provider.faults.append(Fault(status=503, times=2))
        await fails(plane, 2)
        replies = await asyncio.gather(*(plane.chat() for _ in range(3)))
        assert sorted(reply.status for reply in replies) == [200, 200, 503]
        assert len(provider.arrivals) == 4


async def test_another_target_serves_at_once() -> None:
    """Another provider, or another model of the same: they overload a model at a time."""
    async with StrictProvider(new_keys(3)) as provider, StrictProvider(new_keys(1)) as other:
        pools = {
            "one": pool(provider.url, list(provider.accounts), max_attempts=1),
            "two": pool(other.url, list(other.accounts), max_attempts=1),
        }
        routes = {
            "best": [{"pool": "one", "model": "big"}, {"pool": "two", "model": "small"}],
            "near": [{"pool": "one", "model": "big"}, {"pool": "one", "model": "small"}],
        }
        provider.faults.append(Fault(model="big", status=503))
        async with sidecar(pools, routes=routes) as plane:
            replies = [await asked(plane, model="best") for _ in range(20)]
            assert [(reply.status, reply.attempts) for reply in replies] == [(200, 2)] * 10 + [(200, 1)] * 10
            near = await asked(plane, model="near")
            assert (near.status, near.attempts, near.headers["x-sidecar-model"]) == (200, 1, "small")
            assert len([arrival for arrival in provider.arrivals if arrival.model == "big"]) == 10


async def test_faults_of_what_was_sent_before_it_opened_do_not_lengthen_the_pause() -> None:
    async with world(breaker={"failures": 2}) as (provider, plane):
        provider.faults[:] = [Fault(status=503, hang=True, times=5)]
        slow = [asyncio.create_task(asked(plane)) for _ in range(5)]
        await provider.wait_for(lambda: len(provider.arrivals) == 5)
        provider.faults[:] = [DOWN]
        await fails(plane, 2)
        provider.release()
        await asyncio.gather(*slow)
        assert (await asked(plane)).attempts == 0
        assert pauses(plane) == [("", "gpt-4o", "overloaded", 5.0)]


async def test_nobody_there_is_a_fault_too() -> None:
    dead = pool(f"http://127.0.0.1:{free_port()}", new_keys(1), max_attempts=1)
    async with sidecar({"chat": dead}) as plane:
        replies = [await asked(plane) for _ in range(11)]
        assert [reply.status for reply in replies] == [502] * 10 + [503]


async def test_off_it_never_opens() -> None:
    async with world(breaker="off") as (provider, plane):
        provider.faults.append(DOWN)
        await fails(plane, 30)
        assert pauses(plane) == []
