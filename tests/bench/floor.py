"""The least that a streaming proxy on aiohttp can do: the sidecar is measured against it.

    python -m tests.bench.floor --port 4100 --upstream http://127.0.0.1:4200 [--redis redis://127.0.0.1:6379/0]

Written as the sidecar is: a bare `web.Server` on uvloop, one session without a connection limit, the request's body
read whole, the answer streamed as it comes. It adds a credential and drops hop-by-hop headers, and does nothing
else. With `--redis`, each request first waits for one script: the least that any coordinated proxy must do.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from redis.asyncio import Redis
from yarl import URL

HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})

Turn = Callable[[], Awaitable[object]]


def handler(upstream: str, session: aiohttp.ClientSession, turn: Turn) -> web.Server:
    """A server that passes every request on, once `turn` has let it."""

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        await turn()
        headers = CIMultiDict((k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP)
        headers["Authorization"] = "Bearer floor"
        url = URL(upstream + request.raw_path, encoded=True)
        async with session.request(request.method, url, data=body or None, headers=headers) as answer:
            return await _pass_on(request, answer)

    return web.Server(forward, handler_cancellation=True, access_log=None)


async def _pass_on(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    headers = CIMultiDict((k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP)
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = answer.content_length
    await response.prepare(request)
    while data := await answer.content.readany():
        await response.write(data)
    await response.write_eof()
    return response


async def _free() -> None:
    """The turn of a proxy that coordinates nothing."""


def _counted(redis_url: str) -> Turn:
    """One round trip: a script of one command, by its SHA, on a connection of redis-py's own pool."""
    return partial(Redis.from_url(redis_url).register_script("return redis.call('INCR', KEYS[1])"), keys=["bench"])


async def serve(port: int, upstream: str, redis_url: str | None) -> None:
    """Listens on loopback until it is killed."""

    turn = _free if redis_url is None else _counted(redis_url)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        runner = web.ServerRunner(handler(upstream, session, turn))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--redis")
    given = parser.parse_args()
    uvloop.run(serve(given.port, given.upstream, given.redis))


if __name__ == "__main__":
    main()
