"""A whole sidecar in this process on a real socket: configured as users do it, its events and its store at hand."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from yarl import URL

from sidecar.config.load import load
from sidecar.model.events import Answered, Event
from sidecar.ops.app import pages
from sidecar.ops.metrics import Metrics
from sidecar.proxy.app import Server, server
from sidecar.proxy.upstream import Upstream
from sidecar.replica import Replica
from sidecar.store.commands import Store

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@dataclass(frozen=True)
class Reply:
    """What a client of the sidecar got."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers["x-sidecar-key"]

    @property
    def grant(self) -> int:
        return int(self.headers["x-sidecar-grant"])

    @property
    def attempts(self) -> int:
        return int(self.headers["x-sidecar-attempts"])


@dataclass
class Plane:
    """A running data plane and a client of it that decompresses and follows nothing."""

    url: str
    replica: Replica
    events: list[Event]
    http: aiohttp.ClientSession
    upstream: Upstream
    server: Server

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, data: Any = None, **options: Any
    ) -> Reply:
        url = URL(self.url + path, encoded=True)
        data = io.BytesIO(data) if isinstance(data, bytes) else data
        async with self.http.request(
            method, url, headers=headers, data=data, allow_redirects=False, **options
        ) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """`body`: JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.send("POST", path, {"Content-Type": "application/json", **(headers or {})}, data)

    async def chat(self, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
        """A chat completion in OpenAI's dialect."""
        return await self.post("/v1/chat/completions", CHAT | fields, headers)

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of a kind, in their order."""
        return [event for event in self.events if isinstance(event, kind)]

    async def entered(self) -> None:
        """Returns once a request is under way."""
        while not self.replica.inflight:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)

    async def answered(self) -> Answered:
        """The event of the latest request, once the last byte of it is told."""
        await self.replica.idle.wait()
        found: Answered = self.of(Answered)[-1]
        return found

    async def speak(self, request: bytes) -> bytes:
        """Raw bytes to the data plane, and all that it says until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def sidecar(
    pools: Mapping[str, Any], environ: Mapping[str, str] | None = None, /, **document: Any
) -> AsyncIterator[Plane]:
    """A sidecar of these pools; `document` is the rest of its file. The store is `memory` unless it says another."""
    document = {"namespace": f"t-{secrets.token_hex(6)}", "redis": "memory", "pools": dict(pools)} | document
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sidecar.yaml"
        file.write_text(json.dumps(document))
        config = load(file, environ or {}, Path(folder))
    events: list[Event] = []
    replica = Replica(config, Store.at(config.redis, config.namespace, events.append), events.append)
    upstream = Upstream()
    serving = server(replica, pages(replica, Metrics(config)), upstream)
    runner = web.ServerRunner(serving, shutdown_timeout=0.1)
    await replica.start()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as http:
            yield Plane(f"http://127.0.0.1:{runner.addresses[0][1]}", replica, events, http, upstream, serving)
    finally:
        await runner.cleanup()
        await upstream.close()
        await replica.close()


def pool(url: str, secret: list[str], **more: Any) -> dict[str, Any]:
    """A pool of an OpenAI-like API: `k0`, `k1`, ... with these secrets."""
    keys = [{"id": f"k{at}", "secret": text} for at, text in enumerate(secret)]
    return {"base_url": f"{url}/v1", "dialect": "openai", "keys": keys} | more


def new_keys(count: int) -> list[str]:
    return [f"sk-{secrets.token_hex(16)}" for _ in range(count)]
