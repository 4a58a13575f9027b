"""Where connections come from: through which proxy, with whose certificates trusted, kept for how long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sidecar.model.configured import DIRECT, CaBundle, Config, Key, Pool, Proxy
from sidecar.proxy.origin.gate import SENDING, Gate, ProxyRefused, Sending, SentBefore, Written
from sidecar.proxy.origin.incoming import Lost, Stalled
from sidecar.proxy.origin.patience import Patience

CONNECT_S = 10.0
PROXIED_S = 20.0  # until a connection through a proxy is there, that to the proxy included
_HTTP = frozenset({"http", "https"})
LONGEST_HEADER = 64 * 1024  # of an answer: security policies and cookies grow


class NotSent(Exception):
    """No connection could be made; nothing was sent. The text says why."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How an origin is reached. Those that are alike share connections."""

    proxy: Proxy
    ca_bundle: CaBundle | None
    keepalive_s: float

    @classmethod
    def of(cls, pool: Pool, key: Key) -> _Way:
        return cls(key.proxy or pool.proxy, pool.ca_bundle, pool.connections.keepalive_s)


class Connections:
    """The HTTP clients of all attempts, one for each way to reach a provider, made when it is first gone."""

    def __init__(self) -> None:
        self._sessions: dict[_Way, aiohttp.ClientSession] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        self.keep(())
        await asyncio.gather(*self._closing)

    def keep(self, configs: Iterable[Config]) -> None:
        """Closes what none of these configs would use."""
        ways = {_Way.of(pool, key) for config in configs for pool in config.pools.values() for key in pool.keys}
        for way in [way for way in self._sessions if way not in ways]:
            task = asyncio.create_task(self._sessions.pop(way).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def send(
        self, sending: Sending, method: str, url: URL, headers: CIMultiDict[str], data: Any
    ) -> aiohttp.ClientResponse:
        """The head of the answer. Raises NotSent, Late or StoreAway (nothing was sent), or Lost."""
        SENDING.set(now := [sending])
        way = _Way.of(sending.held.pool, sending.held.key)
        session = self._sessions.get(way)
        if session is None:
            session = self._sessions[way] = _session(way)
        sending.uploads = data is not None
        if sending.timeout_s is not None or sending.held.pool.first_byte_s is not None:
            sending.patience = Patience()
        try:
            async with sending.patience or nullcontext():
                response = await session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    proxy_headers=_log_in(way.proxy, url, headers) if way.proxy.login else None,
                )
        except (aiohttp.ClientError, OSError, SentBefore) as error:
            if sending.patience is not None and sending.patience.expired:
                raise Stalled("no answer within its first_byte_timeout or timeout") from None
            if sending.sent:
                raise Lost(_how(error)) from None
            raise NotSent(_reason(error, way.proxy)) from None
        finally:
            now.clear()
        if response.status == 101:  # of another protocol, for which nobody asked
            response.close()
            raise Lost("101 Switching Protocols")
        if response.status == 407 and way.proxy != DIRECT:  # to an origin without TLS: it wants what we do not have
            response.close()
            sending.sent = False
            raise NotSent(f"proxy {way.proxy}: 407 {response.reason}")
        return response


def _session(way: _Way) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=_connector(way),
        timeout=aiohttp.ClientTimeout(
            total=None, connect=None if way.proxy == DIRECT else PROXIED_S, sock_connect=CONNECT_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=Written,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
        proxy=URL(str(way.proxy)) if way.proxy.scheme in _HTTP else None,
    )


def _log_in(proxy: Proxy, url: URL, headers: CIMultiDict[str]) -> dict[str, str] | None:
    """What only an HTTP proxy is told, in its request for a tunnel; without one it reads the request's own headers."""
    if proxy.scheme not in _HTTP:
        return None
    login = {"Proxy-Authorization": aiohttp.encode_basic_auth(*proxy.credentials())}
    if url.scheme == "https":
        return login
    headers.update(login)
    return None


def _connector(way: _Way) -> Gate:
    options: dict[str, Any] = {
        "limit": 0,  # none: a grant must not queue for a connection and be late for it
        "ttl_dns_cache": 60,
        "keepalive_timeout": way.keepalive_s,
        "ssl": True if way.ca_bundle is None else _trusting(way.ca_bundle),
    }
    if not way.proxy.scheme.startswith("socks"):
        return Gate(**options)
    from sidecar.proxy.origin.socks import socks_gate  # noqa: PLC0415 - a library that few need

    return socks_gate(way.proxy, options)


def _trusting(bundle: CaBundle) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=bundle.pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(error: Exception, proxy: Proxy) -> str:
    """What went wrong before anything was sent, without a URL or a login: a query may hold the key."""
    where, why = "" if proxy == DIRECT else f"proxy {proxy}", type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientProxyConnectionError):
        where = f"{error.host}:{error.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = f"its TLS certificate is not trusted: {_verdict(error.certificate_error)}"
        case ssl.SSLCertVerificationError():
            why = f"its TLS certificate is not trusted: {_verdict(error)}"
        case aiohttp.ClientConnectorError():
            why = error.os_error.strerror or type(error.os_error).__name__
        case aiohttp.ClientHttpProxyError():
            why = f"{error.status} {error.message}"
        case ProxyRefused():
            why = str(error)
    return f"{where}: {why}" if where else why


def _verdict(error: Exception) -> str:
    return getattr(error, "verify_message", "") or type(error).__name__


def _how(error: Exception) -> str:
    """How a connection broke. The HTTP client, which would send once more, is stopped where no answer came."""
    silent = isinstance(error, SentBefore | aiohttp.ServerDisconnectedError)
    return "closed without an answer" if silent else type(error).__name__
