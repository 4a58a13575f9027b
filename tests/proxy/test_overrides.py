"""A reseller's own codes, as its pool's `outcomes:` read them: what the client sees, and what rests."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.model.events import Attempted, KeyChanged
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import CHAT, Plane, pool, sidecar

SPENT = {"status": 400, "body": "Resource Exhausted", "class": "rate_limit_day", "delay": "2h"}
NO_MONEY = {"status": 200, "body": "balance is used up", "class": "quota_exhausted_billing"}


def chat(provider: StrictProvider, *outcomes: dict[str, Any]) -> dict[str, Any]:
    return {"chat": pool(provider.url, list(provider.accounts), outcomes=list(outcomes))}


def outcomes(plane: Plane) -> list[tuple[str, str]]:
    return [(event.key, event.outcome) for event in plane.of(Attempted)]


async def test_a_400_that_means_a_spent_day_goes_to_the_next_key(provider: StrictProvider) -> None:
    """And rests the first as long as the pool says, since the answer names nothing."""
    provider.faults.append(Fault(status=400, body={"error": {"message": "resource exhausted (1042)"}}, times=1))
    async with sidecar(chat(provider, SPENT)) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert outcomes(plane) == [("k0", "rate_limit_day"), ("k1", "ok")]
        (change,) = plane.of(KeyChanged)
        assert (change.key, change.reason, change.proved) == ("k0", "rate_limit_day", True)
        assert 7190 < change.seconds <= 7200
        assert [(await plane.chat()).key for _ in range(3)] == ["k2", "k1", "k2"]


async def test_the_same_400_without_an_override_is_the_clients(plane: Plane, provider: StrictProvider) -> None:
    provider.faults.append(Fault(status=400, body={"error": {"message": "resource exhausted (1042)"}}, times=1))
    assert (await plane.chat()).status == 400


async def test_a_402_that_means_a_dead_key_is_a_suspicion_until_another_key_proves_it(
    provider: StrictProvider,
) -> None:
    provider.faults.append(Fault(status=402, body="", times=1))
    async with sidecar(chat(provider, {"status": 402, "class": "invalid_key"})) as plane:
        assert [(await plane.chat()).key for _ in range(3)] == ["k1", "k2", "k1"]
        assert [(change.key, change.reason, change.proved) for change in plane.of(KeyChanged)] == [
            ("k0", "invalid_key", False),
            ("k0", "invalid_key", True),
        ]


ODD: list[tuple[str, Any]] = [
    ("an error that the dialect knows", {"error": {"code": "9", "message": "Your balance is used up"}}),
    ("one that it takes for an answer", {"status": "failed", "msg": "Your balance is used up"}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("_kind", "body"), ODD, ids=[kind for kind, _ in ODD])
async def test_an_error_inside_a_200_is_met_before_the_client_sees_it(
    provider: StrictProvider, stream: bool, _kind: str, body: object
) -> None:
    """In a stream as its first event."""
    provider.faults.append(Fault(body=body, times=1, at="first" if stream else "answer"))
    async with sidecar(chat(provider, NO_MONEY)) as plane:
        reply = await plane.post("/v1/chat/completions", CHAT | {"stream": stream})
        assert (reply.status, reply.key, reply.attempts) == (200, "k1", 2)
        assert b"balance" not in reply.body
        assert outcomes(plane)[0] == ("k0", "quota_exhausted_billing")
        (change,) = plane.of(KeyChanged)
        assert change.seconds > 3500


async def test_an_error_after_output_rests_its_key_though_the_client_saw_it(provider: StrictProvider) -> None:
    provider.faults.append(Fault(body={"error": {"message": "Your balance is used up"}}, times=1, at="middle"))
    async with sidecar(chat(provider, NO_MONEY)) as plane:
        reply = await plane.post("/v1/chat/completions", CHAT | {"stream": True})
        assert reply.key == "k0"
        await plane.answered()
        assert outcomes(plane) == [("k0", "quota_exhausted_billing")]
        assert [(await plane.chat()).key for _ in range(3)] == ["k1", "k2", "k1"]


async def test_a_200_that_every_key_gives_passes_unchanged(provider: StrictProvider) -> None:
    """With the words of the provider: the last answer where all say the same."""
    body = {"status": "failed", "msg": "Your balance is used up"}
    provider.faults.append(Fault(body=body))
    async with sidecar(chat(provider, NO_MONEY)) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.data, reply.attempts) == (200, body, 3)


async def test_a_status_of_everybodys_is_retried_without_resting_a_key(provider: StrictProvider) -> None:
    provider.faults.append(Fault(status=418, body="", times=1))
    async with sidecar(chat(provider, {"status": 418, "class": "overloaded"})) as plane:
        reply = await plane.chat()
        assert (reply.status, reply.attempts) == (200, 2)
        assert not plane.of(KeyChanged)
