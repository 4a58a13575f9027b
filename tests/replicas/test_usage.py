"""What replicas count is what the provider counts, and failures are told without secrets."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from sidecar.config.secrets import fingerprint
from sidecar.model.counting import Counts, Row
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store.commands import Store
from tests.fleet import fleet
from tests.replicas.traffic import BODY, ask, config, many, new_keys
from tests.servers import RedisProcess
from tests.unit.running import running

CLIENTS = ("web", "app")


async def total(told: dict[str, Any]) -> dict[Row, Counts]:
    """The usage of all time."""
    store = Store.at(told["redis"], told["namespace"], lambda _: None)
    try:
        return await store.counted.total()
    finally:
        await store.close()


def summed(rows: dict[Row, Counts], by: str) -> dict[str, Counter[str]]:
    sums: dict[str, Counter[str]] = {}
    for row, counts in rows.items():
        sums.setdefault(getattr(row, by).partition("~")[0], Counter()).update(counts)
    return sums


def sends(counts: Counter[str]) -> int:
    """Attempts: all that are neither requests nor tokens."""
    others = {"requests", "input", "output", "cached", "reasoning"}
    return sum(count for kind, count in counts.items() if kind not in others and not kind.startswith("unserved/"))


async def test_three_replicas_count_what_the_provider_counts(redis_url: str) -> None:
    """Attempts, failures by class, tokens, clients; what was not flushed yet is flushed at SIGTERM.

    A stranger, and a client that lists the models, ask for no key: they are no requests.
    """
    async with StrictProvider(new_keys(4)) as provider, many() as http:
        told = config(provider, redis_url, 4, max_wait="5s")
        told["clients"] = [{"id": client, "token": f"token-of-{client}-0123456789"} for client in CLIENTS]
        first, second, *_ = provider.accounts
        provider.faults.append(Fault(status=429, times=3, headers={"retry-after": "1"}))
        provider.faults.append(
            Fault(status=500, times=2, body={"error": {"message": f"it broke for {first} and {second}"}})
        )
        async with fleet(3, told) as replicas:
            answers = await asyncio.gather(
                *(
                    ask(http, replicas[n % 3], Authorization=f"Bearer token-of-{CLIENTS[n % 2]}-0123456789")
                    for n in range(60)
                )
            )
            assert [status for status, _ in answers] == [200] * 60
            stranger = await ask(http, replicas[0], Authorization="Bearer nobody-knows-0123456789")
            assert stranger[0] == 401
            client = {"Authorization": "Bearer token-of-web-0123456789"}
            async with http.get(f"{replicas[0].url}/v1/models", headers=client) as listed:
                assert listed.status == 200
            for replica in replicas:
                replica.signal(signal.SIGTERM)
            assert [await replica.wait() for replica in replicas] == [0, 0, 0]
            written = "".join(replica.failures.read_text() for replica in replicas if replica.failures.exists())
        rows = await total(told)
        keys = summed(rows, "key")
        assert {key: sends(counts) for key, counts in keys.items() if key} == {
            f"k{at}": count for at, count in enumerate(provider.counts().values())
        }
        everything: Counter[str] = sum(keys.values(), Counter())
        assert sends(everything) == len(provider.arrivals) == 65
        assert (everything["ok"], everything["rate_limit_minute"], everything["server_error"]) == (60, 3, 2)
        assert everything["requests"] == 60
        assert not [kind for kind in everything if kind.startswith("unserved/")]
        usage = await usage_of_one(provider)
        assert everything["input"] == 60 * usage["prompt_tokens"]
        assert everything["output"] == 60 * usage["completion_tokens"]
        clients = summed(rows, "client")
        assert {client: counts["requests"] for client, counts in clients.items()} == {"web": 30, "app": 30}
        assert set(summed(rows, "model")) == {"gpt-4o"}
        lines = [json.loads(line) for line in written.splitlines()]
        assert Counter(line["class"] for line in lines) == {"rate_limit_minute": 3, "server_error": 2}
        assert [line["body"] for line in lines if line["class"] == "server_error"] == [
            '{"error":{"message":"it broke for k0 and k1"}}'
        ] * 2
        assert not [secret for secret in provider.accounts if secret in written]


async def usage_of_one(provider: StrictProvider) -> dict[str, int]:
    """The usage that the provider tells with each answer."""
    headers = {"Authorization": f"Bearer {next(iter(provider.accounts))}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{provider.url}/v1/chat/completions", json=BODY, headers=headers) as answer,
    ):
        told: dict[str, int] = (await answer.json())["usage"]
        return told


async def test_a_client_that_leaves_is_counted_as_the_provider_saw_it(redis_url: str) -> None:
    """A send that nobody waits for any more was a send."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, redis_url, 1)
        async with fleet(1, told) as (replica,):
            provider.faults.append(Fault(hang=True, times=1))
            leaving = asyncio.create_task(ask(http, replica))
            await provider.wait_for(lambda: provider.calls)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await provider.wait_for(lambda: provider.open == 0)
            assert (await ask(http, replica))[0] == 200
            replica.signal(signal.SIGTERM)
            assert await replica.wait() == 0
        (counts,) = summed(await total(told), "key").values()
        assert (counts["cancelled"], counts["ok"], counts["requests"], counts["unserved/cancelled"]) == (1, 1, 2, 1)


