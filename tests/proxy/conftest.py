"""A strict provider of three keys, and a sidecar in front of it, for tests that need no more than that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, pool, sidecar


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Three keys without budgets."""
    async with StrictProvider(new_keys(3)) as provider:
        yield provider


@pytest.fixture
async def plane(provider: StrictProvider) -> AsyncIterator[Plane]:
    """Its keys are k0, k1, k2 of the pool `chat`."""
    async with sidecar({"chat": pool(provider.url, list(provider.accounts))}) as plane:
        yield plane
