"""Budgets of tokens over several replicas: reserved before the send, settled by what the answer tells."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp

from sidecar.simulate.budgets import Budget
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import config, many, new_keys


async def _chat(
    http: aiohttp.ClientSession, sidecar: Sidecar, most: int, stream: bool = False, max_wait: str = "0"
) -> tuple[int, Any]:
    body = {
        "model": "gpt-4o",
        "max_tokens": most,
        "stream": stream,
        "messages": [{"role": "user", "content": "hello " * 20}],
    }
    if stream:
        body["stream_options"] = {"include_usage": True}
    headers = {"x-sidecar-max-wait": max_wait}
    async with http.post(f"{sidecar.url}/v1/chat/completions", json=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_no_window_holds_more_tokens_than_its_budget(redis_url: str) -> None:
    """An overload of ten times over two windows, plain and streamed: the provider, which counts for itself, agrees."""
    async with StrictProvider(new_keys(3), budgets=[Budget(3000, 2.0, unit="tokens")]) as provider:
        limits = [{"tokens": 3000, "per": "2s", "guard": "500ms"}]
        told = config(provider, redis_url, 3, limits=limits, max_wait="4s")
        async with fleet(3, told) as replicas, many() as http:
            calls = (_chat(http, replicas[n % 3], 200, stream=n % 2 == 0, max_wait="4") for n in range(240))
            statuses = [status for status, _ in await asyncio.gather(*calls)]
            assert set(statuses) <= {200, 429}
            assert statuses.count(200) >= 45  # what was reserved and not used is given to others
            assert provider.violations == []
            assert provider.excess() == []


async def test_what_was_not_used_is_given_back(redis_url: str) -> None:
    """A call that allows 900 tokens and needs few leaves room for nine more; a broken stream keeps its estimate."""
    async with StrictProvider(new_keys(1)) as provider:
        limits = [{"output_tokens": 1000, "per": "hour"}]
        async with (
            fleet(2, config(provider, redis_url, 1, limits=limits, max_wait="0s")) as (one, other),
            many() as http,
        ):
            provider.faults.append(Fault(tokens={"output": 10}, times=9))
            for _ in range(9):
                assert (await _chat(http, one, 900))[0] == 200
            provider.faults.append(Fault(close="middle", times=1))
            with suppress(aiohttp.ClientError):
                await _chat(http, other, 900, stream=True)
            assert (await _chat(http, one, 900))[0] == 429
            assert (await _chat(http, other, 5))[0] == 200


async def test_a_refusal_costs_no_tokens(redis_url: str) -> None:
    async with StrictProvider(new_keys(2)) as provider:
        limits = [{"tokens": 1000, "per": "hour"}]
        async with fleet(1, config(provider, redis_url, 2, limits=limits, max_wait="0s")) as (one,), many() as http:
            first = next(iter(provider.accounts))
            provider.faults.append(Fault(key=first, times=1, status=429, headers={"retry-after": "1"}, body="{}"))
            provider.faults.append(Fault(tokens={"input": 20, "output": 10}))
            assert (await _chat(http, one, 800))[0] == 200
            assert (await _chat(http, one, 800, max_wait="5"))[0] == 200
            assert (await _chat(http, one, 800, max_wait="5"))[0] == 200


async def test_what_no_budget_could_hold_is_told_at_once(redis_url: str) -> None:
    async with StrictProvider(new_keys(1)) as provider:
        limits = [{"tokens": 1000, "per": "minute"}]
        async with fleet(1, config(provider, redis_url, 1, limits=limits)) as (one,), many() as http:
            status, body = await _chat(http, one, 5000)
            assert status == 413
            assert b"1000 tokens" in body
            assert provider.arrivals == []
