"""Pools with more keys than one request asks: what is left of them is asked by the next, and a client is told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest

from sidecar.proxy.progress import MOST_ATTEMPTS
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar

HOUR = {"retry-after": "3600"}


@asynccontextmanager
async def keys(total: int, spent: int = 0, dead: int = 0) -> AsyncIterator[tuple[Plane, StrictProvider]]:
    """A pool of so many; first come those that are dead, then those that are spent."""
    async with StrictProvider(new_keys(total)) as provider:
        secrets = [*provider.accounts]
        provider.faults += [Fault(key=secret, dead=True) for secret in secrets[:dead]]
        faulty = secrets[dead : dead + spent]
        provider.faults += [Fault(key=secret, status=429, headers=HOUR) for secret in faulty]
        async with sidecar({"chat": pool(provider.url, secrets)}) as plane:
            yield plane, provider


def told(reply: Reply) -> tuple[int, int, str, str]:
    return reply.status, reply.attempts, reply.headers["retry-after"], reply.headers["x-should-retry"]


@pytest.mark.parametrize(("dead", "spent"), [(0, 22), (9, 13)])
async def test_a_client_is_told_that_keys_were_left_unasked(dead: int, spent: int) -> None:
    """They have room: nobody is to wait for an hour."""
    async with keys(25, spent, dead) as (plane, provider):
        reply = await plane.chat()
        assert told(reply) == (429, MOST_ATTEMPTS, "1", "true")
        assert reply.data["error"]["code"] == "rate_limit_exceeded"
        assert "20 keys refused this request and others were not asked yet" in reply.data["error"]["message"]
        assert (await plane.chat()).status == 200
        assert len(provider.arrivals) <= 25


async def test_an_sdk_asks_the_others_by_itself() -> None:
    def ask(url: str) -> None:
        with openai.OpenAI(api_key="unused", base_url=f"{url}/v1") as sdk:
            sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])

    async with keys(25, 22) as (plane, _):
        await asyncio.to_thread(ask, plane.url)


async def test_where_all_others_rest_the_moment_is_told() -> None:
    async with keys(40, 40) as (plane, _):
        assert told(await plane.chat()) == (429, MOST_ATTEMPTS, "1", "true")
        assert told(await plane.chat()) == (429, MOST_ATTEMPTS, "3600", "false")


async def test_so_many_are_asked_of_each_target() -> None:
    async with StrictProvider(new_keys(23)) as provider:
        secrets = [*provider.accounts]
        provider.faults.append(Fault(model="big", status=429, headers=HOUR))
        pools = {"one": pool(provider.url, secrets[:22]), "two": pool(provider.url, secrets[22:])}
        routes = {"best": [{"pool": "one", "model": "big"}, {"pool": "two", "model": "small"}]}
        async with sidecar(pools, routes=routes) as plane:
            reply = await plane.chat(model="best")
            assert (reply.status, reply.attempts) == (200, MOST_ATTEMPTS + 1)
            assert reply.headers["x-sidecar-pool"] == "two"


async def test_a_request_that_so_many_refuse_is_to_blame_itself() -> None:
    """The others would refuse it too: the provider's answer passes."""
    async with keys(30, dead=30) as (plane, provider):
        reply = await plane.chat()
        assert (reply.status, reply.attempts, len(provider.arrivals)) == (401, 20, 20)
