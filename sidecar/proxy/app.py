"""The data plane: the one list of `listen`'s URLs, and the way of a request from its first line to its last byte."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from urllib.parse import unquote

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from sidecar.model.amounts import amounts
from sidecar.model.configured import Client, Config, Secret, Target
from sidecar.model.events import Answered
from sidecar.model.hosts import host_allowed, is_loopback, origin_allowed
from sidecar.pool.search import Search
from sidecar.providers.catalogue import DIALECTS
from sidecar.providers.dialect import BadCall, Dialect
from sidecar.providers.urls import check_path
from sidecar.proxy import call as calls
from sidecar.proxy import relay, route
from sidecar.proxy.attempt import Answer, Attempts
from sidecar.proxy.bodies import Share, Storage
from sidecar.proxy.call import Call, Place
from sidecar.proxy.clients import identify, tokens
from sidecar.proxy.errors import Refused, bad_request
from sidecar.proxy.naming import Naming
from sidecar.proxy.upstream import Upstream
from sidecar.replica import Asked, Replica, State

log = logging.getLogger(__name__)

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
KEEPALIVE_S = 75.0  # that an idle client keeps its connection
MOST_FOUND = 4096  # models whose targets are remembered; clients name any
# Of the pages, those that anybody may see on a `listen` beyond loopback; the others want a token.
FREE_PAGES = ("/health",)


def server(replica: Replica, pages: Mapping[str, Page], upstream: Upstream) -> web.Server:
    """The data plane's server. `pages`: what GET answers besides forwarding.

    A client that goes away cancels its handler, and with it the attempt under way.
    """
    handle = DataPlane(replica, pages, upstream).handle
    return _Server(
        handle, handler_cancellation=True, access_log=None, auto_decompress=False, keepalive_timeout=KEEPALIVE_S
    )


class _Connection(RequestHandler):
    """A client's connection, on which malformed HTTP is answered in a dialect too."""

    __slots__ = ()

    def close(self) -> None:
        """In a drain an idle connection ends at once: its client's next request would be read by nobody."""
        idle = self._current_request is None
        super().close()
        if idle and self.transport is not None:
            self.transport.close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)
        told = (
            "A line of the request's head is too long." if isinstance(exc, LineTooLong) else "This is malformed HTTP."
        )
        body = DIALECTS["openai"].write_error(status, "invalid_request", told)
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


@dataclass(slots=True)
class Visit:
    """What is known of a request while it is answered: the log line's source."""

    request_id: str
    began: float
    method: str
    body: Share
    path: str = ""
    client: str = ""
    dialect: Dialect = DIALECTS["openai"]
    model: str = ""
    attempts: Attempts | None = None
    answer: Answer | None = None
    status: int = 499
    outcome: str = "cancelled"


