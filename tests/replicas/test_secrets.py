"""A key's secret is in the sidecars' memory and on the wire to its provider, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import redis.asyncio

from sidecar.ops.log import Foreign, Log
from sidecar.ops.redact import redactor
from sidecar.proxy import relay
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.fleet import fleet
from tests.proxy.plane import pool, sidecar
from tests.replicas.traffic import BODY, config, many, new_keys
from tests.servers import free_port

TOKEN = "virtual-token-of-the-web-client"
CHAT = "/v1/chat/completions"


def leaks(secrets: list[str], seen: dict[str, str]) -> list[tuple[str, str]]:
    """Where a secret, or a good part of one, stands: (place, surroundings), with what follows it hidden."""
    forms = [
        form for secret in secrets for form in (secret[3:], secret[8:24], base64.b64encode(secret.encode()).decode())
    ]
    return [(place, text[: text.index(form)][-80:]) for place, text in seen.items() for form in forms if form in text]


async def dump(url: str) -> str:
    """Every key of a Redis with all that it holds."""
    client = redis.asyncio.Redis.from_url(url)
    told: list[tuple[bytes, object]] = []
    async for key in client.scan_iter():
        kind = await client.type(key)
        if kind == b"hash":
            told.append((key, await client.hgetall(key)))
        elif kind == b"zset":
            told.append((key, await client.zrange(key, 0, -1, withscores=True)))
        elif kind == b"string":
            told.append((key, await client.get(key)))
        elif kind == b"set":
            told.append((key, await client.smembers(key)))
        else:
            raise AssertionError(f"a key of an unknown type: {kind!r}")
    assert told
    told.append((b"clients", await client.client_list()))
    await client.aclose()
    return repr(told)


async def watch(url: str, heard: list[str], watching: asyncio.Event) -> None:
    """Every command that this Redis is sent."""
    client = redis.asyncio.Redis.from_url(url)
    try:
        async with client.monitor() as monitor:
            watching.set()
            async for command in monitor.listen():
                heard += [repr(command)]
    finally:
        await client.aclose()


async def traffic(http: aiohttp.ClientSession, url: str, provider: StrictProvider) -> dict[str, str]:
    """All that can happen to a request, and all that its client is told."""
    told: dict[str, str] = {}

    async def call(name: str, path: str = CHAT, headers: dict[str, str] | None = None, **body: Any) -> None:
        known = {"Authorization": f"Bearer {TOKEN}"} | (headers or {})
        data = json.dumps(BODY | body)
        with suppress(aiohttp.ClientError):
            async with http.post(url + path, data=data, headers=known) as answer:
                told[name] = repr(answer.headers)
                told[name] += (await answer.read()).decode("latin-1")

    async def spoilt(name: str, fault: Fault, **body: Any) -> None:
        provider.faults.append(fault)
        await call(name, **body)
        provider.faults.clear()

    echo = {
        "error": {"message": "Incorrect API key provided: {secret}", "code": "bad", "type": "invalid_request_error"}
    }
    await call("ok")
    await call("stream", stream=True)
    await spoilt("echo", Fault(status=400, body=echo, headers={"x-echo": "Bearer {secret}"}))
    await spoilt("echo packed", Fault(status=400, body=echo, gzip=True), headers={"Accept-Encoding": "gzip"})
    await spoilt("echo of all", Fault(status=500, body=echo, times=5))
    await spoilt("echo at first", Fault(status=400, body=echo, at="first"), stream=True)
    await spoilt("dead", Fault(dead=True, times=1))
    await spoilt("dead all", Fault(dead=True))
    await spoilt("cut", Fault(close="middle", times=1), stream=True)
    await spoilt("gone", Fault(close="before"))
    await spoilt("rate limits", Fault(status=429, headers={"retry-after": "1"}))
    await call("unreachable", "/pools/dead/x")
    await call("stranger", headers={"Authorization": "Bearer a-strangers-token-0123456789"})
    await call("malformed", headers={"X-Long": "a" * 10_000})
    await call("no path", "/v1/../x")
    await call("no model", model="other/nothing")
    for secret in (next(iter(provider.accounts)), TOKEN):
        await call("named", model=secret)
        await call("named in a pool", "/pools/chat/chat/completions", model=f"openai/{secret}")
        await call("named in a path", f"/v1beta/models/{secret}:generateContent")
    return told


async def pages(http: aiohttp.ClientSession, ops_url: str) -> dict[str, str]:
    seen = {}
    for path in ("/metrics", "/health", "/health/ready", "/health/live"):
        async with http.get(ops_url + path) as answer:
            seen[ops_url + path] = await answer.text()
    return seen


async def test_secrets_are_found_nowhere(redis_url: str) -> None:
    """Redis and every command to it, logs, metrics, health and every answer, after all kinds of traffic."""
    async with StrictProvider(new_keys(4)) as provider, many() as http:
        told = config(provider, redis_url, 3, max_attempts=2, max_wait="500ms")
        last = [*provider.accounts][3]
        told["pools"]["dead"] = {
            "base_url": f"http://127.0.0.1:{free_port()}",
            "auth": {"query": "key"},
            "keys": [{"id": "q", "secret": last}],
            "max_attempts": 1,
        }
        told["clients"] = [{"id": "web", "token": TOKEN}]
        heard: list[str] = []
        watching = asyncio.Event()
        monitor = asyncio.create_task(watch(redis_url, heard, watching))
        await watching.wait()
        async with fleet(2, told, {"SIDECAR_LOG_LEVEL": "debug"}) as replicas:
            seen: dict[str, str] = {}
            for replica in replicas:
                seen |= {
                    f"{replica.url} {name}": text for name, text in (await traffic(http, replica.url, provider)).items()
                }
                seen |= await pages(http, replica.ops_url)
            seen["redis"] = await dump(redis_url)
            seen |= {f"log of {replica.url}": replica.log.read_text() for replica in replicas}
        monitor.cancel()
        await asyncio.gather(monitor, return_exceptions=True)
        seen["commands"] = "\n".join(heard)
        assert "EVALSHA" in seen["commands"]
        assert "k0" in seen["redis"]
        assert [
            text for place, text in seen.items() if place.endswith("echo") and "Incorrect API key provided: k" in text
        ]
        assert all(counted for secret, counted in provider.counts().items() if secret != last)
        assert leaks([*provider.accounts, TOKEN], seen) == []


async def test_a_traceback_knows_only_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of our own that quotes a secret, plain and as a URL does: the log shows ids, the client a sentence."""
    secret = "sk-live/4711+0123456789=="
    stream = io.StringIO()

    async def fail(*_: object) -> None:
        raise RuntimeError(f"it failed with {secret} and {quote(secret, safe='')}")

    monkeypatch.setattr(relay, "send", fail)
    async with StrictProvider([secret]) as provider, sidecar({"chat": pool(provider.url, [secret])}) as plane:
        handler = Foreign(Log(stream, "json", redact=redactor(plane.replica.state.config)))
        logger = logging.getLogger("sidecar")
        logger.addHandler(handler)
        try:
            reply = await plane.chat()
        finally:
            logger.removeHandler(handler)
    assert (reply.status, reply.data["error"]["code"]) == (500, "internal_error")
    line = json.loads(stream.getvalue())
    assert "it failed with k0 and k0" in line["traceback"]
    assert reply.headers["x-sidecar-request-id"] in line["msg"]
    assert leaks([secret], {"log": stream.getvalue(), "body": reply.body.decode()}) == []
