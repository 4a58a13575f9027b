"""Several real processes on one Redis behave as one."""

from __future__ import annotations

import asyncio

import aiohttp

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import fleet
from tests.replicas.traffic import ask, config, many, new_keys


async def test_grant_n_goes_to_key_n_mod_7(redis_url: str) -> None:
    """Three replicas, seven keys, a thousand concurrent requests: numbers without gaps, each at its key."""
    async with (
        StrictProvider(new_keys(7)) as provider,
        fleet(3, config(provider, redis_url, 7)) as replicas,
        many() as http,
    ):
        answers = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(1000)))
        assert {status for status, _ in answers} == {200}
        grants = sorted((int(headers["x-sidecar-grant"]), headers["x-sidecar-key"]) for _, headers in answers)
        assert grants == [(n, f"k{n % 7}") for n in range(1000)]
        counts = provider.counts().values()
        assert sum(counts) == 1000
        assert max(counts) - min(counts) <= 1


async def test_budgets_hold_while_a_replica_dies_and_another_comes(redis_url: str) -> None:
    """Counted at the provider: in no window more than the budget, and no client sees a refusal of the provider."""
    # The provider shares a process with 300 clients: it may look at an arrival much later than it came.
    limit = {"requests": 10, "per": "2s", "guard": "1s"}
    async with StrictProvider(new_keys(4), budgets=[(10, 2.0)]) as provider:
        told = config(provider, redis_url, 4, limits=[limit], max_wait="0s")
        async with (
            fleet(3, told) as replicas,
            fleet(1, told) as late,
            many() as http,
        ):
            alive = list(replicas)

            async def load(requests: int, max_wait: str = "0") -> list[int]:
                targets, header = list(alive), {"x-sidecar-max-wait": max_wait}
                calls = (ask(http, targets[n % len(targets)], **header) for n in range(requests))
                answers = await asyncio.gather(*calls)
                return [status for status, _ in answers]

            statuses = await load(300)
            assert statuses.count(200) == 40
            assert set(statuses) == {200, 429}
            under_way = asyncio.gather(*(load(30, max_wait="6") for _ in range(3)))
            await provider.wait_for(lambda: len(provider.arrivals) >= 41)
            victim = alive.pop(0)
            await victim.kill()
            alive.append(late[0])
            outcomes = [status for statuses in await under_way for status in statuses]
            assert set(outcomes) <= {200, 429, 0}
            assert outcomes.count(0) <= 30  # those that the victim held
            assert 200 in await load(100, max_wait="6")
            assert provider.violations == []
            assert provider.excess() == []


async def test_a_429_on_one_replica_rests_the_key_on_the_other(redis_url: str) -> None:
    """From the report on no replica is granted the key before the moment that the provider named."""
    async with StrictProvider(new_keys(2)) as provider:
        first = next(iter(provider.accounts))
        provider.faults.append(Fault(key=first, times=1, status=429, headers={"retry-after": "600"}, body="{}"))
        async with fleet(2, config(provider, redis_url, 2)) as (one, other), aiohttp.ClientSession() as http:
            status, headers = await ask(http, one)
            assert (status, headers["x-sidecar-key"], headers["x-sidecar-attempts"]) == (200, "k1", "2")
            for _ in range(6):
                status, headers = await ask(http, other)
                assert (status, headers["x-sidecar-key"]) == (200, "k1")
            assert provider.counts()[first] == 1