class DataPlane:
    """Answers every request that reaches `listen`."""

    def __init__(self, replica: Replica, pages: Mapping[str, Page], upstream: Upstream) -> None:
        self._replica, self._pages, self._upstream = replica, pages, upstream
        self._naming = Naming(replica.emit)
        self._bodies = Storage()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A page, a forwarded call, or an error in the caller's dialect."""
        state = self._replica.state
        body = Share(self._bodies, state.config.max_body)
        visit = Visit(secrets.token_hex(8), monotonic(), request.method, body)
        page = self._pages.get(request.raw_path.partition("?")[0])
        if page is not None:
            return await self._page(request, state.config, page, visit)
        self._replica.entered()
        try:
            return await self._forward_or_refuse(request, state, visit)
        except (asyncio.CancelledError, ConnectionResetError):
            visit.status, visit.outcome = 499, "cancelled"  # the client is gone
            raise asyncio.CancelledError from None  # which the server takes without a traceback
        finally:
            if visit.attempts is not None:
                visit.attempts.close()
            body.release()
            self._replica.left()
            self._replica.emit(_answered(visit))

    async def _forward_or_refuse(self, request: web.BaseRequest, state: State, visit: Visit) -> web.StreamResponse:
        try:
            return await self._forward(request, state, visit)
        except Refused as error:
            refused = error
        except BadCall as error:
            refused = bad_request(str(error))
        except (asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:
            log.exception("request %s failed", visit.request_id)
            refused = Refused(500, "internal_error", "The sidecar failed; its log says why.")
        visit.status, visit.outcome = refused.status, refused.code
        return await _refuse(request, visit, refused)

    async def _page(self, request: web.BaseRequest, config: Config, page: Page, visit: Visit) -> web.StreamResponse:
        try:
            _admit(request, config)
            if request.method not in {"GET", "HEAD"}:
                raise _not_allowed(request, "GET, HEAD")
            free = request.raw_path.startswith(FREE_PAGES) or is_loopback(config.listen.host)
            if not free and not _knows_admin(request, config):
                _client_of(request, config, "")
            return await page(request)
        except Refused as refused:
            return await _refuse(request, visit, refused)

    async def _forward(self, request: web.BaseRequest, state: State, visit: Visit) -> web.StreamResponse:
        path, query = _split(request.raw_path)
        visit.path = path
        where = calls.place(state.config, request.method, path, request.headers, query)
        if isinstance(where, Place):
            visit.dialect = where.judge  # before anything is refused, so that the client can read why
        _check_path(path)
        _admit(request, state.config)
        if isinstance(where, Refused):
            raise where
        visit.client = _client_of(request, state.config, query).id
        _check(request, where)
        if where.lists:
            return await _list(request, state.config, where, visit)
        call = await calls.read(request, visit.request_id, where, query, visit.body)
        asked = _asked(state, call)
        visit.model = call.reading.model or ""
        visit.attempts = self._attempts(state, call, asked, visit.client)
        visit.answer = answer = await visit.attempts.run()
        visit.status = answer.reply.status
        try:
            return await relay.send(request, answer, _ours(visit), visit.attempts.search.deadline)
        finally:
            visit.outcome = visit.attempts.finished(answer).kind
            self._naming.see(answer)

    def _attempts(self, state: State, call: Call, asked: Asked, client: str) -> Attempts:
        targets = _targets(state, asked)
        call.to(targets[0].model or "")  # what cannot be rewritten is refused before it takes a grant
        timeout_s = max(state.config.pools[target.pool].timeout_s for target in targets)
        deadline = monotonic() + timeout_s
        if call.max_wait_s is not None and call.max_wait_s > timeout_s:
            raise bad_request(f"x-sidecar-max-wait: at most the pool's timeout, {timeout_s:g} s.")
        search = Search(
            call.request_id,
            targets,
            deadline,
            call.max_wait_s,
            expects=lambda: amounts(None, call.estimate()),
            batch=call.batch,
        )
        return Attempts(call, state.pools, self._upstream, self._replica.emit, search, client)


def _split(target: str) -> tuple[str, str]:
    """Path and query of an origin-form target, raw. Raises Refused (400) for any other form."""
    if not target.startswith("/"):
        raise bad_request("Only a path is accepted as the request's target, not a whole URL.")
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def _check_path(path: str) -> None:
    try:
        check_path(path)
    except BadCall as bad:
        raise bad_request(str(bad)) from None


def _admit(request: web.BaseRequest, config: Config) -> None:
    """Raises Refused (403) for a Host or an Origin by which a web page could reach the keys."""
    host = request.headers.get("Host")
    if not host_allowed(host, config.hosts):
        raise Refused(403, "forbidden_host", f'Host "{(host or "")[:100]}" is not served: list it in `hosts`.')
    origin = request.headers.get("Origin")
    if not origin_allowed(origin, config.hosts):
        raise Refused(
            403, "forbidden_origin", f'Origin "{(origin or "")[:100]}" may not use this sidecar: list it in `hosts`.'
        )


def _check(request: web.BaseRequest, where: Place) -> None:
    if request.method in {"OPTIONS", "TRACE", "CONNECT"}:
        raise _not_allowed(request, "GET, HEAD, POST, PUT, PATCH, DELETE")
    wanted = request.headers.get("Upgrade", "h2c").lower()  # an offer of HTTP/2 may be passed over
    if wanted != "h2c" and "upgrade" in request.headers.get("Connection", "").lower():
        raise Refused(501, "not_implemented", "Upgraded connections (WebSocket) are not forwarded yet.")


def _not_allowed(request: web.BaseRequest, allowed: str) -> Refused:
    return Refused(405, "method_not_allowed", f"{request.method} is not served here.", {"Allow": allowed})


_ANYONE = Client("", Secret(""))


def _client_of(request: web.BaseRequest, config: Config, query: str) -> Client:
    """The calling client; with no `clients` configured anybody on this machine may call."""
    if not config.clients:
        return _ANYONE
    client = identify(config.clients, tokens(request.headers, query))
    if client is None:
        raise Refused(
            401, "invalid_api_key", "The virtual key is unknown: use the token of one of this sidecar's `clients`."
        )
    return client


def _knows_admin(request: web.BaseRequest, config: Config) -> bool:
    if config.admin_token is None:
        return False
    wanted = config.admin_token.reveal().encode()
    return any(hmac.compare_digest(token.encode(), wanted) for token in tokens(request.headers, ""))


def _asked(state: State, call: Call) -> Asked:
    """What the targets of a call are found by. Raises Refused (400) for a model's name that would tell a secret: it
    stands in Redis, in logs and metrics."""
    model = call.reading.model
    asked = call.place.pool, call.place.dialect.name, model
    if model and asked not in state.found and (state.tells_secret(model) or state.tells_secret(unquote(model))):
        raise bad_request(
            "The model's name holds a secret: `model`, or the URL where the model stands there, is no place for one. "
            "Name a model there, and present a credential in a header."
        )
    return asked


def _targets(state: State, asked: Asked) -> tuple[Target, ...]:
    targets = state.found.get(asked)
    if targets is None:
        if len(state.found) >= MOST_FOUND:
            state.found.clear()
        targets = state.found[asked] = _found(state.config, *asked)
    return targets


def _found(config: Config, pool: str | None, dialect: str, model: str | None) -> tuple[Target, ...]:
    return route.targets(config, dialect, model) if pool is None else route.in_pool(config, pool, model)


async def _list(request: web.BaseRequest, config: Config, where: Place, visit: Visit) -> web.StreamResponse:
    visit.status, visit.outcome = 200, "listed"
    body = where.dialect.write_models(route.named(config, where.dialect.name))
    return await _send(request, web.Response(body=body, content_type="application/json", headers=_ours(visit)))


def _ours(visit: Visit) -> CIMultiDict[str]:
    """The `x-sidecar-*` headers; pool, key, model and grant where a key answered."""
    attempts, answer = visit.attempts, visit.answer
    headers = CIMultiDict(
        {
            "x-sidecar-request-id": visit.request_id,
            "x-sidecar-attempts": str(attempts.count if attempts else 0),
            "x-sidecar-waited-ms": str(round(attempts.search.waited_s * 1000) if attempts else 0),
        }
    )
    if answer is not None:
        headers["x-sidecar-pool"] = answer.held.pool.name
        headers["x-sidecar-key"] = answer.held.key.id
        headers["x-sidecar-model"] = answer.model
        headers["x-sidecar-grant"] = str(answer.held.grant.number)
    return headers


async def _refuse(request: web.BaseRequest, visit: Visit, refused: Refused) -> web.StreamResponse:
    headers = _ours(visit)
    headers.update(refused.headers)
    body = visit.dialect.write_error(refused.status, refused.code, refused.message)
    response = web.Response(status=refused.status, body=body, content_type="application/json", headers=headers)
    if not request.content.is_eof():
        response.force_close()  # the rest of a body that nobody wants would be read as the next request
    return await _send(request, response)


async def _send(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    await response.prepare(request)
    await response.write_eof()
    return response


def _answered(visit: Visit) -> Answered:
    now = monotonic()
    attempts = visit.attempts
    held = attempts.held if attempts else None
    last = attempts.last if attempts else None
    began_upstream = attempts.began_upstream if attempts else None
    target = attempts.search.targets[held.target if held else 0] if attempts else None
    return Answered(
        request_id=visit.request_id,
        method=visit.method,
        path=visit.path,
        status=visit.status,
        outcome=visit.outcome,
        attempts=attempts.count if attempts else 0,
        pool=target.pool if target else "",
        key=held.key.id if held else "",
        model=(target.model or "") if target else visit.model,
        client=visit.client,
        total_s=now - visit.began,
        waited_s=attempts.search.waited_s if attempts else 0.0,
        acquire_s=attempts.search.acquire_s if attempts else 0.0,
        upstream_s=now - began_upstream if began_upstream else 0.0,
        first_byte_s=last.reply.first_byte_at - visit.began if last else None,
        fingerprint=held.key.fingerprint if held else "",
    )
