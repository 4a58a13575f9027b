"""Whether a replica lives and whether it can serve, as the kubelet and people ask it over HTTP."""

from __future__ import annotations

import orjson
from aiohttp import web

from sidecar.replica import Replica


async def live(_: web.BaseRequest) -> web.Response:
    """200 as long as the process answers at all: a store that is away is no reason to restart it."""
    return answer(200, {"status": "alive"})


async def ready(replica: Replica) -> web.Response:
    """200, or 503 with the reason: the store is away, no pool has a usable key, or it is shutting down."""
    healthy, body = await replica.health()
    return answer(200 if healthy else 503, body)


def answer(status: int, body: object) -> web.Response:
    """JSON that nobody keeps."""
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
