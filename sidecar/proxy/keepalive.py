"""A stream that begins before it is known what it will say, so that nobody gives up on a request that waits.

While an answer passes, passing.py gives the signs, between its events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

from sidecar.proxy.attempt import Attempts
from sidecar.proxy.visit import Visit

T = TypeVar("T")

EVERY_S = 15.0  # where the request alone asks: most proxies give up on a silent answer after 30 s or a minute


def every_s(attempts: Attempts) -> float | None:
    """How long the client of this call is to be left without a sign; None: as long as there is nothing to say."""
    config, call = attempts.pools.config, attempts.call
    if not call.reading.stream or call.keepalive is False or (call.keepalive is None and config.keepalive_s is None):
        return None
    return (config.keepalive_s or EVERY_S) if call.sign() else None


async def signing(
    request: web.BaseRequest, visit: Visit, run: Coroutine[Any, Any, T], lost: Callable[[T], object]
) -> T:
    """What `run` comes to. While it takes its time, who wants to know gets a 200 and signs, from then on all in one
    stream. Where nobody wants it any more, `lost` gets it.
    """
    assert visit.attempts is not None
    call = visit.attempts.call
    pause_s = every_s(visit.attempts)
    if pause_s is None:
        return await run
    running = asyncio.ensure_future(run)
    try:
        while not (await asyncio.wait({running}, timeout=pause_s))[0]:
            if visit.begun is None:
                visit.begun = await _begin(request, visit)
            await visit.begun.write(call.sign())
        return running.result()
    except BaseException:
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled() and running.exception() is None:
            lost(running.result())
        raise


async def _begin(request: web.BaseRequest, visit: Visit) -> web.StreamResponse:
    """The head of a stream, with what is known by now. nginx holds back what does not say that it must not."""
    headers = {"x-sidecar-request-id": visit.request_id, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | headers)
    await response.prepare(request)
    return response
