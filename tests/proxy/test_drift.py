"""A refusal although our budget had room is counted, told and kept for whoever looks; no request waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.model.events import Drifted, KeyChanged, LimitsNamed
from sidecar.model.outcomes import NamedLimit
from sidecar.ops.app import pages
from sidecar.ops.metrics import Metrics
from sidecar.pool import telling
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar

TEN = [{"requests": 10, "per": "minute"}]
BARE: dict[str, Any] = {"status": 429, "body": {"error": {"message": "Too many requests"}}}


async def drifted(plane: Plane, count: int = 1) -> list[Drifted]:
    """The drifts, once so many are told: the store counts them after the client has its answer."""
    while len(plane.of(Drifted)) < count:  # noqa: ASYNC110 - the event comes from a queue
        await asyncio.sleep(0.001)
    return plane.of(Drifted)


async def test_a_limit_that_is_higher_than_the_providers_is_told_with_the_providers() -> None:
    async with StrictProvider(new_keys(2), [(2, 60)]) as provider:
        chat = pool(provider.url, list(provider.accounts), limits=TEN)
        async with sidecar({"chat": chat}) as plane:
            replies = [await plane.chat() for _ in range(5)]
            assert [reply.status for reply in replies] == [200, 200, 200, 200, 429]
            first, second = await drifted(plane, 2)
            assert (first.pool, first.key, first.model, first.count) == ("chat", "k0", "gpt-4o", 1)
            assert (first.outcome, [limit.max for limit in first.limits]) == ("rate_limit_minute", [10])
            assert first.named is not None
            assert (first.named.unit, first.named.per, first.named.max) == ("requests", "minute", 2)
            assert second.key == "k1"
            _, kept = await plane.replica.store.drifts()
            keys = plane.replica.state.config.pools["chat"].keys
            assert {key.id: kept[key.fingerprint].count for key in keys} == {"k0": 1, "k1": 1}
            assert kept[keys[0].fingerprint].told.named == first.named


async def test_a_refusal_where_nothing_is_limited_is_how_limits_are_learnt(
    plane: Plane, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(status=429, times=1))
    assert (await plane.chat()).attempts == 2
    _, kept = await plane.replica.store.drifts()
    assert kept == {}
    assert not plane.of(Drifted)


@pytest.mark.parametrize("fault", [{"status": 401}, {"status": 503}, {"status": 402, "body": ""}])
async def test_a_refusal_for_another_reason_is_no_drift(provider: StrictProvider, fault: dict[str, Any]) -> None:
    provider.faults.append(Fault(times=1, **fault))
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), limits=TEN)}) as plane:
        assert (await plane.chat()).status == 200
        _, kept = await plane.replica.store.drifts()
        assert kept == {}
        assert not plane.of(Drifted)


async def test_requests_that_are_refused_together_drift_once(provider: StrictProvider) -> None:
    """They were granted before any of them was refused."""
    secrets = list(provider.accounts)
    provider.faults.append(Fault(key=secrets[0], status=429, hang=True))
    keys = {"chat": pool(provider.url, secrets[:1], limits=TEN, max_wait="0s")}
    async with sidecar(keys) as plane:
        asked = [asyncio.create_task(plane.chat()) for _ in range(4)]
        await provider.wait_for(lambda: provider.open == 4)
        provider.release()
        assert {reply.status for reply in await asyncio.gather(*asked)} == {429}
        _, kept = await plane.replica.store.drifts()
        assert [drift.count for drift in kept.values()] == [1]
        assert len(plane.of(Drifted)) == 1


@pytest.mark.parametrize("named", [{}, {"retry-after": "30"}])
async def test_the_providers_throttle_is_no_drift_of_the_keys(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of those either that were refused before it was known as such; a refusal of one key alone is."""
    over = asyncio.Event()
    monkeypatch.setattr(telling, "sleep", lambda _: over.wait())
    bare = BARE | {"headers": named}
    async with StrictProvider(new_keys(7)) as provider:
        secrets = [*provider.accounts]
        chat = pool(provider.url, secrets[:4], limits=TEN, max_wait="0s")
        alone = pool(provider.url, secrets[4:], limits=TEN)
        async with sidecar({"chat": chat, "alone": alone}) as plane:
            provider.faults.append(Fault(**bare))
            assert (await plane.chat(model="chat/gpt-4o")).attempts == 3
            provider.faults[:] = [Fault(**bare, times=1)]
            assert (await plane.chat(model="alone/gpt-4o")).attempts == 2
            assert not plane.of(Drifted)
            over.set()
            assert [(event.pool, event.key) for event in await drifted(plane)] == [("alone", "k0")]
            _, kept = await plane.replica.store.drifts()
            assert [drift.count for drift in kept.values()] == [1]


