"""A sidecar that keeps answers, and what is asked of it."""

from __future__ import annotations

from typing import Any

from sidecar.simulate.provider import StrictProvider
from tests.proxy.plane import Reply, pool, sidecar

ONCE_A_MINUTE = {"requests": 1, "per": "minute"}
CUT = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
ANSWER = (
    b'{"id":"a","object":"chat.completion","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
)


def cached(provider: StrictProvider, cache: object = None, **pool_fields: Any) -> Any:
    """A sidecar of the provider's first key that keeps answers."""
    return sidecar({"chat": pool(provider.url, [*provider.accounts][:1], **pool_fields)}, cache=cache or {})


def cache_of(reply: Reply) -> str:
    return reply.headers["x-sidecar-cache"]
