"""`concurrency` over several replicas: never more in flight than may be, and no place is ever lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp

from sidecar.simulate.budgets import Budget
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import BODY, ask, config, many, new_keys

LEASE_S = 15


@asynccontextmanager
async def _crowded(
    redis_url: str, keys: int, most: int, replicas: int = 3, **pool: Any
) -> AsyncIterator[tuple[StrictProvider, list[Sidecar], aiohttp.ClientSession]]:
    """A provider that refuses what is more than `most` in flight for each key, and replicas that know of it."""
    async with StrictProvider(new_keys(keys), budgets=[Budget(most, unit="concurrency")]) as provider:
        told = config(provider, redis_url, keys, concurrency=most, **pool)
        async with fleet(replicas, told) as fleet_of, many() as http:
            yield provider, fleet_of, http


def _came(provider: StrictProvider, most: int) -> bool:
    return len(provider.arrivals) >= most


def _kept(provider: StrictProvider) -> None:
    assert provider.violations == []
    assert provider.excess() == []


async def test_never_more_in_flight_than_may_be(redis_url: str) -> None:
    """Sixty requests for six places: all are served, in turn, and the provider refuses none."""
    async with _crowded(redis_url, 3, 2, max_wait="60s") as (provider, replicas, http):
        provider.faults.append(Fault(headers_s=0.05))
        answers = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(60)))
        assert {status for status, _ in answers} == {200}
        _kept(provider)
        assert max(map(provider.most_in_flight, provider.accounts.values())) == 2


async def test_a_busy_replica_starves_nobody_at_another(redis_url: str) -> None:
    """Eight clients of one replica ask again as soon as they are served; who waits at the other is served in turn."""
    async with _crowded(redis_url, 1, 1, replicas=2, max_wait="60s") as (provider, (busy, other), http):
        provider.faults.append(Fault(headers_s=0.02))
        served: list[int] = []

        async def insist() -> None:
            while len(served) < 4:
                assert (await ask(http, busy))[0] == 200

        async def once() -> None:
            assert (await ask(http, other))[0] == 200
            served.append(len(provider.arrivals))

        clients = [asyncio.create_task(insist()) for _ in range(8)]
        await provider.wait_for(lambda: len(provider.arrivals) > 8)
        came = len(provider.arrivals)
        await asyncio.gather(*(once() for _ in range(4)))
        await asyncio.gather(*clients)
        assert (
            max(served) - came <= 8 + 4 + 8
        )  # those who came before, each other, and who came as they were on their way
        _kept(provider)


async def test_who_may_not_wait_is_told_at_once(redis_url: str) -> None:
    async with _crowded(redis_url, 1, 1) as (provider, replicas, http):
        provider.faults.append(Fault(hang=True, times=1))
        held = asyncio.ensure_future(ask(http, replicas[0]))
        await provider.wait_for(lambda: provider.arrivals)
        status, headers = await ask(http, replicas[1], **{"x-sidecar-max-wait": "0"})
        assert (status, headers["retry-after"]) == (429, "1")
        provider.release()
        assert (await held)[0] == 200
        assert (await ask(http, replicas[2]))[0] == 200
        _kept(provider)


async def test_a_cancelled_request_gives_its_place_back(redis_url: str) -> None:
    """Clients go away before the answer, in its middle and while they wait, forty times: the place is still there."""
    async with _crowded(redis_url, 1, 2, max_wait="30s") as (provider, replicas, http):
        for phase in (Fault(hang=True), Fault(hold=True)):
            provider.faults[:] = [phase]
            for n in range(20):
                before = len(provider.arrivals)
                calls = [asyncio.ensure_future(ask(http, replicas[n % 3])) for _ in range(4)]
                await provider.wait_for(partial(_came, provider, before + 2))
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                await provider.wait_for(lambda: all(one.left for one in provider.arrivals))
        provider.faults.clear()
        assert {status for status, _ in await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(6)))} == {200}
        _kept(provider)


async def test_a_stream_keeps_its_place_to_its_last_byte(redis_url: str) -> None:
    async with _crowded(redis_url, 1, 1) as (provider, replicas, http):
        provider.faults.append(Fault(hold=True, times=1))
        body = {**BODY, "stream": True}
        async with http.post(f"{replicas[0].url}/v1/chat/completions", json=body) as answer:
            await answer.content.readany()
            assert (await ask(http, replicas[1], **{"x-sidecar-max-wait": "0"}))[0] == 429
            provider.release()
            await answer.read()
        assert (await ask(http, replicas[1]))[0] == 200
        _kept(provider)


async def test_places_of_a_dead_replica_are_free_within_a_lease(redis_url: str) -> None:
    """kill -9 with every place taken: within fifteen seconds others are served, and none is lost."""
    async with _crowded(redis_url, 1, 2, replicas=2, max_wait="30s") as (provider, (victim, other), http):
        provider.faults.append(Fault(hang=True, times=2))
        held = [asyncio.ensure_future(ask(http, victim)) for _ in range(2)]
        await provider.wait_for(lambda: len(provider.arrivals) == 2)
        await victim.kill()
        await asyncio.gather(*held)
        await provider.wait_for(lambda: all(one.left for one in provider.arrivals))
        answers = await asyncio.gather(*(ask(http, other) for _ in range(4)))
        assert {status for status, _ in answers} == {200}
        assert all(float(headers["x-sidecar-waited-ms"]) <= LEASE_S * 1000 + 1000 for _, headers in answers)
        _kept(provider)


async def test_a_long_request_keeps_its_place_beyond_a_lease(redis_url: str) -> None:
    """Its replica says every five seconds that it runs: others stay out all the while."""
    async with _crowded(redis_url, 1, 1, replicas=2) as (provider, (one, other), http):
        provider.faults.append(Fault(hang=True, times=1))
        held = asyncio.ensure_future(ask(http, one))
        await provider.wait_for(lambda: provider.arrivals)
        status, headers = await ask(http, other, **{"x-sidecar-max-wait": str(LEASE_S + 2)})
        assert (status, len(provider.arrivals)) == (429, 1)
        assert float(headers["x-sidecar-waited-ms"]) > LEASE_S * 1000
        provider.release()
        assert (await held)[0] == 200
        assert (await ask(http, other))[0] == 200
        _kept(provider)


async def test_who_waits_for_a_budget_takes_no_place(redis_url: str) -> None:
    """Reservations are in flight from their moment on, not before: a queue of them does not lock itself out."""
    limits = [{"requests": 1, "per": "2s"}]
    async with _crowded(redis_url, 1, 1, replicas=1, limits=limits, max_wait="10s") as (provider, (one,), http):
        answers = await asyncio.gather(*(ask(http, one) for _ in range(4)))
        assert {status for status, _ in answers} == {200}
        _kept(provider)


async def test_a_reservation_that_comes_to_nothing_takes_no_place(redis_url: str) -> None:
    """The key is refused while a request waits for it: once it may be used again, both of its places are free."""
    limits = [{"requests": 4, "per": "2s"}]
    async with _crowded(redis_url, 1, 2, replicas=1, limits=limits, max_wait="8s") as (provider, (one,), http):
        provider.faults.append(Fault(hang=True, times=1, status=429, headers={"retry-after": "3"}, body="{}"))
        refused = asyncio.ensure_future(ask(http, one))
        await provider.wait_for(lambda: provider.arrivals)
        assert {status for status, _ in await asyncio.gather(*(ask(http, one) for _ in range(3)))} == {200}
        waiting = asyncio.ensure_future(ask(http, one))
        await provider.wait_for(lambda: len(provider.arrivals) == 4)
        provider.release()
        assert [status for status, _ in await asyncio.gather(refused, waiting)] == [200, 200]
        provider.faults.append(Fault(hang=True, times=2))
        both = [asyncio.ensure_future(ask(http, one)) for _ in range(2)]
        await provider.wait_for(lambda: provider.most_in_flight() == 2 and provider.open == 2)
        provider.release()
        assert [status for status, _ in await asyncio.gather(*both)] == [200, 200]
        _kept(provider)


async def test_a_spent_budget_is_told_with_its_moment_though_places_are_counted(redis_url: str) -> None:
    limits = [{"requests": 2, "per": "minute"}]
    async with _crowded(redis_url, 1, 1, replicas=1, limits=limits, max_wait="5s") as (provider, (one,), http):
        assert [(await ask(http, one))[0] for _ in range(2)] == [200, 200]
        status, headers = await ask(http, one)
        assert (status, headers["x-sidecar-waited-ms"]) == (429, "0")
        assert int(headers["retry-after"]) > 50
        _kept(provider)


async def test_batch_at_the_head_of_the_line_holds_nobody_up(redis_url: str) -> None:
    """The last share of the budget is for interactive requests, also for those that came later."""
    limits = [{"requests": 5, "per": "minute"}]
    async with _crowded(redis_url, 1, 1, replicas=1, limits=limits, max_wait="30s") as (provider, (one,), http):
        assert [(await ask(http, one))[0] for _ in range(3)] == [200, 200, 200]
        provider.faults.append(Fault(hang=True, times=1))
        running = asyncio.ensure_future(ask(http, one))
        await provider.wait_for(lambda: len(provider.arrivals) == 4)
        batch = asyncio.ensure_future(ask(http, one, **{"x-sidecar-priority": "batch"}))
        interactive = asyncio.ensure_future(ask(http, one))
        await asyncio.sleep(0.2)  # both are in line: that they wait is seen nowhere
        provider.release()
        assert (await running)[0] == 200
        assert (await interactive)[0] == 200
        batch.cancel()
        _kept(provider)
