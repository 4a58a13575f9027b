"""Whatever method an SDK has: what it sends arrives as it was sent, with a key of the account that made what it names.

Each is called against the provider itself and through a sidecar, and both are compared.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from google import genai
from google.genai import types

from tests.proxy.plane import new_keys, sidecar
from tests.sdk import google_methods
from tests.sdk.methods import Method, methods

KEYS = 3
BYTES = bytes(range(256)) * 40
DIRECT = "direct"
KINDS = {"call_id": "rtc_u1_", "completion_id": "chatcmpl-"}  # of which no word tells that they are things
CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key")
_OTHERWISE = {*CREDENTIALS, "host", "accept-encoding", "connection", "content-length", "user-agent"}
_BINARY = re.compile(r"/(?:content|results)$|^/v1/audio/speech$")


@dataclass
class Arrival:
    """A request as it came, but for what is the connection's, or random."""

    key: str
    sent: tuple[Any, ...]  # method, path, headers, body


@dataclass
class Provider:
    """Makes what is wanted at /v1/things, and answers whatever else it is asked."""

    arrivals: list[Arrival] = field(default_factory=list)
    wanted: tuple[str, ...] = ()  # the ids of what the next call makes
    maker: str = ""  # the key by which that was made

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        key = next(request.headers[name].removeprefix("Bearer ") for name in CREDENTIALS if name in request.headers)
        body = await request.read()
        if request.path.endswith("/things"):
            self.maker = key
            return web.json_response({"data": [{"id": thing} for thing in self.wanted]})
        self.arrivals.append(Arrival(key, _sent(request, body)))
        if _BINARY.search(request.path):
            return web.Response(body=BYTES, content_type="application/octet-stream")
        return web.json_response({"id": "x", "object": "thing", "data": [], "has_more": False})


def _sent(request: web.BaseRequest, body: bytes) -> tuple[Any, ...]:
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower() not in _OTHERWISE}
    if found := re.search(r"boundary=(\S+)", headers.get("content-type", "")):
        body = body.replace(found[1].encode(), b"BOUNDARY")
        headers["content-type"] = headers["content-type"].replace(found[1], "BOUNDARY")
    return request.method, request.raw_path, headers, body


@asynccontextmanager
async def served(provider: Provider) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(provider.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def thing(name: str) -> str:
    """An id as providers make them, for a parameter `thread_id` or a kind `files/`."""
    if name.endswith(("/", "_")) or name.startswith("v1_"):
        return f"{name.replace('*', _random())}{_random()}"
    kind = KINDS.get(name) or name.removesuffix("_id").replace("_", "")[:12] + "_"
    return f"{kind}{_random()}"


def _random() -> str:
    return f"6a{secrets.token_hex(11)}"


@dataclass
class Trial:
    """Calls methods at the provider and through the sidecar."""

    provider: Provider
    things: urllib.request.Request  # of the sidecar too: it makes what is wanted
    keys: frozenset[str]
    failed: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)  # what could not be called

    def run(self, at_provider: Iterable[Method], through: Iterable[Method]) -> int:
        """Returns how many methods there are."""
        pairs = [pair for pair in zip(at_provider, through, strict=True) if not _BESIDE.search(pair[0].name)]
        for one, same in pairs:
            self._try(one, same)
        return len(pairs)

    def _try(self, direct: Method, through: Method) -> None:
        made: dict[str, str] = {}
        arguments = direct.arguments(lambda name: made.setdefault(name, thing(name)))
        self.provider.wanted = (*made.values(),)
        before = self._call(direct, arguments)
        if not before:
            self.silent.append(direct.name)
            return
        urllib.request.urlopen(self.things, timeout=30).close()
        able = {self.provider.maker} if made else self.keys
        times = 1 if before[0].sent[0] == "DELETE" else KEYS
        after = [arrival for _ in range(times) for arrival in self._call(through, arguments)]
        if [one.sent for one in after] != [before[0].sent] * times:
            self.failed.append(f"{direct.name} sent {before[0].sent}, and {[one.sent for one in after]} came")
        if not {one.key for one in after} <= able:
            self.failed.append(f"{direct.name} came with a key of another account: {arguments}")

    def _call(self, method: Method, arguments: dict[str, Any]) -> list[Arrival]:
        self.provider.arrivals.clear()
        with suppress(Exception):
            answer = method.call(**arguments)
            binary = _BINARY.search(self.provider.arrivals[-1].sent[1])
            if binary and hasattr(answer, "read") and answer.read() != BYTES:
                self.failed.append(f"{method.name} got other bytes")
            if hasattr(answer, "close"):
                answer.close()
        return self.provider.arrivals[:]


# What wants a key of another kind, or the sidecar answers itself.
_BESIDE = re.compile(r"^admin\.|\borganization\.|^(?:beta\.)?models\.list$")

CLIENTS: dict[str, Callable[[str, str], Any]] = {
    "openai": lambda url, key: openai.OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0),
    "anthropic": lambda url, key: anthropic.Anthropic(api_key=key, base_url=url, max_retries=0),
    "gemini": lambda url, key: genai.Client(api_key=key, http_options=types.HttpOptions(base_url=url)),
}
# By which a call of no SDK's is told as one of its dialect.
TOLD = {"openai": {}, "anthropic": {"anthropic-version": "2023-06-01"}, "gemini": {}}
PREFIX = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
FINDERS: dict[str, Callable[[Any], Iterable[Method]]] = {
    "openai": methods, "anthropic": methods, "gemini": google_methods.methods,
}  # fmt: skip


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.filterwarnings("ignore")  # of what is experimental, or going
async def test_every_method(name: str) -> None:
    """But for a few that want more than can be made up."""
    provider = Provider()
    async with served(provider) as url:
        base = f"{url}/v1" if name == "openai" else url
        own = new_keys(KEYS)
        keys = [{"id": f"k{at}", "secret": secret} for at, secret in enumerate(own)]
        async with sidecar({name: {"provider": name, "base_url": base, "keys": keys}}) as plane:
            with (
                CLIENTS[name](url, DIRECT) as at_provider,
                CLIENTS[name](plane.url, "unused") as through,
            ):
                headers = {"Content-Type": "application/json"} | TOLD[name]
                things = urllib.request.Request(f"{plane.url}{PREFIX[name]}/things", b"{}", headers)
                trial, find = Trial(provider, things, frozenset(own)), FINDERS[name]
                count = await asyncio.to_thread(trial.run, find(at_provider), find(through))
    assert trial.failed == []
    assert len(trial.silent) < count / 20
