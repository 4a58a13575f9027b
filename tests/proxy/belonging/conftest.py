"""A strict provider of five accounts that keeps what they make, and a sidecar in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Five keys, each an account of its own, which alone has what it made."""
    async with StrictProvider(new_keys(5), keeps=True) as provider:
        yield provider


@pytest.fixture
async def plane(provider: StrictProvider) -> AsyncIterator[Plane]:
    """Its keys are k0 to k4 of the pool `chat`; nobody waits."""
    async with sidecar({"chat": pool(provider.url, list(provider.accounts), max_wait="0s")}) as plane:
        yield plane
