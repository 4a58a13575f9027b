"""The event of an attempt knows whose it was and, where it failed, what the provider said."""

from __future__ import annotations

import asyncio
import json

import pytest

from sidecar.model.events import CANCELLED, Attempted
from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar

BODY = {"error": {"message": "it is too hot", "type": "server_error"}}


@pytest.mark.parametrize("packed", [False, True])
async def test_a_failure_tells_what_its_provider_said_unpacked(
    packed: bool, plane: Plane, provider: StrictProvider
) -> None:
    provider.faults.append(Fault(status=500, body=BODY, gzip=packed, times=1))
    await plane.chat({"Accept-Encoding": "gzip"})
    failed, passed = plane.of(Attempted)
    assert b"it is too hot" in failed.told
    assert "hot" not in repr(failed)
    assert (passed.outcome, passed.told) == ("ok", b"")


async def test_what_was_already_with_the_client_is_not_told(plane: Plane, provider: StrictProvider) -> None:
    """A stream that breaks off held an answer, which is nobody else's business."""
    provider.faults.append(Fault(close="middle", times=1))
    await plane.chat(stream=True)
    await plane.answered()
    (failed,) = plane.of(Attempted)
    assert (failed.outcome, failed.told) == ("server_error", b"")


@pytest.mark.parametrize("packed", [False, True])
async def test_a_stream_that_fails_after_its_beginning_tells_the_event_that_says_so(
    packed: bool, plane: Plane, provider: StrictProvider
) -> None:
    """And nothing of what the client got before it."""
    provider.faults.append(Fault(status=500, body=BODY, at="middle", gzip=packed, times=1))
    await plane.chat({"Accept-Encoding": "gzip"}, stream=True)
    await plane.answered()
    (failed,) = plane.of(Attempted)
    assert failed.outcome == "server_error"
    assert json.loads(failed.told) == BODY


async def test_every_attempt_knows_its_client() -> None:
    clients = [{"id": "web", "token": "token-of-web-0123456789"}]
    async with StrictProvider(new_keys(2)) as provider:
        keys = pool(provider.url, [*provider.accounts])
        provider.faults.append(Fault(status=429, times=1, headers={"retry-after": "9"}))
        async with sidecar({"chat": keys}, clients=clients) as plane:
            await plane.chat({"Authorization": "Bearer token-of-web-0123456789"})
            told = [(event.outcome, event.client) for event in plane.of(Attempted)]
        assert told == [("rate_limit_minute", "web"), ("ok", "web")]


async def test_a_send_that_nobody_waits_for_any_more_is_told(plane: Plane, provider: StrictProvider) -> None:
    """Only one that was sent: the provider has counted it."""
    provider.faults.append(Fault(hang=True))
    asked = asyncio.create_task(plane.chat())
    await provider.wait_for(lambda: provider.calls)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await plane.answered()
    (event,) = plane.of(Attempted)
    assert (event.outcome, event.status) == (CANCELLED, None)
