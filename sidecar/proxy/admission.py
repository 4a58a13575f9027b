"""Who may ask, and how: what is refused before anybody looks at where a request leads."""

from __future__ import annotations

import hmac
import time

from aiohttp import web

from sidecar.model.configured import Client, Config
from sidecar.model.hosts import host_allowed, origin_allowed
from sidecar.providers import urls
from sidecar.providers.dialect import BadCall
from sidecar.proxy.clients import identify, tokens
from sidecar.proxy.errors import Refused, bad_request
from sidecar.replica import State


def split(target: str) -> tuple[str, str]:
    """Path and query of an origin-form target, raw. Raises Refused (400) for any other form."""
    if not target.startswith("/"):
        raise bad_request("Only a path is accepted as the request's target, not a whole URL.")
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def check_path(path: str) -> None:
    """Raises Refused (400) for a path that could leave the provider's."""
    try:
        urls.check_path(path)
        if (read := urls.canonical(path)) != path:  # an escape may come together where another is written plainly
            urls.check_path(read)
    except BadCall as bad:
        raise bad_request(str(bad)) from None


def admit(request: web.BaseRequest, config: Config) -> None:
    """Raises Refused (403) for a Host or an Origin by which a web page could reach the keys."""
    host = request.headers.get("Host")
    if not host_allowed(host, config.hosts):
        raise Refused(403, "forbidden_host", f'Host "{(host or "")[:100]}" is not served: list it in `hosts`.')
    origin = request.headers.get("Origin")
    if not origin_allowed(origin, config.hosts):
        raise Refused(
            403, "forbidden_origin", f'Origin "{(origin or "")[:100]}" may not use this sidecar: list it in `hosts`.'
        )


def check_method(request: web.BaseRequest) -> None:
    """Raises Refused: 405 for a method that is not forwarded, 501 for a connection that wants to be another."""
    if request.method in {"OPTIONS", "TRACE", "CONNECT"}:
        raise not_allowed(request, "GET, HEAD, POST, PUT, PATCH, DELETE")
    wanted = request.headers.get("Upgrade", "h2c").lower()  # an offer of HTTP/2 may be passed over
    if wanted != "h2c" and "upgrade" in request.headers.get("Connection", "").lower():
        raise Refused(501, "not_implemented", "Upgraded connections (WebSocket) are not forwarded yet.")


def not_allowed(request: web.BaseRequest, allowed: str) -> Refused:
    """405, with the methods that are served."""
    return Refused(405, "method_not_allowed", f"{request.method} is not served here.", {"Allow": allowed})


_ANYONE = Client("")


def client_of(request: web.BaseRequest, state: State, query: str) -> Client:
    """The calling client; with no `clients` configured anybody on this machine may call.

    Raises Refused (401).
    """
    if not state.clients:
        return _ANYONE
    now_s = time.time()
    presented = tokens(request.headers, query)
    found = identify(state.clients, presented, now_s)
    if found is None:
        what = "The virtual key is unknown" if any(presented) else "The request has no virtual key"
        raise Refused(401, "invalid_api_key", f"{what}: use the token of one of this sidecar's `clients`.")
    client, token = found
    if token.expired(now_s):
        raise Refused(401, "expired_api_key", f"The virtual key of client {client.id} has expired. Use its new one.")
    return client


def knows_admin(request: web.BaseRequest, config: Config) -> bool:
    """Whether it presents the admin's token."""
    if config.admin_token is None:
        return False
    wanted = config.admin_token.reveal().encode()
    return any(hmac.compare_digest(token.encode(), wanted) for token in tokens(request.headers, ""))
