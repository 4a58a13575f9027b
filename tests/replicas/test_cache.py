"""A stampede over several replicas is one call to the provider, also where the replica that makes it dies."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import BODY, config, many, new_keys

CACHE = {"ttl": "60s"}


async def asked(http: aiohttp.ClientSession, replica: Sidecar, **fields: Any) -> tuple[int, str, bytes]:
    """Status, what the cache was to it, and the body; 0 where the connection broke."""
    try:
        async with http.post(f"{replica.url}/v1/chat/completions", json=BODY | fields) as answer:
            return answer.status, answer.headers.get("x-sidecar-cache", ""), await answer.read()
    except aiohttp.ClientError:
        return 0, "", b""


async def inflight(http: aiohttp.ClientSession, replica: Sidecar) -> int:
    async with http.get(f"{replica.ops_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return int(float(next(line for line in lines if line.startswith("sidecar_inflight_requests ")).split()[1]))


async def under_way(http: aiohttp.ClientSession, replicas: list[Sidecar], count: int) -> None:
    """Returns once so many requests are in the hands of the replicas."""
    while sum([await inflight(http, replica) for replica in replicas]) < count:
        pass


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stampede_over_three_replicas_is_one_call(redis_url: str, stream: bool) -> None:
    """Sixty clients ask the same at three replicas before the provider has said a word."""
    async with StrictProvider(new_keys(3)) as provider, many() as http:
        provider.faults.append(Fault(hang=True))
        async with fleet(3, config(provider, redis_url, 3) | {"cache": CACHE}) as replicas:
            asking = [asyncio.ensure_future(asked(http, replicas[n % 3], stream=stream)) for n in range(60)]
            await under_way(http, replicas, 60)
            await provider.wait_for(lambda: provider.calls)
            provider.release()
            answers = await asyncio.gather(*asking)
            assert {status for status, _, _ in answers} == {200}
            assert len({body for _, _, body in answers}) == 1
            assert Counter(cache for _, cache, _ in answers) == {"miss": 1, "hit": 59}
            assert len(provider.arrivals) == 1


async def test_another_runs_where_the_replica_that_runs_is_killed(redis_url: str) -> None:
    """One more call, and all clients of the others have its answer."""
    async with StrictProvider(new_keys(3)) as provider, many() as http:
        provider.faults.append(Fault(hang=True))
        async with fleet(3, config(provider, redis_url, 3) | {"cache": CACHE}) as replicas:
            holder, *others = replicas
            lost = asyncio.ensure_future(asked(http, holder))
            await provider.wait_for(lambda: provider.calls)
            asking = [asyncio.ensure_future(asked(http, others[n % 2])) for n in range(20)]
            await under_way(http, others, 20)
            await holder.kill()
            assert (await lost)[0] == 0
            await provider.wait_for(lambda: len(provider.calls) == 2)
            provider.release()
            answers = await asyncio.gather(*asking)
            assert Counter((status, cache) for status, cache, _ in answers) == {(200, "miss"): 1, (200, "hit"): 19}
            assert len(provider.arrivals) == 2


async def test_a_replica_that_was_frozen_ends_nobody_elses_run(redis_url: str) -> None:
    """Another runs since; whoever asks at the one that is back waits for that too."""
    async with StrictProvider(new_keys(3)) as provider, many() as http:
        provider.faults.append(Fault(hang=True))
        async with fleet(2, config(provider, redis_url, 3) | {"cache": CACHE}) as (frozen, other):
            former = asyncio.ensure_future(asked(http, frozen))
            await provider.wait_for(lambda: provider.calls)
            asking = [asyncio.ensure_future(asked(http, other)) for _ in range(3)]
            await under_way(http, [other], 3)
            frozen.signal(signal.SIGSTOP)
            await provider.wait_for(lambda: len(provider.calls) == 2)
            frozen.signal(signal.SIGCONT)
            former.cancel()
            while await inflight(http, frozen):
                pass
            asking.append(asyncio.ensure_future(asked(http, frozen)))
            await under_way(http, [frozen], 1)
            provider.release()
            answers = await asyncio.gather(*asking)
            assert Counter((status, cache) for status, cache, _ in answers) == {(200, "miss"): 1, (200, "hit"): 3}
            assert len(provider.arrivals) == 2


async def test_a_long_run_keeps_its_place(redis_url: str) -> None:
    """It gives signs of life: nobody takes it for lost, however long the provider thinks."""
    async with StrictProvider(new_keys(3)) as provider, many() as http:
        provider.faults.append(Fault(headers_s=5))
        async with fleet(2, config(provider, redis_url, 3) | {"cache": CACHE}) as replicas:
            answers = await asyncio.gather(*(asked(http, replicas[n % 2]) for n in range(6)))
            assert Counter(cache for _, cache, _ in answers) == {"miss": 1, "hit": 5}
            assert len(provider.arrivals) == 1


async def test_what_was_saved_is_told_over_all_replicas(redis_url: str) -> None:
    """In `status`, in the usage of who asked, and in each replica's metrics."""
    async with StrictProvider(new_keys(3)) as provider, many() as http:
        async with fleet(2, config(provider, redis_url, 3) | {"cache": CACHE}) as (one, other):
            answers = [await asked(http, replica) for replica in (one, one, other, other)]
            assert [cache for _, cache, _ in answers] == ["miss", "hit", "hit", "hit"]
            used = json.loads(answers[0][2])["usage"]
            for replica in (one, other):  # what it counted is in Redis once it was asked
                async with http.get(f"{replica.ops_url}/admin/v1/usage") as answer:
                    usage = await answer.json()
            async with http.get(f"{one.ops_url}/admin/v1/pools") as answer:
                told = (await answer.json())["cache"]
            async with http.get(f"{other.ops_url}/metrics") as answer:
                assert 'sidecar_cache_requests_total{result="hit"} 2.0' in await answer.text()
        saved = {
            "cache_hits": 3,
            "cache_misses": 1,
            "saved_input_tokens": 3 * used["prompt_tokens"],
            "saved_output_tokens": 3 * used["completion_tokens"],
        }
        assert told == {"today": saved, "total": saved}
        assert {name: usage["total"][name] for name in saved} == saved
        assert (usage["total"]["requests"], usage["total"]["sent"]) == (4, 1)
