"""A pool for several replicas, and calls to them."""

from __future__ import annotations

import secrets
from typing import Any

import aiohttp

from sidecar.simulate.provider import StrictProvider
from tests.fleet import Sidecar

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def config(provider: StrictProvider, redis_url: str, keys: int, **pool: Any) -> dict[str, Any]:
    """A pool of the provider's first keys in a namespace of its own."""
    listed = [{"id": f"k{i}", "secret": secret} for i, secret in enumerate(list(provider.accounts)[:keys])]
    own = {"base_url": f"{provider.url}/v1", "dialect": "openai", "keys": listed}
    return {"redis": redis_url, "namespace": f"t-{secrets.token_hex(6)}", "pools": {"chat": own | pool}}


def new_keys(count: int) -> list[str]:
    return [f"sk-{secrets.token_hex(16)}" for _ in range(count)]


async def ask(http: aiohttp.ClientSession, sidecar: Sidecar, **headers: str) -> tuple[int, Any]:
    """Status and headers of one chat completion; 0 where the connection broke."""
    try:
        async with http.post(f"{sidecar.url}/v1/chat/completions", json=BODY, headers=headers) as answer:
            await answer.read()
            return answer.status, answer.headers
    except aiohttp.ClientError:
        return 0, {}


def many() -> aiohttp.ClientSession:
    """A client without a limit of its own."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
