"""What one client makes comes together at one account, in so far as that has room."""

from __future__ import annotations

import pytest

from sidecar.simulate.failures import Fault
from sidecar.simulate.provider import StrictProvider
from tests.proxy.belonging.things import FILE, FORM, upload
from tests.proxy.plane import Plane, pool, sidecar


async def test_what_a_client_makes_comes_together(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one round trip, which is that of any call; what makes nothing takes turns as if these were not there."""

    async def never(*_: object) -> None:
        raise AssertionError("one round trip a request")

    monkeypatch.setattr(plane.replica.store.made, "makers", never)
    keys = {(await upload(plane))[1] for _ in range(4)}
    for kind in ("vector_stores", "containers", "conversations", "uploads", "assistants", "threads"):
        keys.add((await plane.post(f"/v1/{kind}", {"name": "it"})).key)
    assert len(keys) == 1
    assert [(await plane.chat()).key for _ in range(5)] == [f"k{at}" for at in range(5)]


async def test_where_their_account_has_no_room_things_are_made_elsewhere(provider: StrictProvider) -> None:
    """No client sees a 429 while a key has room."""
    limits = [{"requests": 2, "per": "minute"}]
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), max_wait="0s", limits=limits)}) as plane:
        keys = [(await upload(plane))[1] for _ in range(10)]
        assert keys[0] == keys[1]
        assert sorted(keys) == [f"k{at // 2}" for at in range(10)]
        assert (await plane.send("POST", "/v1/files", FORM, FILE)).status == 429


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_an_account_that_refuses_what_it_is_to_keep_is_not_asked_for_it_twice(
    plane: Plane, provider: StrictProvider, status: int
) -> None:
    _, key = await upload(plane)
    provider.faults.append(Fault(key=list(provider.accounts)[int(key[1:])], status=status))
    made = await plane.send("POST", "/v1/files", FORM, FILE)
    assert (made.status, made.attempts) == ((503, 1) if status == 503 else (200, 2))
    assert (made.key == key) is (status == 503)  # which may have been executed
