"""Many who ask the same at once, over all replicas, where answers are kept: one call to the provider, one answer."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.soak.callers import EVERYBODY, OTHER, whose
from tests.soak.dialects import CHAT
from tests.soak.routes import CACHED, OWN
from tests.soak.traffic import Clients, Sent
from tests.soak.world import now

SIZE = 12
LATE_S = (0.2, 2.5)  # after the first, of some who ask the same again
LEAVES = 0.25  # of all stampedes: the client of the first request goes away


async def play(clients: Clients, draw: random.Random) -> None:
    """One stampede, texts or streams, and three more of its requests somewhat later."""
    name, route = f"stampede {draw.getrandbits(64):x}", draw.choice((CACHED, CACHED, OWN))
    body = CHAT.body(route, name, 24, draw.random() < 0.4)
    tasks = [clients.begin(_ask(clients, name, body, number)) for number in range(SIZE)]
    if draw.random() < LEAVES:
        await asyncio.sleep(draw.uniform(0, 0.1))
        tasks[0].cancel()
    await asyncio.sleep(draw.uniform(*LATE_S))
    for number in range(3):
        clients.begin(_ask(clients, name, body, number + 1))


async def _ask(clients: Clients, name: str, body: Mapping[str, Any], number: int) -> None:
    """Every third wants to know that its request lives, where it is a stream."""
    replica, client = clients.targets[number % len(clients.targets)], (EVERYBODY, OTHER)[number % 5 % 2]
    own = name if body["model"] == CACHED else f"{name} of {client}"
    sent = Sent("cached", replica, now(), client=client, asked=body["model"], same=own)
    await clients.send(sent, body, {"x-sidecar-keepalive": "true"} if number % 3 == 2 else {})


def judged(
    sent: Iterable[Sent], arrivals: Sequence[Mapping[str, Any]], is_calm: Callable[[Sequence[Sent]], bool]
) -> tuple[int, list[str]]:
    """How many stampedes nothing disturbed, and what was wrong with any."""
    alike: dict[str, list[Sent]] = defaultdict(list)
    for one in sent:
        if one.same:
            alike[one.same].append(one)
    came = _by_tag(arrivals)
    calm = 0
    found: list[str] = []
    for name, group in alike.items():
        arrived = [arrival for one in group for arrival in came.get(one.tag, ())]
        undisturbed = is_calm(group) and not _went_alone(group, arrived)
        calm += undisturbed
        found += _several(name, group, arrived) if undisturbed else ()
        found += _differing(name, group)
        if group[0].asked == OWN:
            found += _anothers(name, group, arrivals)
    return calm, found


def _by_tag(arrivals: Iterable[Mapping[str, Any]]) -> Mapping[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in arrivals:
        found[one["tag"]].append(one)
    return found


def _went_alone(group: Iterable[Sent], arrived: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the answer broke off, or there was none: then each rightly goes by itself."""
    broken = any(arrival["ended"] == "closed" and arrival["status"] == 200 for arrival in arrived)
    return broken or any(one.end not in {200, "left"} for one in group)


def _several(name: str, group: Sequence[Sent], arrived: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Answers of the provider beyond the one; a client that left may have begun another, though nobody read it."""
    stayed = {one.tag for one in group if one.end != "left"}
    good = sum(one["status"] == 200 and one["ended"] == "answered" and one["tag"] in stayed for one in arrived)
    if good > 1:
        told = sorted((round(one.began, 3), one.replica.name, one.cache, one.attempts or 0, one.end) for one in group)
        yield f"{name} of {len(group)} requests was {good} calls to the provider: {told}"


def _anothers(name: str, group: Iterable[Sent], arrivals: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Answers that another client asked for, where each has its own."""
    for one in group:
        if one.arrival is not None and whose(arrivals[one.arrival]["tag"]) != one.client:
            yield f"{name}: {one.tag} got what {arrivals[one.arrival]['tag']} was answered"


def _differing(name: str, group: Iterable[Sent]) -> Iterator[str]:
    """Bytes that are not those of the one answer of the provider; and hits of what nobody here was answered."""
    bodies: dict[int | None, set[str]] = defaultdict(set)
    for one in group:
        if one.end == 200:
            bodies[one.arrival].add(one.digest)
    for arrival, digests in bodies.items():
        if len(digests) > 1:
            yield f"{name} got arrival {arrival} in {len(digests)} different texts"
