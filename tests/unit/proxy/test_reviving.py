"""What rests is tried when it is time, by one replica, and comes back when it works; a throttle is no key's fault."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.model.events import KeyChanged
from sidecar.model.rests import read
from sidecar.model.words import Report
from sidecar.proxy import reviving
from sidecar.proxy.reviving import Deaths, revive
from sidecar.proxy.upstream import Upstream
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from sidecar.store import calls
from sidecar.store.connect import StoreAway, StoreUnable
from tests.proxy.plane import Plane, Reply, new_keys, pool, sidecar

AT_ONCE = {"x-sidecar-max-wait": "0"}
BARE: dict[str, Any] = {"status": 429, "body": {"error": {"message": "Too many requests"}}}


@asynccontextmanager
async def world(keys: int, **document: Any) -> AsyncIterator[tuple[StrictProvider, Plane]]:
    async with (
        StrictProvider(new_keys(keys)) as provider,
        sidecar({"chat": pool(provider.url, list(provider.accounts))}, **document) as plane,
    ):
        yield provider, plane


async def skip(plane: Plane, seconds: float) -> None:
    """From now on Redis's clock is so much later."""
    store = plane.replica.store
    later_us = (await store.inspect(())).now_us + round(seconds * 1_000_000)
    await store._lanes.front.call(calls.report(store.names, Report(""), (), now=str(later_us)))


async def tried(plane: Plane, *more: Plane, deaths: Deaths | None = None) -> None:
    """Every replica looks after dead keys once, all at the same time; `deaths` is what they saw before."""
    upstream = Upstream()
    try:
        await asyncio.gather(*(revive(one.replica.state, upstream, deaths or Deaths()) for one in (plane, *more)))
        await plane.replica.store.inspect(())
    finally:
        await upstream.close()


async def tried_in_s(plane: Plane) -> float:
    """Until the next try of k0."""
    key = plane.replica.state.config.pools["chat"].keys[0]
    name = f"c|key|{key.fingerprint}"
    found = await plane.replica.store.inspect([name])
    return (read(found.fields[name] or "").next - found.now_us) / 1_000_000


def probes(provider: StrictProvider) -> int:
    return sum(arrival.path == "/v1/models" for arrival in provider.arrivals)


def rests(plane: Plane) -> list[tuple[str, str, float]]:
    return [(event.key, event.reason, round(event.seconds, 1)) for event in plane.of(KeyChanged)]


async def state(plane: Plane, prefix: str) -> dict[str, str]:
    """The texts of these fields of the state."""
    names = [f"c|account|{key.account}" for one in plane.replica.state.config.pools.values() for key in one.keys]
    found = (await plane.replica.store.inspect([*names, "c|pool|chat", "t|chat"])).fields
    return {name: text for name, text in found.items() if text is not None and name.startswith(prefix)}


async def asked(plane: Plane) -> Reply:
    """A request that may not wait."""
    return await plane.chat(AT_ONCE)


# --- dead keys --------------------------------------------------------------------------------------


async def test_dead_key_is_tried_at_growing_intervals_and_by_nobody_else(redis_url: str) -> None:
    """By one of the replicas each time; no client's request is spent on it meanwhile."""
    shared = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    async with world(2, **shared) as (provider, plane):
        dead = next(iter(provider.accounts))
        provider.faults.append(Fault(key=dead, dead=True))
        async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, **shared) as other:
            assert (await asked(plane)).key == "k1"
            await tried(plane, other)
            assert probes(provider) == 0
            for minutes in (1, 1, 2, 4, 8):
                before, due_s = probes(provider), await tried_in_s(plane)
                assert due_s == pytest.approx(60 * minutes, rel=0.05)
                await skip(plane, due_s - 1)
                await tried(plane, other)
                assert probes(provider) == before
                await skip(plane, 1)
                await tried(plane, other)
                assert probes(provider) == before + 1
            assert {(await asked(plane)).key for _ in range(3)} == {"k1"}
        assert [arrival.path for arrival in provider.arrivals if arrival.key == dead][1:] == ["/v1/models"] * 5


