"""The strict provider told and asked over HTTP, by tests whose provider is another process.

`POST /_control` takes a JSON object, each field optional: `reset` (true), `faults` (replaces the list), `release`
(true), `offset_s` (of its clock), `throttle_s`. `GET /_report` tells counts, open, most_in_flight, violations, excess,
worst (every account and budget, with its overrun) and arrivals.
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from aiohttp import web

from sidecar.simulate.budgets import Arrival
from sidecar.simulate.failures import Fault
from sidecar.simulate.ledger import Peak, Violation


class Ordered(Protocol):
    """What a strict provider lets itself be told and asked."""

    faults: list[Fault]
    offset_s: float

    @property
    def open(self) -> int: ...
    @property
    def arrivals(self) -> list[Arrival]: ...
    @property
    def violations(self) -> list[Violation]: ...
    def counts(self) -> dict[str, int]: ...
    def excess(self) -> list[Peak]: ...
    def peaks(self) -> list[Peak]: ...
    def most_in_flight(self, account: str = "") -> int: ...
    def throttle(self, seconds: float) -> None: ...
    def release(self) -> None: ...
    def reset(self) -> None: ...


ORDERS = ("reset", "faults", "release", "offset_s", "throttle_s")


async def answer(provider: Ordered, request: web.BaseRequest, path: str) -> web.StreamResponse:
    """400 for an order that is not understood, with why."""
    if path == "/_report":
        return _reply(200, report(provider))
    try:
        obey(provider, orjson.loads(await request.content.read()))
    except (TypeError, ValueError, AttributeError) as wrong:
        return _reply(400, {"error": str(wrong)})
    return _reply(200, {"ok": True})


def obey(provider: Ordered, order: dict[str, Any]) -> None:
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


def report(provider: Ordered) -> dict[str, Any]:
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
