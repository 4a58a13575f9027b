"""Requests that wait on several replicas: one queue, whose order is that of their grants."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import BODY, config, many, new_keys

WINDOW_S, GUARD_S = 1.0, 0.3


async def test_first_come_first_served_over_all_replicas(redis_url: str) -> None:
    """Three a window, nine at once on three replicas: all are served, in the order of their numbers, none too early."""
    limit = {"requests": 3, "per": "1s", "guard": "300ms"}
    async with StrictProvider(new_keys(1), [(3, WINDOW_S)]) as provider:
        told = config(provider, redis_url, 1, limits=[limit], max_wait="20s")
        async with fleet(3, told) as replicas, many() as http:

            async def turn(sidecar: Sidecar) -> tuple[int, int]:
                """The grant's number, and as which it arrived at the provider."""
                async with http.post(f"{sidecar.url}/v1/chat/completions", json=BODY) as answer:
                    assert answer.status == 200
                    data = await answer.json()
                    return int(answer.headers["x-sidecar-grant"]), int(data["id"].removeprefix("chatcmpl-"))

            turns = sorted(await asyncio.gather(*(turn(replicas[n % 3]) for n in range(9))))
            assert [grant for grant, _ in turns] == list(range(9))
            assert [arrival // 3 for _, arrival in turns] == [grant // 3 for grant, _ in turns]
            assert provider.excess() == []


async def test_ten_times_the_budget_is_served_up_to_the_budget(redis_url: str) -> None:
    """Some wait, the others are told; no window holds more than it may, and almost none holds less."""
    limit = {"requests": 10, "per": "1s", "guard": "300ms"}
    async with StrictProvider(new_keys(3), [(10, WINDOW_S)]) as provider:
        told = config(provider, redis_url, 3, limits=[limit], max_wait="1s")
        async with fleet(3, told) as replicas, many() as http:
            statuses: Counter[int] = Counter()
            ends = time.monotonic() + 4

            async def caller(sidecar: Sidecar) -> None:
                while time.monotonic() < ends:
                    async with http.post(f"{sidecar.url}/v1/chat/completions", json=BODY) as answer:
                        await answer.read()
                        statuses[answer.status] += 1
                        if answer.status == 429:
                            await asyncio.sleep(0.2)

            await asyncio.gather(*(caller(replicas[n % 3]) for n in range(230)))
            assert set(statuses) <= {200, 429}
            assert provider.violations == []
            assert provider.excess() == []
            windows = 4 / (WINDOW_S + GUARD_S)
            assert statuses[200] >= 0.8 * windows * 30
            assert len(provider.arrivals) == statuses[200]
