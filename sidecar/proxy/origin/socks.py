"""The one module that knows a SOCKS library, imported where a config names a SOCKS proxy."""

from __future__ import annotations

from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

from sidecar.model.configured import Proxy
from sidecar.proxy.origin.gate import Gate, ProxyRefused


class _SocksGate(Gate, ProxyConnector):
    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        try:
            return await super().connect(req, traces, timeout)
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise ProxyRefused(str(error)) from None
        except EOFError:  # as asyncio says it, which the library lets through
            raise ProxyRefused("closed without an answer") from None


def socks_gate(proxy: Proxy, options: dict[str, Any]) -> Gate:
    """A gate behind a SOCKS5 proxy; `options` are those of any gate."""
    user, password = proxy.credentials()
    return _SocksGate(
        host=proxy.host,
        port=proxy.port,
        proxy_type=ProxyType.SOCKS5,
        username=user or None,
        password=password if user else None,
        rdns=proxy.scheme == "socks5h",
        **options,
    )
