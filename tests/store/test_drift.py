"""Drifts are counted once for each rest, on every kind of store, and forgotten in time."""

from __future__ import annotations

import asyncio
from typing import Any

from sidecar.model.events import Drifted
from sidecar.model.outcomes import NamedLimit
from sidecar.store import drifts, upkeep
from sidecar.store.commands import Store
from sidecar.store.drifts import Told
from sidecar.store.names import Names
from tests.store.asks import ask, granted, limit, rotation, run, unexpected
from tests.store.conftest import Place

NAMES = Names("test")
NOW = 1_790_000_000_000_000
DAY = 86_400_000_000
NAMED = NamedLimit("requests", "minute", 2, 0, 56.2, "m|1")
EVENT = Drifted("r", "p", "k0", "m|1", "rate_limit_minute", (limit(10),), NAMED, "UTC", 0)


def drift(place: Place, key: str, moment: int, now: int) -> int:
    return int(run(place.raw, upkeep.drift(NAMES, key, moment, drifts.write(EVENT), str(now))))


def kept(place: Place, now: int = NOW) -> dict[str, Any]:
    return upkeep.read_drifts(run(place.raw, upkeep.drifts(NAMES, str(now))))[1]


def test_what_was_told_is_read_again_as_it_was(place: Place) -> None:
    assert drift(place, "fp", NOW - 5, NOW) == 1
    now, found = upkeep.read_drifts(run(place.raw, upkeep.drifts(NAMES, str(NOW + 7))))
    assert now == NOW + 7
    assert list(found) == ["fp"]
    assert (found["fp"].at_us, found["fp"].count) == (NOW, 1)
    assert found["fp"].told == Told("m|1", "rate_limit_minute", NAMED)


def test_only_a_grant_that_is_younger_than_the_last_drift_is_another(place: Place) -> None:
    """Requests that were under way together belong to one, whichever replica's report comes first."""
    assert drift(place, "fp", NOW - 5, NOW) == 1
    assert drift(place, "fp", NOW - 9, NOW + 1) == 0
    assert drift(place, "fp", NOW, NOW + 2) == 0
    assert drift(place, "other", NOW - 9, NOW + 3) == 1
    assert drift(place, "fp", NOW + 4, NOW + 5) == 2
    assert {key: one.count for key, one in kept(place).items()} == {"fp": 2, "other": 1}


def test_a_key_is_forgotten_thirty_days_after_its_last_drift(place: Place) -> None:
    drift(place, "old", NOW - 5, NOW)
    drift(place, "kept", NOW + 10 * DAY - 1, NOW + 10 * DAY)
    assert drift(place, "new", NOW + 30 * DAY, NOW + 30 * DAY + 1) == 1
    assert set(kept(place)) == {"kept", "new"}
    assert drift(place, "kept", NOW + 40 * DAY, NOW + 40 * DAY + 1) == 1
    ttl: Any = place.raw.ttl(NAMES.drift)
    assert 30 * 86_400 - 5 < ttl <= 30 * 86_400


def test_the_hash_says_nothing_but_this(place: Place) -> None:
    drift(place, "fp", NOW - 5, NOW)
    fields: Any = place.raw.hkeys(NAMES.drift)
    assert set(fields) == {b"fp", b"swept"}


async def test_a_store_counts_and_tells_without_anybody_waiting(store: Store) -> None:
    grant = granted(await store.acquire(ask(rotation(1, limit(10))), unexpected))
    counted: list[int] = []
    told = asyncio.Event()

    def tell(count: int) -> None:
        counted.append(count)
        if len(counted) == 2:
            told.set()

    for _ in range(2):
        store.drifted(grant.member.key, grant, EVENT, tell)
    await told.wait()
    assert counted == [1, 0]
    _, found = await store.drifts()
    assert found["fp-k0"].count == 1
