"""What a Store whose Redis may be away is asked, and until when it is waited for."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.model.words import Grant
from sidecar.store.connect import StoreAway
from tests.store.asks import ask, granted, limit, rotation, unexpected
from tests.store.conftest import Witness

TURNS = rotation(3, limit(1000))
HANG_S = 60  # only ends a test that hangs


async def acquired(witness: Witness) -> Grant:
    async with asyncio.timeout(HANG_S):
        return granted(await witness.store.acquire(ask(TURNS), unexpected))


async def is_away(witness: Witness, reason: str) -> None:
    """The next acquire fails for this reason."""
    with pytest.raises(StoreAway, match=reason):
        await acquired(witness)


async def is_back(witness: Witness) -> None:
    async with asyncio.timeout(HANG_S):
        await witness.store.up.wait()
