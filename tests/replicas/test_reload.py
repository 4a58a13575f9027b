"""A config changes under a running process: what is under way ends as it began, and nothing spent is forgotten."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.replicas.traffic import BODY, new_keys
from tests.servers import RedisProcess
from tests.unit.running import Running, running

ONE_EACH = [{"requests": 1, "per": "hour"}]


def config(provider: StrictProvider, redis_url: str, namespace: str, *keys: int, **pool: Any) -> dict[str, Any]:
    """The provider's keys of these numbers."""
    known = list(provider.accounts)
    listed = [{"id": f"k{number}", "secret": known[number]} for number in keys]
    own = {"base_url": f"{provider.url}/v1", "dialect": "openai", "keys": listed, "max_wait": "0s"}
    return {"redis": redis_url, "namespace": namespace, "pools": {"chat": own | pool}}


def write(folder: Path, document: dict[str, Any]) -> None:
    """As an editor does, at once; `listen` stays where it is."""
    ports = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"}
    (folder / "new").write_text(json.dumps(ports | document))
    (folder / "new").replace(folder / "sidecar.yaml")


class Client:
    """A sidecar that listens, and calls to it."""

    def __init__(self, place: dict[str, Any], http: aiohttp.ClientSession) -> None:
        self.url, self.ops, self.http = f"http://{place['listen']}", f"http://{place['ops_listen']}", http

    async def ask(self, **fields: Any) -> str:
        """The key that answered, or the status."""
        async with self.http.post(f"{self.url}/v1/chat/completions", json=BODY | fields) as answer:
            await answer.read()
            return answer.headers["x-sidecar-key"] if answer.status == 200 else str(answer.status)

    async def health(self) -> dict[str, Any]:
        async with self.http.get(f"{self.ops}/health") as answer:
            assert answer.status == 200
            told: dict[str, Any] = await answer.json()
            return told

    async def metric(self, name: str) -> float:
        async with self.http.get(f"{self.ops}/metrics") as answer:
            (line,) = (line for line in (await answer.text()).splitlines() if line.startswith(f"{name} "))
            return float(line.split()[-1])


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider(new_keys(4), [(100, 60.0)]) as strict:
        yield strict


@pytest.fixture
def namespace() -> str:
    return f"t-{secrets.token_hex(6)}"


async def reloaded(sidecar: Running, cause: str) -> dict[str, Any]:
    """The line of the next reload for this cause: a file that is read on a signal may have been noticed as well."""
    while (line := await sidecar.line("config reloaded"))["cause"] != cause:
        pass
    return line


