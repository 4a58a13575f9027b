"""A sidecar with a pool of each provider's preset, before a strict provider that speaks all of their dialects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Plane, new_keys, sidecar

PRESETS = {"openai": "/v1", "anthropic": "", "gemini": ""}  # and what follows the origin in its base_url


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Three keys for each of the presets, each an account of its own, which alone has what it made."""
    async with StrictProvider(new_keys(9), keeps=True) as provider:
        yield provider


@pytest.fixture
async def plane(provider: StrictProvider) -> AsyncIterator[Plane]:
    async with plane_of(provider) as plane:
        yield plane


@asynccontextmanager
async def plane_of(provider: StrictProvider, **document: Any) -> AsyncIterator[Plane]:
    """Pools named after their preset; `best` is a route that leads an OpenAI SDK to gemini."""
    secrets = iter(provider.accounts)
    pools = {
        name: {
            "provider": name,
            "base_url": provider.url + base,
            "keys": [{"id": f"{name}-{at}", "secret": next(secrets)} for at in range(3)],
            "max_wait": "0s",
        }
        for name, base in PRESETS.items()
    }
    routes = {"best": [{"pool": "gemini", "model": "gemini-2.0-flash"}]}
    async with sidecar(pools, routes=routes, **document) as plane:
        yield plane
