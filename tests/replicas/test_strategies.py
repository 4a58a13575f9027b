"""Each strategy is exact over three replicas, as if one process chose."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest

from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import ask, config, many, new_keys


async def _keys(http: aiohttp.ClientSession, replicas: list[Sidecar], requests: int) -> list[str]:
    """Who answered, in the order of the grants' numbers, which have no gaps."""
    answers = await asyncio.gather(*(ask(http, replicas[n % len(replicas)]) for n in range(requests)))
    assert {status for status, _ in answers} == {200}
    grants = sorted((int(headers["x-sidecar-grant"]), headers["x-sidecar-key"]) for _, headers in answers)
    assert [number for number, _ in grants] == list(range(requests))
    return [key for _, key in grants]


def _listed(told: dict[str, Any], **of_keys: list[int]) -> dict[str, Any]:
    """The config with a field of each key."""
    for field, values in of_keys.items():
        for key, value in zip(told["pools"]["chat"]["keys"], values, strict=True):
            key[field] = value
    return told


async def test_weighted_gives_a_a_b_a(redis_url: str) -> None:
    """Weights of 3 and 1: the pattern of four, over and over, whichever replica asks."""
    async with StrictProvider(new_keys(2)) as provider:
        told = _listed(config(provider, redis_url, 2, strategy="weighted"), weight=[3, 1])
        async with fleet(3, told) as replicas, many() as http:
            assert await _keys(http, replicas, 400) == ["k0", "k0", "k1", "k0"] * 100


async def test_weighted_is_fair_in_every_prefix(redis_url: str) -> None:
    """No key is ever more than one grant ahead of its share or behind it."""
    weights = [5, 3, 2, 1]
    async with StrictProvider(new_keys(4)) as provider:
        told = _listed(config(provider, redis_url, 4, strategy="weighted"), weight=weights)
        async with fleet(3, told) as replicas, many() as http:
            seen: Counter[str] = Counter()
            for grants, key in enumerate(await _keys(http, replicas, 330), 1):
                seen[key] += 1
                for index, weight in enumerate(weights):
                    assert abs(seen[f"k{index}"] - grants * weight / 11) <= 1


async def test_least_used_levels_what_was_uneven(redis_url: str) -> None:
    """A key that was given more by another rotation waits until the others have caught up."""
    async with StrictProvider(new_keys(3)) as provider:
        told = config(provider, redis_url, 3, strategy="least_used")
        told["pools"]["chat"]["keys"][0]["models"] = ["gpt-4o", "extra"]
        for key in told["pools"]["chat"]["keys"][1:]:
            key["models"] = ["gpt-4o"]
        told["routes"] = {"extra": [{"pool": "chat", "model": "extra"}]}
        async with fleet(3, told) as replicas, many() as http:
            body = {"model": "extra", "messages": []}
            for n in range(6):
                async with http.post(f"{replicas[n % 3].url}/v1/chat/completions", json=body) as answer:
                    assert answer.headers["x-sidecar-key"] == "k0"
            first = await _keys(http, replicas, 12)
            assert Counter(first) == {"k1": 6, "k2": 6}
            assert Counter(provider.counts().values()) == {6: 3}
            after = await asyncio.gather(*(ask(http, replicas[n % 3]) for n in range(9)))
            assert Counter(headers["x-sidecar-key"] for _, headers in after) == {"k0": 3, "k1": 3, "k2": 3}


@pytest.mark.parametrize(("strategy", "fields"), [("priority", {"priority": [1, 0, 1]}), ("fill_first", {})])
async def test_the_next_key_only_when_the_first_has_no_room(
    redis_url: str, strategy: str, fields: dict[str, list[int]]
) -> None:
    """Budgets of ten: the preferred key is used up, to the last of the ten, before another is touched."""
    async with StrictProvider(new_keys(3)) as provider:
        limits = [{"requests": 10, "per": "hour"}]
        told = _listed(config(provider, redis_url, 3, strategy=strategy, limits=limits, max_wait="0s"), **fields)
        async with fleet(3, told) as replicas, many() as http:
            keys = await _keys(http, replicas, 30)
            assert {status for status, _ in [await ask(http, replicas[0])]} == {429}
    if strategy == "priority":
        assert keys[:10] == ["k1"] * 10
        assert keys[10:] == ["k0", "k2"] * 10
    else:
        assert keys == ["k0"] * 10 + ["k1"] * 10 + ["k2"] * 10