async def test_dead_key_is_revived_for_all_when_it_works_again(redis_url: str) -> None:
    shared = {"redis": redis_url, "namespace": secrets.token_hex(6)}
    async with world(2, **shared) as (provider, plane):
        provider.faults.append(Fault(key=next(iter(provider.accounts)), dead=True))
        async with sidecar({"chat": pool(provider.url, list(provider.accounts))}, **shared) as other:
            assert (await asked(plane)).key == "k1"
            provider.faults.clear()
            await skip(plane, 60)
            await tried(plane, other)
            assert probes(provider) == 1
            assert {(await asked(other)).key for _ in range(2)} == {"k0", "k1"}
            told = rests(plane) + rests(other)
        assert ("k0", "works again", 0.0) in told


async def test_key_that_is_dead_for_long_is_not_given_to_a_request_that_waits() -> None:
    """With no other key left the request is told what is wrong, not when to come back for a dead key."""
    async with world(2) as (provider, plane):
        first, second = provider.accounts
        provider.faults.append(Fault(key=first, dead=True))
        assert (await asked(plane)).key == "k1"
        provider.faults.append(Fault(key=second, status=429, headers={"retry-after": "600"}))
        assert (await asked(plane)).status == 429
        await skip(plane, 3600)
        provider.faults.pop()
        assert [(await asked(plane)).key for _ in range(3)] == ["k1"] * 3


@pytest.mark.parametrize(("status", "reason"), [(429, "rate_limit_minute"), (402, "quota_exhausted_billing")])
async def test_dead_key_that_is_refused_for_its_quota_is_dead_no_more_and_rests_for_that(
    status: int, reason: str
) -> None:
    """Its credential was accepted. What rested for other reasons rests on."""
    async with world(2) as (provider, plane):
        dead = next(iter(provider.accounts))
        provider.faults.append(Fault(key=dead, dead=True))
        assert (await asked(plane)).key == "k1"
        provider.faults[:] = [Fault(key=dead, status=status, headers={"retry-after": "600"})]
        await skip(plane, 60)
        await tried(plane)
        (_, _, rests_s) = next(change for change in rests(plane)[::-1] if change[1] == reason)
        assert [change[:2] for change in rests(plane)[-2:]] == [("k0", "works again"), ("k0", reason)]
        provider.faults.clear()
        assert [(await asked(plane)).key for _ in range(2)] == ["k1", "k1"]
        await skip(plane, rests_s)
        assert {(await asked(plane)).key for _ in range(2)} == {"k0", "k1"}


@pytest.mark.parametrize("fault", [Fault(close="before"), Fault(status=500), Fault(status=404)])
async def test_try_that_says_nothing_of_the_key_revives_nothing(fault: Fault) -> None:
    async with world(2) as (provider, plane):
        dead = Fault(key=next(iter(provider.accounts)), dead=True)
        provider.faults.append(dead)
        assert (await asked(plane)).key == "k1"
        provider.faults[:] = [fault]
        await skip(plane, 60)
        await tried(plane)
        provider.faults[:] = []
        assert probes(provider) >= 1
        assert [(await asked(plane)).key for _ in range(2)] == ["k1", "k1"]


# --- long rests -------------------------------------------------------------------------------------