async def test_a_throttle_that_another_replica_found_and_that_is_over_is_no_drift(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refused two keys, the other the third; when the doubt ends, nothing of it rests any more."""
    over = asyncio.Event()
    monkeypatch.setattr(telling, "sleep", lambda _: over.wait())
    async with StrictProvider(new_keys(7)) as provider:
        secrets = [*provider.accounts]
        pools = {
            "chat": pool(provider.url, secrets[:4], limits=TEN),
            "alone": pool(provider.url, secrets[4:], limits=TEN),
        }
        shared = {"redis": redis_url, "namespace": f"t-{new_keys(1)[0]}"}
        async with sidecar(pools, **shared) as one, sidecar(pools, **shared) as other:
            provider.faults.append(Fault(**BARE, times=2))
            assert (await one.chat(model="chat/gpt-4o")).attempts == 3
            provider.faults.append(Fault(**BARE, times=1))
            assert (await other.chat(model="chat/gpt-4o")).status == 200  # it waits for the pool
            assert "throttled" in {event.reason for event in other.of(KeyChanged)}
            provider.faults.append(Fault(**BARE, times=1))
            assert (await one.chat(model="alone/gpt-4o")).attempts == 2
            over.set()
            assert [(event.pool, event.key) for event in await drifted(one)] == [("alone", "k0")]


async def test_a_key_that_drifts_again_after_its_rest_is_counted_again(provider: StrictProvider) -> None:
    secret = next(iter(provider.accounts))
    provider.faults.append(Fault(key=secret, status=429, headers={"retry-after-ms": "50"}, times=2))
    async with sidecar({"chat": pool(provider.url, [secret], limits=TEN)}) as plane:
        assert (await plane.chat()).status == 200  # it waits both rests out
        assert [event.count for event in await drifted(plane, 2)] == [1, 2]


async def test_a_drift_of_one_model_names_it(provider: StrictProvider) -> None:
    body = {"error": {"message": "Rate limit reached for gpt-4o in organization o on tokens per min (TPM): Limit 900"}}
    provider.faults.append(Fault(status=429, body=body, times=1))
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), limits=TEN)}) as plane:
        await plane.chat()
        (event,) = await drifted(plane)
        assert event.named == NamedLimit("tokens", "minute", 900, 0, None, "gpt-4o")


async def test_limits_of_successes_are_named_once_a_minute_and_rest_nothing(provider: StrictProvider) -> None:
    """Also where nothing remains."""
    headers = {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-requests-day": "0"}
    provider.faults.append(Fault(headers=headers))
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}) as plane:
        assert [(await plane.chat()).key for _ in range(6)] == ["k0", "k1", "k2"] * 2
        await plane.answered()
        named = plane.of(LimitsNamed)
        assert [(event.key, event.model) for event in named] == [(f"k{at}", "gpt-4o") for at in range(3)]
        assert named[0].limits == (NamedLimit("requests", "day", 14_400, 0),)


async def test_metrics_count_drifts_and_show_what_the_provider_names(provider: StrictProvider) -> None:
    body = {"error": {"message": "Rate limit reached on requests per min (RPM): Limit 3, Used 3, Requested 1."}}
    provider.faults.append(Fault(status=429, body=body, times=1))
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), limits=TEN)}) as plane:
        await plane.chat()
        await drifted(plane)
        metrics = Metrics(plane.replica.state.config)
        assert pages(plane.replica, metrics)
        for event in plane.events:
            metrics(event)
        value = metrics.registry.get_sample_value
        labels = {"pool": "chat", "key": "k0", "model": "gpt-4o"}
        assert value("sidecar_key_drift_total", labels) == 1
        assert value("sidecar_key_named_limit", labels | {"limit": "requests/minute"}) == 3
