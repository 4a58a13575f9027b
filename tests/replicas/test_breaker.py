"""A provider that is down, before several replicas: none of them storms it, and one finds out when it is back."""

from __future__ import annotations

import asyncio

from sidecar.pool.retries import FLOOR
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import fleet
from tests.replicas.traffic import ask, config, many, new_keys


async def test_a_provider_that_is_down_is_left_alone_by_all_and_tried_by_one(redis_url: str) -> None:
    """Of three hundred requests it gets the ten that open the breaker, and those that were on their way with them."""
    async with StrictProvider(new_keys(6)) as provider:
        told = config(provider, redis_url, 6, max_wait="0s", breaker={"pause": "2s"})
        async with fleet(3, told) as replicas, many() as http:
            provider.faults.append(Fault(status=503))
            for _ in range(20):
                answers = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(15)))
                assert {status for status, _ in answers} == {503}
            assert 10 <= len(provider.arrivals) <= 10 + 15
            provider.faults[:] = [Fault(hang=True, times=1)]
            down, probe = len(provider.arrivals), set[asyncio.Future[object]]()
            while len(provider.arrivals) == down:
                probe = {task for task in probe if not task.done()}
                probe |= {asyncio.ensure_future(ask(http, replica)) for replica in replicas}
                await asyncio.sleep(0.05)
            refused = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(30)))
            assert {status for status, _ in refused} == {503}
            assert len(provider.arrivals) == down + 1
            provider.release()
            await asyncio.gather(*probe)
            while (await ask(http, replicas[0]))[0] == 503:  # its client has the answer before Redis knows of it
                pass
            answers = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(30)))
            assert {status for status, _ in answers} == {200}


async def test_without_a_breaker_retries_are_a_share_of_each_replicas_traffic(redis_url: str) -> None:
    async with StrictProvider(new_keys(6)) as provider:
        told = config(provider, redis_url, 6, max_wait="0s", breaker="off")
        async with fleet(3, told) as replicas, many() as http:
            provider.faults.append(Fault(status=503))
            for _ in range(10):
                await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(30)))
            assert 300 <= len(provider.arrivals) <= 300 * 1.2 + 3 * 2 * FLOOR
