"""Replicas come, change, lose their store and go: what was promised before holds on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from sidecar.replica import SILENCE_US
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.commands import Store
from tests.fleet import Sidecar, fleet
from tests.replicas.traffic import BODY, ask, config, many, new_keys
from tests.servers import RedisProcess


async def test_budgets_hold_while_a_change_of_config_rolls_through(redis_url: str) -> None:
    """Two replicas with different configs of one pool: a rotation each, but one budget for an account."""
    limit = {"requests": 10, "per": "2s", "guard": "300ms"}
    async with StrictProvider(new_keys(4), [(10, 2.0)]) as provider:
        before = config(provider, redis_url, 3, limits=[limit], max_wait="0s")
        after = json.loads(json.dumps(before))
        after["pools"]["chat"]["keys"] = config(provider, redis_url, 4)["pools"]["chat"]["keys"][::-1]
        after["routes"] = {"other": [{"pool": "chat", "model": "gpt-4o"}]}
        async with fleet(1, before) as (old,), fleet(1, after) as (new,), many() as http:
            answers = await asyncio.gather(*(ask(http, (old, new)[n % 2]) for n in range(160)))
            assert [status for status, _ in answers].count(200) == 40
            assert set(provider.counts().values()) == {10}
            assert {headers["x-sidecar-key"] for status, headers in answers if status == 200} == {
                "k0",
                "k1",
                "k2",
                "k3",
            }
            assert provider.violations == []
            assert provider.excess() == []


async def test_a_redis_that_restarts_empty_is_said_loudly_and_served_from(redis_process: RedisProcess) -> None:
    """Rotations are registered again; requests that came meanwhile have waited, and no client saw an error."""
    async with (
        StrictProvider(new_keys(2)) as provider,
        fleet(2, config(provider, redis_process.url, 2, max_wait="20s")) as replicas,
        many() as http,
    ):
        for replica in replicas:
            assert (await ask(http, replica))[0] == 200
        redis_process.kill()
        waiting = asyncio.gather(*(ask(http, replicas[n % 2]) for n in range(10)))
        redis_process.start()
        answers = await waiting
        assert [status for status, _ in answers] == [200] * 10
        grants = sorted(int(headers["x-sidecar-grant"]) for _, headers in answers)
        assert grants == list(range(10))
        assert [replica for replica in replicas if "emptied" in replica.log.read_text()]


STOPPED = "The sidecar was stopped before the answer ended."


async def streaming(
    http: aiohttp.ClientSession,
    sidecar: Sidecar,
    path: str = "/v1/chat/completions",
    body: Mapping[str, Any] = BODY | {"stream": True},
) -> aiohttp.ClientResponse:
    """A stream of which the first event has come."""
    answer = await http.post(f"{sidecar.url}{path}", json=body)
    assert await answer.content.readline()
    return answer


async def test_sigterm_lets_a_stream_finish_and_exits_0(redis_url: str) -> None:
    """Readiness goes at once, new connections are refused, what runs runs to its end."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        provider.faults.append(Fault(chunk_s=0.15))
        async with fleet(1, config(provider, redis_url, 1)) as (replica,):
            answer = await streaming(http, replica)
            replica.signal(signal.SIGTERM)
            await draining(http, replica)
            with pytest.raises(aiohttp.ClientConnectorError):
                while True:  # who connects before the port is closed is served
                    await http.get(f"{replica.url}/health", headers={"Connection": "close"})
            rest = await answer.read()
            assert rest.endswith(b"data: [DONE]\n\n")
            assert await replica.wait() == 0
            assert provider.arrivals[0].ended == "answered"


async def test_who_came_before_sigterm_is_answered_though_nobody_had_looked_yet(redis_url: str) -> None:
    """A process that gets no time for a while finds connections and the signal at once."""
    body = json.dumps(BODY).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    asked = head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with StrictProvider(new_keys(1)) as provider, fleet(1, config(provider, redis_url, 1)) as (replica,):
        replica.signal(signal.SIGSTOP)
        port = int(replica.url.rpartition(":")[2])
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in streams:
            writer.write(asked)
        replica.signal(signal.SIGTERM)
        replica.signal(signal.SIGCONT)
        answers = await asyncio.gather(*(reader.read() for reader, _ in streams), return_exceptions=True)
        assert [answer[9:12] for answer in answers if isinstance(answer, bytes)] == [b"200"] * 20
        assert await replica.wait() == 0
        for _, writer in streams:
            writer.close()


async def draining(http: aiohttp.ClientSession, sidecar: Sidecar) -> None:
    """Returns once its readiness has gone."""
    while True:
        async with http.get(f"{sidecar.ops_url}/health/ready") as answer:
            if answer.status == 503:
                assert "shutting down" in await answer.text()
                return
        await asyncio.sleep(0.01)


