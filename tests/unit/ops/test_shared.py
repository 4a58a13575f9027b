"""Gauges of the shared state are what the store says, not older than five seconds, and absent without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from sidecar.model.rotations import rotation
from sidecar.model.words import Ask, Grant, Report, Rest, Subject
from sidecar.ops import shared
from sidecar.ops.metrics import Metrics
from sidecar.ops.shared import FRESH_S, Shared
from sidecar.ops.survey import survey as read
from sidecar.replica import Replica
from sidecar.store import memory
from sidecar.store.commands import Store
from sidecar.store.connect import Opener, StoreAway
from tests.unit.ops.worlds import CONFIG

LOCAL = replace(CONFIG, redis="memory")


@pytest.fixture
def opener() -> Opener:
    """A memory store, empty."""
    return memory.opener()


@pytest.fixture
async def replica(opener: Opener) -> AsyncIterator[Replica]:
    """On that store, started."""
    made = Replica(LOCAL, Store(opener, "test", lambda _: None), lambda _: None)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(LOCAL)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"sidecar_{name}", labels)


async def grant(replica: Replica, model: str) -> Grant:
    asked = Ask((rotation(LOCAL.pools["chat"], LOCAL.budgets, model),), (0,))
    granted = await replica.store.acquire(asked, lambda _: None)
    assert isinstance(granted, Grant)
    return granted


async def rest(replica: Replica, *rests: Rest) -> None:
    told = asyncio.Event()
    replica.store.report(Report("r1", rests), (), lambda _: told.set())
    await told.wait()


async def test_budgets_remain_as_the_store_counts_them(replica: Replica, metrics: Metrics) -> None:
    gauges = Shared(replica, metrics)
    for _ in range(3):
        await grant(replica, "bigger")
    await gauges.refresh()
    assert value(metrics, "key_budget_remaining", pool="chat", key="chat-1", model="", limit="requests/minute") == 8
    assert value(metrics, "key_budget_remaining", pool="chat", key="chat-2", model="", limit="requests/minute") == 9
    assert value(metrics, "key_budget_remaining", pool="chat", key="chat-2", model="big*", limit="requests/90s") == 1
    assert value(metrics, "store_up") == 1
    assert value(metrics, "replicas") == 1


async def test_cooldowns_name_key_model_and_reason(replica: Replica, metrics: Metrics) -> None:
    gauges = Shared(replica, metrics)
    await grant(replica, "seen")
    await rest(
        replica,
        Rest(Subject("f1", None, "small"), 20_000_000, "rate_limit_minute"),
        Rest(Subject("f1", "f1", "small"), 50_000_000, "rate_limit_minute"),
        Rest(Subject("=acme", "f2", "seen"), 30_000_000, "permission"),
    )
    await gauges.refresh()
    of_small = value(
        metrics, "key_cooldown_seconds", pool="chat", key="chat-1", model="small", reason="rate_limit_minute"
    )
    of_seen = value(metrics, "key_cooldown_seconds", pool="chat", key="chat-2", model="seen", reason="permission")
    assert of_small is not None
    assert 40 < of_small <= 50  # of the key and its account the longer one
    assert of_seen is not None
    assert 20 < of_seen <= 30
    (family,) = (family for family in gauges.collect() if family.name == "sidecar_key_cooldown_seconds")
    assert len(family.samples) == 2


async def test_models_are_told_that_only_another_replica_has_served(
    replica: Replica, metrics: Metrics, opener: Opener
) -> None:
    """Neither the config names this one, nor has anybody asked here for it."""
    other = Replica(LOCAL, Store(opener, "test", lambda _: None), lambda _: None)
    await grant(other, "theirs")
    await rest(other, Rest(Subject("f1", None, "theirs"), 20_000_000, "rate_limit_minute"))
    await Shared(replica, metrics).refresh()
    theirs = value(
        metrics, "key_cooldown_seconds", pool="chat", key="chat-1", model="theirs", reason="rate_limit_minute"
    )
    assert theirs is not None
    assert 10 < theirs <= 20
    await other.close()


async def test_models_beyond_the_first_share_a_label_and_tell_the_longest_rest(
    replica: Replica, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config's own come first, then the others by name: on every replica alike."""
    monkeypatch.setattr(shared, "MOST_MODELS", 2)
    for model, seconds in (("d", 30), ("c", 40), ("b", 20), ("small", 10)):
        await grant(replica, model)
        await rest(replica, Rest(Subject("f1", None, model), seconds * 1_000_000, "rate_limit_minute"))
    gauges = Shared(replica, metrics)
    await gauges.refresh()
    (family,) = (family for family in gauges.collect() if family.name == "sidecar_key_cooldown_seconds")
    told = {sample.labels["model"]: sample.value for sample in family.samples}
    assert told.keys() == {"small", "b", "other"}
    assert 30 < told["other"] <= 40


async def test_a_key_is_enabled_unless_its_refusal_is_proved_for_all_models(replica: Replica, metrics: Metrics) -> None:
    gauges = Shared(replica, metrics)
    await rest(
        replica,
        Rest(Subject("f1", "f1"), 30_000_000, "invalid_key", proved=False),
        Rest(Subject("=acme", None), 30_000_000, "quota_exhausted_billing"),
    )
    await gauges.refresh()
    assert value(metrics, "key_enabled", pool="chat", key="chat-1") == 1
    assert value(metrics, "key_enabled", pool="chat", key="chat-2") == 0


async def test_the_store_is_read_when_asked_and_at_most_every_five_seconds(
    replica: Replica, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[float] = []
    now = [0.0]

    async def survey(*given: Any) -> Any:
        looked.append(now[0])
        return await read(*given)

    monkeypatch.setattr("sidecar.ops.shared.survey", survey)
    gauges = Shared(replica, metrics, lambda: now[0])
    list(metrics.registry.collect())
    assert looked == []
    for now[0] in (0.0, 1.0, FRESH_S - 0.1, FRESH_S, FRESH_S + 1):
        await gauges.refresh()
    assert looked == [0.0, FRESH_S]


async def test_without_the_store_only_its_absence_and_the_local_ones_are_told(
    replica: Replica, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    gauges = Shared(replica, metrics)
    replica.entered()

    async def away(*_: Any) -> None:
        raise StoreAway("gone")

    monkeypatch.setattr(replica.store, "inspect", away)
    await gauges.refresh()
    assert value(metrics, "store_up") == 0
    assert value(metrics, "inflight_requests") == 1
    assert [family.name for family in gauges.collect()] == ["sidecar_store_up"]


async def test_what_was_read_before_the_store_went_away_is_not_told_any_more(
    replica: Replica, metrics: Metrics
) -> None:
    gauges = Shared(replica, metrics)
    await gauges.refresh()
    assert len(list(gauges.collect())) > 1
    replica.store.up.clear()
    assert [family.name for family in gauges.collect()] == ["sidecar_store_up"]


async def test_single_models_are_looked_at_only_as_far_as_a_scrape_may_cost(
    replica: Replica, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MOST_FIELDS", 8)
    for number in range(10):
        await grant(replica, f"model-{number}")
    asked: list[str] = []
    inspect = replica.store.inspect

    async def listen(fields: Any, *rest: Any) -> Any:
        asked.extend(fields)
        return await inspect(fields, *rest)

    monkeypatch.setattr(replica.store, "inspect", listen)
    await Shared(replica, metrics).refresh()
    assert {
        field.split("|")[3] for field in asked if field.startswith(("c|key", "c|account")) and field.count("|") == 3
    } == {
        "*",
        "small",
        "model-0",
    }
