"""The ops plane: the one list of `ops_listen`'s URLs, of which the data plane serves the pages too."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from sidecar.model.configured import Config
from sidecar.model.hosts import host_allowed, origin_allowed
from sidecar.ops import health
from sidecar.ops.admin import Admin, Wrong, check_token
from sidecar.ops.metrics import Metrics
from sidecar.ops.shared import Shared
from sidecar.ops.stream import Stream
from sidecar.replica import Replica
from sidecar.store.connect import StoreAway, StoreUnable

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
FREE = ("/health", "/metrics")  # what they begin with anybody may read: the kubelet and Prometheus have no token


@dataclass(frozen=True, slots=True)
class Url:
    """A method, a path and what answers it; `{key}` is an argument of the handler. `query`: the names that it knows."""

    method: str
    path: str
    handler: Callable[..., Awaitable[web.StreamResponse]]
    query: tuple[str, ...] = ()

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(self.path.replace("{key}", "(.+)"), path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def urls(pages: Mapping[str, Page], admin: Admin) -> tuple[Url, ...]:
    """Everything that the ops plane answers."""
    return (
        *(Url("GET", path, page) for path, page in pages.items()),
        Url("GET", "/admin/v1/pools", admin.pools),
        Url("GET", "/admin/v1/keys", admin.keys),
        Url("GET", "/admin/v1/clients", admin.clients),
        Url("POST", "/admin/v1/keys/{key}/disable", partial(admin.do, "disable")),
        Url("POST", "/admin/v1/keys/{key}/enable", partial(admin.do, "enable")),
        Url("POST", "/admin/v1/keys/{key}/reset", partial(admin.do, "reset"), ("budgets",)),
        Url("GET", "/admin/v1/usage", admin.usage, ("days", "by", "format")),
        Url("GET", "/admin/v1/config", admin.config),
        Url("POST", "/admin/v1/reload", admin.reload),
        Url("GET", "/admin/v1/events", admin.events),
    )


def pages(replica: Replica, metrics: Metrics) -> dict[str, Page]:
    """What GET answers on both planes, by path."""
    shared = Shared(replica, metrics)

    async def ready(_: web.BaseRequest) -> web.StreamResponse:
        return await health.ready(replica)

    async def show(request: web.BaseRequest) -> web.StreamResponse:
        await shared.refresh()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In a thread: thousands of series take tenths of a second, for which no request should wait.
        body = await asyncio.to_thread(encode, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    return {"/health": ready, "/health/live": health.live, "/health/ready": ready, "/metrics": show}


def server(replica: Replica, pages: Mapping[str, Page], stream: Stream) -> web.Server:
    """The ops plane's server."""
    known = urls(pages, Admin(replica, stream))

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return await _told(_answer(request, known, replica.state.config))

    return web.Server(handle, access_log=None, handler_cancellation=True)


def _admit(request: web.BaseRequest, config: Config) -> None:
    """Raises Wrong for a Host or an Origin by which a web page could reach it through its user's browser."""
    if not host_allowed(request.headers.get("Host"), config.hosts):
        raise Wrong(403, "forbidden_host", "This Host is not served: list it in `hosts`.")
    if not origin_allowed(request.headers.get("Origin"), config.hosts):
        raise Wrong(403, "forbidden_origin", "Pages of this Origin may not use it: list it in `hosts`.")


async def _told(answer: Awaitable[web.StreamResponse]) -> web.StreamResponse:
    """The answer, or the error in its place."""
    try:
        return await answer
    except (StoreAway, StoreUnable) as error:
        text = f"The sidecar's Redis cannot answer: {error}"
        wrong = Wrong(503, "store_unavailable", text, {"Retry-After": "1"})
    except Wrong as one:
        wrong = one
    response = health.answer(wrong.status, wrong.body)
    response.headers.update(wrong.headers)
    return response


async def _answer(request: web.BaseRequest, known: tuple[Url, ...], config: Config) -> web.StreamResponse:
    _admit(request, config)
    matching = [(url, match) for url in known if (match := url.match(request.path))]
    if not matching:
        raise Wrong(404, "not_found", f"There is no such page. There are: {', '.join(map(str, known))}.")
    url, match = matching[0]
    free = url.path.startswith(FREE)
    if not free:
        check_token(request, config)
    allowed = ("GET", "HEAD") if url.method == "GET" else (url.method,)
    if request.method not in allowed:
        raise Wrong(405, "method_not_allowed", f"Use {url}.", {"Allow": ", ".join(allowed)})
    if not free:
        _check_query(request, url)
    answer = url.handler(request, *match.groups())
    # What is asked to be done is done to its end, also where nobody waits for the answer any more: `_told`, or an error
    # that is no mistake of ours would be logged as one.
    return await (asyncio.shield(_told(answer)) if url.method == "POST" else answer)


def _check_query(request: web.BaseRequest, url: Url) -> None:
    """Raises Wrong for a name that the URL does not know: misspelt, it would be done without."""
    unknown = next((name for name in request.query if name not in url.query), None)
    if unknown is not None:
        known = ", ".join(url.query) or "none"
        raise Wrong(400, "invalid_request", f"a query has no {json.dumps(unknown[:40])}. Known: {known}.")
