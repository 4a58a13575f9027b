"""A stream that begins before it is known what it will say, so that nobody gives up on a request that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from sidecar.model.configured import Config
from sidecar.proxy.attempt import Answer
from sidecar.proxy.call import Call
from sidecar.proxy.visit import Visit

EVERY_S = 15.0  # where the request alone asks: most proxies give up on a silent answer after 30 s or a minute


def every_s(config: Config, call: Call) -> float | None:
    """How long this call's client is to be left without a sign; None: until it is answered."""
    if not call.reading.stream or call.keepalive is False or (call.keepalive is None and config.keepalive_s is None):
        return None
    return (config.keepalive_s or EVERY_S) if call.place.judge.write_sign(call.query) else None


async def signs(
    request: web.BaseRequest, call: Call, visit: Visit, every_s: float, run: Coroutine[Any, Any, Answer]
) -> Answer:
    """What `run` comes to. While it takes its time the client gets a 200 and signs, from then on all in one stream."""
    sign = call.place.judge.write_sign(call.query)
    running = asyncio.ensure_future(run)
    try:
        while not (await asyncio.wait({running}, timeout=every_s))[0]:
            if visit.begun is None:
                visit.begun = await _begin(request, visit)
            await visit.begun.write(sign)
        return running.result()
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait({running})


async def _begin(request: web.BaseRequest, visit: Visit) -> web.StreamResponse:
    """The head of a stream, with what is known by now. nginx holds back what does not say that it must not."""
    headers = {"x-sidecar-request-id": visit.request_id, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | headers)
    await response.prepare(request)
    return response
