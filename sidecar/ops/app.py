"""The ops plane: the one list of `ops_listen`'s URLs, of which the data plane serves the same pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from sidecar.model.hosts import host_allowed, origin_allowed
from sidecar.ops import health
from sidecar.ops.metrics import Metrics
from sidecar.ops.shared import Shared
from sidecar.replica import Replica

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def pages(replica: Replica, metrics: Metrics) -> dict[str, Page]:
    """What GET answers, by path."""
    shared = Shared(replica, metrics)

    async def live(_: web.BaseRequest) -> web.StreamResponse:
        return await health.live(replica)

    async def ready(_: web.BaseRequest) -> web.StreamResponse:
        return await health.ready(replica)

    async def show(request: web.BaseRequest) -> web.StreamResponse:
        await shared.refresh()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: thousands of series take tenths of a second, for which no request should wait.
        body = await asyncio.to_thread(encode, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return {"/health": ready, "/health/live": live, "/health/ready": ready, "/metrics": show}


def server(replica: Replica, pages: Mapping[str, Page]) -> web.Server:
    """The ops plane's server."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        hosts = replica.state.config.hosts
        if not host_allowed(request.headers.get("Host"), hosts):
            return _refusal(403, "forbidden_host", "This Host is not served: list it in `hosts`.")
        if not origin_allowed(request.headers.get("Origin"), hosts):
            return _refusal(403, "forbidden_origin", "Pages of this Origin may not read it: list it in `hosts`.")
        page = pages.get(request.path)
        if page is None:
            return _refusal(404, "not_found", f"There is no such page. There are: {', '.join(pages)}.")
        if request.method not in {"GET", "HEAD"}:
            return _refusal(405, "method_not_allowed", "Pages are only read.", {"Allow": "GET, HEAD"})
        return await page(request)

    return web.Server(handle, access_log=None)


def _refusal(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    response = health.answer(status, {"error": {"code": code, "message": message}})
    response.headers.update(headers or {})
    return response