async def test_a_replica_that_ends_is_counted_no_more(redis_url: str) -> None:
    """At once, not when it has been silent for long enough to be dead."""
    async with StrictProvider(new_keys(1)) as provider:
        told = config(provider, redis_url, 1)
        store = Store.at(told["redis"], told["namespace"], lambda _: None)
        async with fleet(2, told) as (one, _):
            assert await store.beat("", SILENCE_US) == 2
            one.signal(signal.SIGTERM)
            assert await one.wait() == 0
            assert await store.beat("", SILENCE_US) == 1
        await store.close()


async def test_a_second_sigterm_ends_at_once(redis_url: str) -> None:
    """A stream that never ends is told why it does now; the provider's side is cut."""
    async with StrictProvider(new_keys(1), words=("x",) * 1000) as provider, many() as http:
        provider.faults.append(Fault(chunk_s=0.3))
        async with fleet(1, config(provider, redis_url, 1)) as (replica,):
            answer = await streaming(http, replica)
            replica.signal(signal.SIGTERM)
            await draining(http, replica)
            replica.signal(signal.SIGTERM)
            *_, last = (await answer.read()).decode().removesuffix("\n\n").split("\n\n")
            assert json.loads(last.removeprefix("data: "))["error"]["message"] == STOPPED
            assert await replica.wait() == 0
            await provider.wait_for(lambda: provider.arrivals[0].ended == "cancelled")


async def test_no_stream_ends_silently_when_the_grace_does(redis_url: str) -> None:
    """A hundred of them, each with the event of its dialect, as their providers go on."""
    async with StrictProvider(new_keys(1), words=("x",) * 1000) as provider, many() as http:
        provider.faults.append(Fault(chunk_s=0.3))
        told = config(provider, redis_url, 1)
        told["pools"]["claude"] = {"provider": "anthropic"} | told["pools"]["chat"] | {"base_url": provider.url}
        del told["pools"]["claude"]["dialect"]
        async with fleet(1, told, arguments=("--grace", "0.5")) as (replica,):
            claude = BODY | {"model": "claude-x", "max_tokens": 9000, "stream": True}
            chats = [streaming(http, replica) for _ in range(80)]
            messages = [streaming(http, replica, "/v1/messages", claude) for _ in range(20)]
            answers = await asyncio.gather(*chats, *messages)
            replica.signal(signal.SIGTERM)
            bodies = await asyncio.gather(*(answer.text() for answer in answers))
            lasts = [body.removesuffix("\n\n").rpartition("\n\n")[2] for body in bodies]
            assert {last.partition("{")[0] for last in lasts[:80]} == {"data: "}
            assert {last.partition("{")[0] for last in lasts[80:]} == {"event: error\ndata: "}
            errors = [json.loads(last.partition("data: ")[2])["error"] for last in lasts]
            assert {error["message"] for error in errors} == {STOPPED}
            assert await replica.wait() == 0
            lines = [json.loads(line) for line in replica.log.read_text().splitlines()]
            assert [line["outcome"] for line in lines if line["msg"] == "request"] == ["stopped"] * 100


async def test_who_waits_for_room_when_the_grace_ends_is_told_to_come_again(redis_url: str) -> None:
    """And what was reserved for it is free for the others."""
    limit = {"requests": 1, "per": "4s", "guard": "100ms"}
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, redis_url, 1, limits=[limit], max_wait="20s")
        async with fleet(2, told, arguments=("--grace", "0.1")) as (one, other):
            assert (await ask(http, one))[0] == 200
            waiting = asyncio.create_task(ask(http, one))
            while "sidecar_inflight_requests 1.0" not in await metrics(http, one):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
            one.signal(signal.SIGTERM)
            status, headers = await waiting
            assert (status, headers["Retry-After"], headers["x-should-retry"]) == (503, "1", "true")
            assert await one.wait() == 0
            status, headers = await ask(http, other)
            assert (status, provider.excess()) == (200, [])
            assert float(headers["x-sidecar-waited-ms"]) < 4200


async def metrics(http: aiohttp.ClientSession, sidecar: Sidecar) -> str:
    async with http.get(f"{sidecar.ops_url}/metrics") as answer:
        return await answer.text()


async def test_a_replica_that_is_killed_leaves_its_budget_spent(redis_url: str) -> None:
    """What it had sent stays counted: the others do not send it again."""
    limit: dict[str, Any] = {"requests": 4, "per": "minute"}
    async with StrictProvider(new_keys(2), [(4, 60.0)]) as provider, many() as http:
        told = config(provider, redis_url, 2, limits=[limit], max_wait="0s")
        async with fleet(2, told) as (doomed, other):
            provider.faults.append(Fault(hang=True))
            lost = asyncio.gather(*(ask(http, doomed) for _ in range(5)))
            await provider.wait_for(lambda: len(provider.calls) == 5)
            await doomed.kill()
            assert {status for status, _ in await lost} == {0}
            provider.faults.clear()
            statuses = [(await ask(http, other))[0] for _ in range(6)]
            assert statuses == [200, 200, 200, 429, 429, 429]
            assert provider.excess() == []
