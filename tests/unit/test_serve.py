"""A real process serves, says what is wrong, and ends in order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.ops.log import Log
from sidecar.serve import announce
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store import memory
from sidecar.store.home import Home
from tests.servers import RedisProcess
from tests.unit.ops.worlds import CONFIG
from tests.unit.running import environ, running

SECRET = "c0ffee-0a1b2c3d4e5f-secret"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider([SECRET]) as strict:
        yield strict


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def config(url: str = "http://127.0.0.1:9", **fields: Any) -> dict[str, Any]:
    pool = {"base_url": f"{url}/v1", "dialect": "openai", "keys": [{"id": "only", "secret": SECRET}]}
    return {"redis": "memory", "pools": {"chat": pool}} | fields


async def status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as answer:
        return answer.status


async def test_requests_are_forwarded_and_each_is_one_line(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    async with running(tmp_path, config(provider.url)) as sidecar:
        place = await sidecar.line("listening")
        async with http.post(f"http://{place['listen']}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
        line = await sidecar.line("request")
        assert (line["key"], line["model"], line["status"], line["attempts"]) == ("only", "m", 200, 1)
        async with http.get(f"http://{place['ops_listen']}/metrics") as answer:
            told = await answer.text()
        assert 'sidecar_attempts_total{key="only",model="m",outcome="ok",pool="chat"} 1.0' in told
        async with http.get(f"http://{place['listen']}/metrics") as answer:
            assert 'sidecar_requests_total{client="",model="m",outcome="ok",pool="chat"} 1.0' in await answer.text()
        sidecar.send(signal.SIGTERM)
        assert await sidecar.ended() == 0
        assert SECRET not in json.dumps(sidecar.records)
        assert [r["msg"] for r in sidecar.records if r["level"] != "info"] == [sidecar.records[2]["msg"]]


_HANGUP = """
import os, pathlib, signal, sys


class Hangup:
    def find_spec(self, name, path, target=None):
        if name == "sidecar.serve":
            pathlib.Path("hung_up").touch()
            os.kill(os.getpid(), signal.SIGHUP)


sys.meta_path.insert(0, Hangup())
"""


async def test_sighup_before_it_serves_does_not_end_it(tmp_path: Path) -> None:
    """While it still imports, as where a supervisor starts it and at once tells it to read its config anew."""
    (tmp_path / "sitecustomize.py").write_text(_HANGUP)
    path = os.pathsep.join((str(tmp_path), environ()["PYTHONPATH"]))
    async with running(tmp_path, config(), variables={"PYTHONPATH": path}) as sidecar:
        await sidecar.line("listening")
        assert (tmp_path / "hung_up").exists()
        sidecar.send(signal.SIGTERM)
        assert await sidecar.ended() == 0


async def test_sigterm_lets_what_is_under_way_end_and_takes_nothing_new(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    """Readiness is off and the port closed before the answer has come; then the process ends with 0."""
    provider.faults.append(Fault(hang=True))
    async with running(tmp_path, config(provider.url)) as sidecar:
        place = await sidecar.line("listening")
        url, ops = f"http://{place['listen']}", f"http://{place['ops_listen']}"
        asked = asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=CHAT | {"stream": True}))
        await provider.wait_for(lambda: provider.open == 1 and provider.calls)
        sidecar.send(signal.SIGTERM)
        assert (await sidecar.line("draining"))["requests"] == 1
        assert await status(http, f"{ops}/health/ready") == 503
        assert await status(http, f"{ops}/health/live") == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(http, f"{url}/health")
        provider.release()
        answer = await asked
        assert answer.status == 200
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        assert await sidecar.ended() == 0


async def test_a_second_signal_ends_at_once(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(hang=True))
    async with running(tmp_path, config(provider.url), "--grace", "3600") as sidecar:
        place = await sidecar.line("listening")
        asked = asyncio.create_task(http.post(f"http://{place['listen']}/v1/chat/completions", json=CHAT))
        await provider.wait_for(lambda: provider.open == 1 and provider.calls)
        sidecar.send(signal.SIGINT)
        await sidecar.line("draining")
        sidecar.send(signal.SIGTERM)
        assert (await sidecar.line("requests are cut off"))["requests"] == 1
        assert await sidecar.ended() == 0
        async with await asked as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json())["error"]["code"] == "stopped"


async def test_the_grace_ends_what_does_not_end_by_itself(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    provider.faults.append(Fault(hang=True))
    async with running(tmp_path, config(provider.url), "--grace", "0.1") as sidecar:
        place = await sidecar.line("listening")
        asked = asyncio.create_task(http.post(f"http://{place['listen']}/v1/chat/completions", json=CHAT))
        await provider.wait_for(lambda: provider.open == 1 and provider.calls)
        sidecar.send(signal.SIGTERM)
        await sidecar.line("requests are cut off")
        await provider.wait_for(lambda: provider.open == 0)
        assert provider.arrivals[0].ended == "cancelled"
        assert await sidecar.ended() == 0
        async with await asked as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (await answer.json())["error"]["code"] == "stopped"


@pytest.mark.parametrize("setting", ["listen", "ops_listen"])
async def test_a_port_in_use_is_one_line_that_names_the_setting(setting: str, tmp_path: Path) -> None:
    """The store was not reached yet, and is not for its end either."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        async with running(tmp_path, config(redis="redis://127.0.0.1:1/0", **{setting: address})) as sidecar:
            assert await sidecar.ended() == 1
            (line,) = sidecar.records
            assert line["level"] == "error"
            assert line["msg"] == f"{address} is in use: set `{setting}`, or stop what holds it."


