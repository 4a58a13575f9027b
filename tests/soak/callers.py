"""Who calls: virtual keys with limits of their own, as replicas are told of them, and what the provider sees of each.

The provider knows nothing of them. Each request has a tag that begins with who sent it; of its arrivals the first is
the request, whatever keys were tried for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sidecar.simulate import recount
from sidecar.simulate.budgets import Arrival, Budget
from tests.soak.pools import GUARD_S

EVERYBODY, OTHER = "everybody", "other"  # the clients without limits
CALLERS: Mapping[str, tuple[Budget, ...]] = {
    EVERYBODY: (),
    OTHER: (),
    "meek": (Budget(5, 5.0), Budget(14, 20.0)),
    "thrifty": (Budget(600, 10.0, unit="tokens"),),
    "single": (Budget(2, unit="concurrency"),),
}
LIMITED = tuple(name for name, limits in CALLERS.items() if limits)
MEEK = CALLERS["meek"][0]


def config(tokens: Mapping[str, str]) -> list[dict[str, Any]]:
    """`clients` of a sidecar.yaml."""
    return [_client(name, tokens[name], limits) for name, limits in CALLERS.items()]


def _client(name: str, token: str, limits: Iterable[Budget]) -> dict[str, Any]:
    told: dict[str, Any] = {"id": name, "token": token}
    for one in limits:
        if one.unit == "concurrency":
            told["concurrency"] = one.max
        else:
            limit = {one.unit: one.max, "per": f"{one.window_s:g}s", "guard": f"{GUARD_S * 1000:g}ms"}
            told.setdefault("limits", []).append(limit)
    return told


def whose(tag: str) -> str:
    """The client of a tag."""
    return tag.partition("-")[0]


def over_limits(arrivals: Sequence[Mapping[str, Any]], dated: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Clients that the provider heard more of than they may send, whatever the sidecars think of it; `dated` as in
    checks.py."""
    for name, limits in CALLERS.items():
        for limit in limits:
            own = ([one for one in them if whose(one["tag"]) == name] for them in (arrivals, dated))
            held = min(recount.fullest(_counted(them, limit), limit, epoch_ns=0) for them in own)
            if held > limit.max:
                yield f"over the limit of client {name}: {held} held of {limit}"


def _counted(arrivals: Iterable[Mapping[str, Any]], limit: Budget) -> Iterator[Arrival]:
    """What a limit counts. Tokens and places are those of every attempt: a failed one costs none."""
    seen: set[str] = set()
    for one in arrivals:
        if limit.unit == "requests" and one["tag"] in seen:
            continue
        seen.add(one["tag"])
        yield Arrival(
            one["at_ns"],
            one["method"],
            one["path"],
            account="client",
            input=one["input"],
            output=one["output"],
            came=one["came"],
            left=one["left"],
        )


def bursts(crowds: Iterable[Mapping[object, int]], count: int) -> Iterator[str]:
    """Of so many requests at once each window lets as many through as the limit allows: what was refused in one spent
    nothing of the next."""
    for ends in crowds:
        if ends != {200: MEEK.max, 429: count - MEEK.max}:
            yield f"a burst of client meek came to {dict(ends)} instead of {MEEK.max} times 200, else 429"
