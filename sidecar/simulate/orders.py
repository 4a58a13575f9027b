"""The strict provider told and asked over HTTP, by tests whose provider is another process.

`POST /_control` takes a JSON object, each field optional: `reset` (true), `faults` (replaces the list), `release`
(true), `offset_s` (of its clock), `throttle_s`. `GET /_report` tells counts, open, most_in_flight, violations, excess,
worst (every account and budget, with its overrun) and arrivals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from sidecar.simulate.failures import Fault
from sidecar.simulate.ledger import Peak

if TYPE_CHECKING:
    from sidecar.simulate.provider import StrictProvider

ORDERS = ("reset", "faults", "release", "offset_s", "throttle_s")


async def answer(provider: StrictProvider, request: web.BaseRequest, path: str) -> web.StreamResponse:
    """400 for an order that is not understood, with why."""
    if path == "/_report":
        return _reply(200, report(provider))
    try:
        obey(provider, orjson.loads(await request.content.read()))
    except (TypeError, ValueError, AttributeError) as wrong:
        return _reply(400, {"error": str(wrong)})
    return _reply(200, {"ok": True})


def obey(provider: StrictProvider, order: dict[str, Any]) -> None:
    """All of the order or, where it cannot be understood, nothing of it."""
    if unknown := order.keys() - set(ORDERS):
        raise ValueError(f"{sorted(unknown)} is no order. Known: {', '.join(ORDERS)}.")
    faults = [Fault(**fault) for fault in order.get("faults", ())]
    offset_s, throttle_s = float(order.get("offset_s", provider.offset_s)), float(order.get("throttle_s", 0))
    if order.get("reset"):
        provider.reset()
    if "faults" in order:
        provider.faults[:] = faults
    provider.offset_s = offset_s
    if "throttle_s" in order:
        provider.throttle(throttle_s)
    if order.get("release"):
        provider.release()


def report(provider: StrictProvider) -> dict[str, Any]:
    """All that was seen, as JSON can say it."""
    return {
        "counts": provider.counts(),
        "open": provider.open,
        "most_in_flight": provider.most_in_flight(),
        "violations": [found._asdict() | {"budget": found.budget._asdict()} for found in provider.violations],
        "excess": [_told(peak) for peak in provider.excess()],
        "worst": [_told(peak) | {"overrun": peak.overrun} for peak in provider.peaks()],
        "arrivals": provider.arrivals,
    }


def _told(peak: Peak) -> dict[str, Any]:
    return peak._asdict() | {"budget": peak.budget._asdict()}


def _reply(status: int, data: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(data), content_type="application/json")
