"""A strict provider on a free port, and one HTTP client to call it with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from sidecar.simulate.provider import StrictProvider


@pytest.fixture
async def provider() -> AsyncIterator[StrictProvider]:
    """Three keys: two of one account, one of its own. No budgets."""
    async with StrictProvider({"secret-of-key-one": "acme", "secret-of-key-two": "acme", "secret-own": None}) as strict:
        yield strict


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        yield session
