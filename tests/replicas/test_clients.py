"""Virtual keys come and go by a command, under replicas that share a file; nothing under way is touched."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sidecar.model.tokens import digest
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.replicas.traffic import BODY, config, new_keys
from tests.unit.running import Running, environ, running

WEB, JOBS = "web-token-0a1b2c3d", "jobs-token-4e5f6071"


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    async with StrictProvider(new_keys(2), [(100, 60.0)]) as strict:
        yield strict


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def document(provider: StrictProvider, redis_url: str) -> dict[str, Any]:
    clients = [{"id": "web", "token_hash": f"sha256:{digest(WEB)}"}, {"id": "jobs", "token": JOBS}]
    return config(provider, redis_url, 2) | {"clients": clients, "listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"}


async def sidecar_clients(folder: Path, *arguments: str) -> str:
    """What the command says on standard output."""
    called = (sys.executable, "-m", "sidecar", "clients", *arguments)
    done = await asyncio.to_thread(
        subprocess.run, called, cwd=folder, env=environ(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def ask(http: aiohttp.ClientSession, place: dict[str, Any], token: str, **fields: Any) -> tuple[int, bytes]:
    url, headers = f"http://{place['listen']}/v1/chat/completions", {"Authorization": f"Bearer {token}"}
    async with http.post(url, json=BODY | fields, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_a_revoked_client_is_refused_from_its_next_request_on_and_its_stream_goes_on(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str
) -> None:
    """On every replica of the file, and nobody else is."""
    provider.faults.append(Fault(hold=True, times=1))
    told = document(provider, redis_url)
    async with running(tmp_path, told) as one, running(tmp_path, told) as other:
        places = [await sidecar.line("listening") for sidecar in (one, other)]
        stream = asyncio.create_task(ask(http, places[0], WEB, stream=True))
        await provider.wait_for(lambda: provider.open == 1)
        await sidecar_clients(tmp_path, "revoke", "web")
        for sidecar, place in zip((one, other), places, strict=True):
            await sidecar.line("client web removed")
            assert (await ask(http, place, WEB))[0] == 401
            assert (await ask(http, place, JOBS))[0] == 200
        assert not stream.done()
        provider.release()
        status, body = await stream
        assert (status, body.rstrip().endswith(b"data: [DONE]")) == (200, True)


async def test_a_renewed_client_may_come_with_either_key_and_is_counted_as_one(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str
) -> None:
    """While they overlap; without an overlap the old one is nobody's."""
    async with running(tmp_path, document(provider, redis_url)) as sidecar:
        place = await sidecar.line("listening")
        new = await sidecar_clients(tmp_path, "rotate", "web", "--overlap", "1h")
        await sidecar.line("client web changed")
        assert [(await ask(http, place, token))[0] for token in (WEB, new, new)] == [200, 200, 200]
        assert (await ask(http, place, JOBS))[0] == 200
        assert await _used(http, place) == {"web": 3, "jobs": 1}
        newest = await sidecar_clients(tmp_path, "rotate", "web", "--overlap", "0s")
        await sidecar.line("client web changed")
        assert [(await ask(http, place, token))[0] for token in (WEB, new, newest)] == [401, 401, 200]
        assert not _told(sidecar, new, newest, WEB)


async def test_a_limit_is_exact_over_three_replicas_and_what_is_refused_spends_nothing(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession, redis_url: str
) -> None:
    """Of sixty calls at once ten arrive, as counted there; then another client's takes the very next number."""
    told = document(provider, redis_url)
    told["clients"][0]["limits"] = [{"requests": 10, "per": "hour"}]
    told["pools"]["chat"]["max_wait"] = "0s"
    async with running(tmp_path, told) as one, running(tmp_path, told) as two, running(tmp_path, told) as three:
        places = [await sidecar.line("listening") for sidecar in (one, two, three)]
        answers = await asyncio.gather(*(ask(http, places[at % 3], WEB) for at in range(60)))
        assert Counter(status for status, _ in answers) == {200: 10, 429: 50}
        assert len(provider.arrivals) == 10
        url, headers = f"http://{places[0]['listen']}/v1/chat/completions", {"Authorization": f"Bearer {JOBS}"}
        async with http.post(url, json=BODY, headers=headers) as answer:
            assert (answer.status, answer.headers["x-sidecar-grant"]) == (200, "10")


async def _used(http: aiohttp.ClientSession, place: dict[str, Any]) -> dict[str, int]:
    """Requests by client, as `sidecar usage --by client` tells them."""
    async with http.get(f"http://{place['ops_listen']}/admin/v1/usage?by=client") as answer:
        return {row["client"]: row["requests"] for row in (await answer.json())["rows"]}


def _told(sidecar: Running, *tokens: str) -> list[str]:
    """The virtual keys that stand in its log."""
    return [token for token in tokens if token in json.dumps(sidecar.records)]


async def test_a_first_client_closes_the_door_of_a_sidecar_that_runs_without_a_file(
    tmp_path: Path, provider: StrictProvider, http: aiohttp.ClientSession
) -> None:
    """It finds the file that `init` writes beside it."""
    variables = {"OPENAI_API_KEY": "real-1", "SIDECAR_REDIS": "memory", "SIDECAR_NAMESPACE": secrets.token_hex(4)}
    variables |= {"SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_OPS_LISTEN": "127.0.0.1:0"}
    called = (sys.executable, "-m", "sidecar", "run")
    process = await asyncio.create_subprocess_exec(
        *called, cwd=tmp_path, env=environ(variables), stderr=asyncio.subprocess.PIPE
    )
    try:
        sidecar = Running(process)
        place = await sidecar.line("listening")
        listed = f"http://{place['listen']}/v1/models"
        async with http.get(listed) as answer:
            assert answer.status == 200
        given = environ(variables)
        done = await asyncio.to_thread(
            subprocess.run, (*called[:3], "clients", "init"), cwd=tmp_path, env=given, capture_output=True, check=True
        )
        await sidecar.line("client app added")
        async with http.get(listed) as answer:
            assert answer.status == 401
        async with http.get(listed, headers={"Authorization": f"Bearer {done.stdout.decode().strip()}"}) as answer:
            assert answer.status == 200
    finally:
        process.kill()
        await process.communicate()