async def test_a_store_that_is_away_at_the_start_stops_nothing(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_process: RedisProcess
) -> None:
    """It starts, says so, is not ready, and recovers by itself."""
    redis_process.kill()
    async with running(tmp_path, config(provider.url, redis=redis_process.url)) as sidecar:
        assert (await sidecar.line("store is away"))["level"] == "error"
        place = await sidecar.line("listening")
        url, ops = f"http://{place['listen']}", f"http://{place['ops_listen']}"
        assert await status(http, f"{ops}/health/live") == 200
        for plane in (url, ops):
            async with http.get(f"{plane}/health/ready") as answer:
                assert answer.status == 503
                assert (await answer.json())["reason"].startswith("the store is away")
        async with http.get(f"{ops}/metrics") as answer:
            assert "\nsidecar_store_up 0.0\n" in await answer.text()
        redis_process.start()
        await sidecar.line("store is back")
        assert await status(http, f"{ops}/health/ready") == 200
        async with http.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            assert answer.status == 200
        sidecar.send(signal.SIGTERM)
        assert await sidecar.ended() == 0


def test_a_broken_config_tells_everything_and_ends_with_1(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("listn: 1\npools: {chat: {provider: opnai, keys: [{id: a, secret: sk-0a1b2c3d4e5f6a7b8c9d}]}}\n")
    command = (sys.executable, "-m", "sidecar", "run", "--config", str(broken))
    done = subprocess.run(command, cwd=tmp_path, env=environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'Did you mean "listen"?' in done.stderr
    assert 'Did you mean "openai"?' in done.stderr
    assert "Traceback" not in done.stderr


def test_what_only_other_commands_want_is_not_imported(tmp_path: Path) -> None:
    """The simulated Redis is imported by the memory store alone, tables by those who draw."""
    look = (
        "import sys, sidecar.cli.run; print([m for m in ('rich', 'sidecar.simulate', 'fakeredis') if m in sys.modules])"
    )
    command = (sys.executable, "-c", look)
    done = subprocess.run(command, cwd=tmp_path, env=environ(), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_first_lines_name_pools_keys_and_warnings() -> None:
    stream = io.StringIO()
    announce(replace(CONFIG, warnings=("env X is empty.",)), Home(), Log(stream, "json"))
    _, pool, warning = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (pool["msg"], pool["count"], pool["keys"]) == ("pool chat", 2, "chat-1, chat-2")
    assert (warning["level"], warning["msg"]) == ("warning", "env X is empty.")


def test_the_memory_store_is_announced_with_what_is_lost() -> None:
    stream = io.StringIO()
    announce(CONFIG, memory.HOME, Log(stream, "json"))
    assert "a restart forgets them" in json.loads(stream.getvalue().splitlines()[-1])["msg"]


def test_an_embedded_store_is_announced_with_its_folder_and_who_does_not_share_it() -> None:
    stream = io.StringIO()
    announce(CONFIG, Home("redis-server 7.0 in /state", warning="alone"), Log(stream, "json"))
    *_, place, warning = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (place["level"], place["store"]) == ("info", "redis-server 7.0 in /state")
    assert (warning["level"], warning["msg"]) == ("warning", "alone")