async def test_store_that_is_away_at_a_look_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has been said already; a mistake of ours is told, and neither ends the looking."""
    looks = asyncio.Queue[None]()
    faults = [StoreAway("gone"), StoreUnable("not now"), RuntimeError("a mistake")]

    async def inspect(_: object) -> None:
        looks.put_nowait(None)
        raise faults[min(looks.qsize(), len(faults)) - 1]

    monkeypatch.setattr(reviving, "EVERY_S", 0.0)
    async with world(1) as (_, plane):
        upstream = Upstream()
        with monkeypatch.context() as patch:
            patch.setattr(plane.replica.store, "inspect", inspect)
            async with reviving.reviving(plane.replica, upstream), asyncio.timeout(30):
                while looks.qsize() < 4:  # noqa: ASYNC110 - each look is told, and they come by themselves
                    await asyncio.sleep(0)
        await upstream.close()
    told = [record for record in caplog.records if record.name == reviving.__name__]
    assert {record.message for record in told} == {"dead keys cannot be tried"}
    assert {str(record.exc_info[1]) for record in told if record.exc_info} == {"a mistake"}


async def test_long_rest_is_tried_by_one_real_request_after_15_minutes_and_ends_when_it_works() -> None:
    async with world(1) as (provider, plane):
        provider.faults.append(Fault(status=429, headers={"retry-after": "36000"}))
        assert (await asked(plane)).status == 429
        told = await asked(plane)
        assert (told.status, told.attempts) == (429, 0)
        assert 890 < int(told.headers["retry-after"]) <= 900
        provider.faults.clear()
        await skip(plane, 900)
        assert (await asked(plane)).status == 200
        assert [(await asked(plane)).status for _ in range(3)] == [200] * 3
        assert ("k0", "works again", 0.0) in rests(plane)


async def test_try_of_a_long_rest_that_fails_costs_one_request() -> None:
    async with world(1) as (provider, plane):
        provider.faults.append(Fault(status=429, headers={"retry-after": "36000"}))
        assert (await asked(plane)).attempts == 1
        await skip(plane, 900)
        assert [(await asked(plane)).attempts for _ in range(4)] == [1, 0, 0, 0]
        await skip(plane, 890)
        assert (await asked(plane)).attempts == 0
        await skip(plane, 10)
        assert (await asked(plane)).attempts == 1


async def test_rest_that_nobody_named_doubles_until_a_success() -> None:
    async with world(1) as (provider, plane):
        provider.faults.append(Fault(**BARE))
        for minutes in (1, 2, 4):
            assert (await asked(plane)).attempts == 1
            assert rests(plane)[-1] == ("k0", "rate_limit_minute", 60.0 * minutes)
            await skip(plane, 60 * minutes)
        provider.faults.clear()
        assert (await asked(plane)).status == 200
        provider.faults.append(Fault(**BARE))
        await plane.replica.store.inspect(())
        assert (await asked(plane)).attempts == 1
        assert rests(plane)[-1] == ("k0", "rate_limit_minute", 60.0)


async def test_end_of_a_rest_is_worth_one_request_until_one_succeeds() -> None:
    """Else all that waited would hit the key together that was just refused."""
    async with world(1) as (provider, plane):
        provider.faults.append(Fault(status=429, headers={"retry-after": "60"}))
        assert (await asked(plane)).status == 429
        provider.faults[:] = [Fault(hang=True, times=1)]
        await skip(plane, 60)
        first = asyncio.create_task(asked(plane))
        await provider.wait_for(lambda: len(provider.arrivals) == 2)
        second = await asked(plane)
        assert (second.status, second.attempts) == (429, 0)
        provider.release()
        assert (await first).status == 200
        assert [(await asked(plane)).status for _ in range(3)] == [200] * 3


# --- the provider's throttle ------------------------------------------------------------------------


async def test_same_bare_refusal_from_three_accounts_pauses_the_pool_and_rests_no_key() -> None:
    async with world(5) as (provider, plane):
        provider.faults.append(Fault(**BARE))
        reply = await asked(plane)
        assert (reply.status, reply.attempts, int(reply.headers["retry-after"])) == (429, 3, 1)
        assert list(await state(plane, "c|")) == ["c|pool|chat"]
        assert ("", "throttled", 1.0) in rests(plane)
        assert (await asked(plane)).attempts == 0
        provider.faults.clear()
        await skip(plane, 1)
        assert (await asked(plane)).status == 200
        assert await state(plane, "c|") == {}
        assert {(await asked(plane)).key for _ in range(5)} == {f"k{n}" for n in range(5)}


async def test_pause_doubles_while_the_provider_refuses() -> None:
    """One request finds out each time, and no key is blamed for it."""
    async with world(5) as (provider, plane):
        provider.faults.append(Fault(**BARE))
        assert (await asked(plane)).attempts == 3
        for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
            assert rests(plane)[-1] == ("", "throttled", float(seconds))
            await skip(plane, seconds)
            assert (await asked(plane)).attempts == 1
        assert list(await state(plane, "c|")) == ["c|pool|chat"]


async def test_two_accounts_are_no_throttle() -> None:
    async with world(2) as (provider, plane):
        provider.faults.append(Fault(**BARE))
        assert (await asked(plane)).attempts == 2
        assert len(await state(plane, "c|account")) == 2
        assert await state(plane, "c|pool") == {}


async def test_rests_that_the_throttle_takes_back_are_told_to_be_over() -> None:
    """Each by the key, so that who follows the events knows that none rests."""
    async with world(5) as (provider, plane):
        provider.faults.append(Fault(**BARE))
        await asked(plane)
        resting, over = ("rate_limit_minute", 60.0), ("taken back", 0.0)
        told = [(key, reason, seconds) for key, reason, seconds in rests(plane) if key]
        assert told == [("k0", *resting), ("k1", *resting), ("k0", *over), ("k1", *over)]


@pytest.mark.parametrize(
    "page",
    [
        {"body": {"message": "Too many requests"}, "headers": {"retry-after": "120"}},
        {"body": "error code: 1015", "headers": {"retry-after": "3600"}},
        {"body": "<html><title>429 Too Many Requests</title>nginx</html>", "headers": {"retry-after": "120"}},
    ],
    ids=["gateway", "cloudflare", "nginx"],
)
async def test_refusals_that_name_a_length_and_no_quota_pause_the_pool_that_long_at_most_a_minute(
    page: dict[str, Any],
) -> None:
    """The two that came first rest as they were told: each alone would be right to."""
    async with world(8) as (provider, plane):
        provider.faults.append(Fault(status=429, **page))
        reply = await asked(plane)
        assert (reply.status, reply.attempts, int(reply.headers["retry-after"])) == (429, 3, 60)
        await skip(plane, 60)
        assert (await asked(plane)).attempts == 1
        assert {key for key, _, _ in rests(plane)} == {"k0", "k1", ""}
        provider.faults.clear()
        await skip(plane, 60)
        assert [(await asked(plane)).status for _ in range(6)] == [200] * 6
        assert await state(plane, "c|pool") == {}


async def test_a_pause_is_as_long_as_was_named_then_doubles() -> None:
    async with world(5) as (provider, plane):
        provider.faults.append(Fault(**BARE, headers={"retry-after": "7"}))
        assert (await asked(plane)).attempts == 3
        for seconds in (7, 14, 28, 56, 60):
            assert rests(plane)[-1] == ("", "throttled", float(seconds))
            await skip(plane, seconds)
            await asked(plane)


async def test_lengths_that_end_apart_are_the_keys_own() -> None:
    async with world(3) as (provider, plane):
        for number, secret in enumerate(provider.accounts):
            provider.faults.append(Fault(key=secret, **BARE, headers={"retry-after": str(20 + 10 * number)}))
        assert (await asked(plane)).attempts == 3
        assert len(await state(plane, "c|account")) == 3
        assert await state(plane, "c|pool") == {}


async def test_lengths_that_are_named_with_a_quota_are_the_keys_own() -> None:
    body = {"error": {"message": "Rate limit reached for requests per minute"}}
    async with world(3) as (provider, plane):
        provider.faults.append(Fault(status=429, body=body, headers={"retry-after": "60"}))
        assert (await asked(plane)).attempts == 3
        assert len(await state(plane, "c|account")) == 3
        assert await state(plane, "c|pool") == {}


async def test_keys_that_were_out_of_quota_after_all_pause_the_pool_once() -> None:
    """A length that was named stays, so that the third is alone when it is asked again."""
    async with world(5) as (provider, plane):
        for secret in list(provider.accounts)[:3]:
            provider.faults.append(Fault(key=secret, **BARE, headers={"retry-after": "300"}))
        assert (await asked(plane)).status == 429
        await skip(plane, 60)
        assert [(await asked(plane)).status for _ in range(6)] == [200] * 6
        assert len(await state(plane, "c|account")) == 3
        assert [reason for key, reason, _ in rests(plane) if not key] == ["throttled"]


async def test_refusals_far_apart_are_no_throttle() -> None:
    """Each key's own limit, met one after the other."""
    async with world(3) as (provider, plane):
        for secret in provider.accounts:
            provider.faults[:] = [Fault(key=secret, **BARE)]
            assert (await asked(plane)).status in {200, 429}
            await asked(plane)
            await skip(plane, 6)
        assert await state(plane, "c|pool") == {}