async def test_a_changed_file_is_noticed_and_keys_that_stay_keep_what_they_spent(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    before = config(provider, redis_url, namespace, 0, 1, limits=ONE_EACH)
    async with running(tmp_path, before) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        assert [await client.ask() for _ in range(3)] == ["k0", "k1", "429"]
        write(tmp_path, config(provider, redis_url, namespace, 1, 2, limits=ONE_EACH))
        await reloaded(sidecar, "file")
        await sidecar.line("pool chat: 1 key removed: k0")
        await sidecar.line("pool chat: 1 key added: k2")
        assert [await client.ask() for _ in range(2)] == ["k2", "429"]
        assert (await client.health())["config"] == {"status": "ok"}
        assert await client.metric('sidecar_config_reloads_total{result="ok"}') == 1


async def test_a_request_under_way_ends_with_the_config_that_it_began_with(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    """Its key is gone from the config, its pool too; its retry still goes to the other key of that pool."""
    provider.faults.append(Fault(hang=True, times=1))
    async with running(tmp_path, config(provider, redis_url, namespace, 0, 1)) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        stream = asyncio.create_task(client.ask(stream=True))
        await provider.wait_for(lambda: provider.open == 1 and provider.calls)
        provider.faults.append(Fault(hang=True, times=1, status=503))
        retried = asyncio.create_task(client.ask())
        await provider.wait_for(lambda: provider.open == 2)
        after = config(provider, redis_url, namespace, 2)
        write(tmp_path, after | {"pools": {"other": after["pools"]["chat"]}})
        sidecar.send(signal.SIGHUP)
        await reloaded(sidecar, "signal")
        assert await client.ask() == "k2"
        provider.release()
        assert await stream == "k0"
        assert await retried == "k0"
        async with http.get(f"{client.ops}/metrics") as answer:
            told = await answer.text()
        assert 'sidecar_requests_total{client="",model="gpt-4o",outcome="ok",pool="chat"} 2.0' in told


async def test_keys_that_are_given_an_account_keep_what_they_spent_over_all_replicas(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    """Two keys of three an hour have spent one each when they become one account, of which one more is left.

    From the first reload on, also for the replica that has not heard of it yet.
    """
    limits = [{"requests": 3, "per": "hour"}]
    before = config(provider, redis_url, namespace, 0, 1, limits=limits)
    after = config(provider, redis_url, namespace, 0, 1, limits=limits)
    for key in after["pools"]["chat"]["keys"]:
        key["account"] = "acme"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "one", before) as one, running(tmp_path / "other", before) as other:
        first, second = [Client(await sidecar.line("listening"), http) for sidecar in (one, other)]
        assert [await client.ask() for client in (first, second)] == ["k0", "k1"]
        write(tmp_path / "one", after)
        await one.line("pool chat: the account of k0, k1 is now acme")
        assert [await client.ask() for client in (second, second, first)] == ["k0", "429", "429"]
        write(tmp_path / "other", after)
        await other.line("pool chat: the account of k0, k1 is now acme")
        assert [await client.ask() for client in (first, second)] == ["429", "429"]


async def test_a_bad_file_changes_nothing_and_is_told_everywhere_until_it_is_mended(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    good = config(provider, redis_url, namespace, 0)
    async with running(tmp_path, good) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        write(tmp_path, good | {"hosst": ["a.example"], "namespace": "not a name"})
        line = await sidecar.line("config rejected: what ran before runs on")
        assert (line["level"], line["cause"]) == ("error", "file")
        health = await client.health()
        assert health["status"] == "healthy"
        assert health["config"]["status"] == "rejected"
        for wrong in ('Did you mean "hosts"?', "is no namespace"):
            assert wrong in health["config"]["error"]
        assert await client.ask() == "k0"
        assert await client.metric("sidecar_config_last_reload_successful") == 0
        assert await client.metric('sidecar_config_reloads_total{result="rejected"}') == 1
        write(tmp_path, good)
        assert (await reloaded(sidecar, "file"))["changes"] == 0
        assert (await client.health())["config"] == {"status": "ok"}
        assert await client.metric("sidecar_config_last_reload_successful") == 1
        assert [record["msg"] for record in sidecar.records if "hosst" in record["msg"]]


async def test_a_half_written_file_is_tried_again_until_it_is_whole(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    """A reload that was asked for meets half of it; the rest comes, and nobody need ask again."""
    async with running(tmp_path, config(provider, redis_url, namespace, 0)) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        whole = json.dumps(config(provider, redis_url, namespace, 1))
        with (tmp_path / "sidecar.yaml").open("w") as file:
            file.write(whole[: len(whole) // 2])
            file.flush()
            async with http.post(f"{client.ops}/admin/v1/reload") as answer:
                assert answer.status == 422
                assert (await answer.json())["error"]["problems"]
            assert await client.ask() == "k0"
            file.write(whole[len(whole) // 2 :])
        await reloaded(sidecar, "file")
        assert await client.ask() == "k1"


async def test_kubernetes_swap_of_a_mounted_secret_is_noticed(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    known, keys = list(provider.accounts), tmp_path / "keys"
    for number in range(2):
        (keys / f"..{number}").mkdir(parents=True)
        (keys / f"..{number}" / "main").write_text(known[number])
    (keys / "..data").symlink_to("..0")
    (keys / "main").symlink_to("..data/main")
    told = config(provider, redis_url, namespace)
    told["pools"]["chat"]["keys"] = {"from_dir": "keys"}
    async with running(tmp_path, told) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        assert await client.ask() == "main"
        (keys / "..tmp").symlink_to("..1")
        (keys / "..tmp").replace(keys / "..data")
        await reloaded(sidecar, "file")
        await sidecar.line("pool chat: 1 key with another secret: main")
        assert await client.ask() == "main"
        assert [provider.counts()[secret] for secret in known[:2]] == [1, 1]


async def test_what_needs_a_restart_is_said_and_the_rest_is_taken(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    """The budget that was spent under the namespace that still holds is not given anew."""
    limits = {"limits": ONE_EACH}
    async with running(tmp_path, config(provider, redis_url, namespace, 0, **limits)) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        assert await client.ask() == "k0"
        write(tmp_path, config(provider, redis_url, f"{namespace}-2", 0, 1, **limits))
        sidecar.send(signal.SIGHUP)
        await sidecar.line("namespace was changed: that needs a restart, until then it stays as it was")
        assert (await client.health())["config"] == {"status": "ok", "needs_restart": ["namespace"]}
        assert [await client.ask() for _ in range(2)] == ["k1", "429"]


async def test_secrets_of_before_and_after_are_hidden_in_what_a_reload_says(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    async with running(tmp_path, config(provider, redis_url, namespace, 0)) as sidecar:
        client = Client(await sidecar.line("listening"), http)
        write(tmp_path, config(provider, redis_url, namespace, 1))
        sidecar.send(signal.SIGHUP)
        await reloaded(sidecar, "signal")
        new = list(provider.accounts)[1]
        async with http.get(f"{client.url}/v1/files/{new}") as answer:
            await answer.read()
        line = await sidecar.line("request")
        assert line["path"] == "/v1/files/k1"
        sidecar.send(signal.SIGTERM)
        assert await sidecar.ended() == 0
        assert not [secret for secret in provider.accounts if secret in json.dumps(sidecar.records)]


async def test_a_disabled_key_is_granted_by_no_replica_and_still_not_after_a_restart(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str, namespace: str
) -> None:
    told = config(provider, redis_url, namespace, 0, 1)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "other", told) as other:
        second = Client(await other.line("listening"), http)
        assert await second.ask() == "k0"
        async with running(tmp_path / "one", told) as one:
            first = Client(await one.line("listening"), http)
            async with http.post(f"{first.ops}/admin/v1/keys/k1/disable") as answer:
                assert await answer.json() == {"pool": "chat", "key": "k1", "status": "disabled", "changed": True}
            await one.line("key disabled")
            assert [await client.ask() for client in (first, second) * 2] == ["k0"] * 4
        async with running(tmp_path / "one", told) as again:
            third = Client(await again.line("listening"), http)
            assert [await client.ask() for client in (third, second)] == ["k0"] * 2
            async with http.post(f"{third.ops}/admin/v1/keys/chat%2Fk1/enable") as answer:
                assert (await answer.json())["changed"] is True
            assert {await client.ask() for client in (third, second)} == {"k0", "k1"}


async def counted(client: Client, change: str) -> list[float]:
    """What this replica's metrics tell of a change of keys."""
    async with client.http.get(f"{client.ops}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    told = [line for line in lines if line.startswith("sidecar_key_changes_total") and f'change="{change}"' in line]
    return [float(line.rpartition(" ")[2]) for line in told]


async def test_a_disabled_key_stays_so_when_redis_is_emptied_and_every_replica_tells_who_did_it(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_process: RedisProcess, namespace: str
) -> None:
    told = config(provider, redis_process.url, namespace, 0, 1)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    async with running(tmp_path / "one", told) as one, running(tmp_path / "other", told) as other:
        first, second = [Client(await sidecar.line("listening"), http) for sidecar in (one, other)]
        assert [await client.ask() for client in (first, second)] == ["k0", "k1"]
        async with http.post(f"{first.ops}/admin/v1/keys/k1/disable") as answer:
            assert (await answer.json())["changed"] is True
        lines = [await sidecar.line("key disabled") for sidecar in (one, other)]
        assert [(line["key"], line["by"]) for line in lines] == [("k1", "admin api, 127.0.0.1")] * 2
        assert [await counted(client, "disabled") for client in (first, second)] == [[1.0], []]
        with redis.Redis(port=redis_process.port) as raw:
            raw.flushall()
        assert [await client.ask() for client in (first, second) * 4] == ["k0"] * 8
        async with http.post(f"{second.ops}/admin/v1/keys/k1/enable") as answer:
            assert (await answer.json())["changed"] is True
        assert (await one.line("key enabled"))["by"] == "elsewhere"
        assert {await client.ask() for client in (first, second)} == {"k0", "k1"}
        for sidecar in (one, other):
            sidecar.send(signal.SIGTERM)
            assert await sidecar.ended() == 0
            assert [record["msg"] for record in sidecar.records if record["msg"].startswith("key ")] == [
                "key disabled",
                "key enabled",
            ]