async def test_usage_stays_with_the_key_when_the_environment_gives_it_another_id(
    redis_url: str, tmp_path: Path
) -> None:
    """One variable of `.env` goes and one comes, so that each id is another key's; status, usage and CSV follow.

    What is under way meanwhile is counted as sent with the key that it has.
    """
    one, two, three = new_keys(3)
    async with StrictProvider([one, two, three]) as provider, many() as http:
        told = config(provider, redis_url, 0, strategy="fill_first", limits=[{"requests": 9, "per": "day"}])
        told["pools"]["chat"]["keys"] = {"from_env": "SK"}
        (tmp_path / ".env").write_text(f"SK={one}\nSK_1={two}\n")
        async with running(tmp_path, told) as sidecar:
            place = await sidecar.line("listening")
            url, ops = f"http://{place['listen']}/v1/chat/completions", f"http://{place['ops_listen']}/admin/v1"

            async def send(count: int) -> None:
                for _ in range(count):
                    async with http.post(url, json=BODY) as answer:
                        assert answer.status == 200

            async def sent() -> dict[str, int]:
                async with http.get(f"{ops}/usage") as answer:
                    return {row["key"]: row["sent"] for row in (await answer.json())["rows"]}

            provider.faults.append(Fault(hang=True, times=1))
            under_way = asyncio.create_task(send(1))
            await provider.wait_for(lambda: provider.calls)
            await send(11)
            assert await sent() == {"chat-1": 8, "chat-2": 3}
            (tmp_path / "new").write_text(f"SK_1={two}\nSK_2={three}\n")
            (tmp_path / "new").replace(tmp_path / ".env")
            await sidecar.line("pool chat: 1 key with another id: chat-1 (was chat-2)")
            gone = f"chat-1~{fingerprint(one, told['namespace'])}"
            provider.release()
            await under_way
            assert await sent() == {"chat-1": 3, gone: 9}
            await send(7)
            assert await sent() == {"chat-1": 9, "chat-2": 1, gone: 9}
            async with http.get(f"{ops}/usage?by=key,model&format=csv") as answer:
                lines = [line.split(",")[:5] for line in (await answer.text()).splitlines()[1:]]
            assert lines == [
                ["chat", "chat-1", "gpt-4o", "9", "9"],
                ["chat", gone, "gpt-4o", "9", "9"],
                ["chat", "chat-2", "gpt-4o", "1", "1"],
            ]
            async with http.get(f"{ops}/pools") as answer:
                keys = (await answer.json())["pools"]["chat"]["keys"]
            assert [(key["id"], key["budgets"][0]["used"], key["usage"]["today"]["sent"]) for key in keys] == [
                ("chat-1", 9, 9),
                ("chat-2", 1, 1),
            ]
            assert [provider.counts()[secret] for secret in (one, two, three)] == [9, 9, 1]


async def test_what_is_counted_while_redis_is_frozen_is_counted_once(redis_process: RedisProcess) -> None:
    """The flush waits in a frozen Redis, is given up, sent again, and executed twice: it counts once."""
    async with StrictProvider(new_keys(1)) as provider, many() as http:
        told = config(provider, redis_process.url, 1, max_wait="30s")
        async with fleet(1, told) as (replica,):
            assert (await ask(http, replica))[0] == 200
            redis_process.freeze()
            while "store is away" not in replica.log.read_text():  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0.05)
            redis_process.thaw()
            assert (await ask(http, replica))[0] == 200
            replica.signal(signal.SIGTERM)
            assert await replica.wait() == 0
        (counts,) = summed(await total(told), "key").values()
        assert (counts["ok"], counts["requests"]) == (2, 2)
