"""The data plane's server: a page, a forwarded call, or an error in the caller's dialect."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from sidecar.model.hosts import is_loopback
from sidecar.providers.catalogue import DIALECTS
from sidecar.providers.dialect import BadCall
from sidecar.proxy import admission, relay
from sidecar.proxy.bodies import Share, Storage
from sidecar.proxy.errors import Refused, bad_request, stopped
from sidecar.proxy.forward import Forward
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.visit import Visit
from sidecar.replica import Replica, State

log = logging.getLogger(__name__)

Page = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
KEEPALIVE_S = 75.0  # that an idle client keeps its connection
# Of the pages, those that anybody may see on a `listen` beyond loopback; the others want a token.
FREE_PAGES = ("/health",)


def server(replica: Replica, pages: Mapping[str, Page], upstream: Upstream) -> Server:
    """The data plane's server. `pages`: what GET answers besides forwarding."""
    return Server(DataPlane(replica, pages, upstream))


class _Connection(RequestHandler):
    """A client's connection, on which malformed HTTP is answered in a dialect too."""

    __slots__ = ()

    async def _drain_helper(self) -> None:
        """As it is, but that nothing is left of a wait that was cancelled: the next one would end at once by it."""
        try:
            await super()._drain_helper()
        except asyncio.CancelledError:
            self._drain_waiter = None
            raise

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


class Server(web.Server):
    """A client that goes away cancels its handler, and with it the attempt under way."""

    def __init__(self, plane: DataPlane) -> None:
        super().__init__(
            plane.handle,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_S,
        )
        self.stop = plane.stop

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class DataPlane:
    """Answers every request that reaches `listen`."""

    def __init__(self, replica: Replica, pages: Mapping[str, Page], upstream: Upstream) -> None:
        self._replica, self._pages = replica, pages
        self._forward = Forward(replica, upstream)
        self._bodies = Storage()
        self._under_way: dict[asyncio.Task[Any], Visit] = {}

    def stop(self) -> None:
        """Ends every request under way, which tells its client so: an event in a stream, 503 before an answer.

        One whose client has but to take its last bytes is let be.
        """
        for task, visit in self._under_way.items():
            if not visit.said:
                visit.stopped = True
                task.cancel()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """A page, a forwarded call, or an error in the caller's dialect."""
        state = self._replica.state
        body = Share(self._bodies, state.config.max_body)
        visit = Visit(secrets.token_hex(8), monotonic(), request.method, body)
        page = self._pages.get(request.raw_path.partition("?")[0])
        if page is not None:
            return await self._page(request, state, page, visit)
        task = asyncio.current_task()
        assert task is not None
        self._under_way[task] = visit
        self._replica.entered()
        try:
            return _framed(request, await self._forward_or_refuse(request, state, visit))
        except (asyncio.CancelledError, ConnectionResetError):
            visit.status, visit.outcome = 499, "cancelled"  # the client is gone
            raise asyncio.CancelledError from None  # which the server takes without a traceback
        finally:
            del self._under_way[task]
            if visit.attempts is not None:
                visit.attempts.close()
            body.release()
            self._replica.left()
            self._replica.emit(visit.answered())

    async def _forward_or_refuse(self, request: web.BaseRequest, state: State, visit: Visit) -> web.StreamResponse:
        try:
            return await self._forward(request, state, visit)
        except Refused as error:
            # Its tracebacks hold this frame: together, and with the request's body, they would wait for the collector.
            refused = error.with_traceback(None)
            refused.__context__ = None
        except BadCall as error:
            refused = bad_request(str(error))
        except asyncio.CancelledError:
            if not visit.stopped:
                raise
            refused = stopped(again=visit.attempts is None or not visit.attempts.may_have_acted)
        except ConnectionResetError:
            raise
        except Exception:
            log.exception("request %s failed", visit.request_id)
            refused = Refused(500, "internal_error", "The sidecar failed; its log says why.")
        visit.status, visit.outcome = refused.status, refused.code
        return await _refuse(request, visit, refused)

    async def _page(self, request: web.BaseRequest, state: State, page: Page, visit: Visit) -> web.StreamResponse:
        config = state.config
        try:
            admission.admit(request, config)
            if request.method not in {"GET", "HEAD"}:
                raise admission.not_allowed(request, "GET, HEAD")
            free = request.raw_path.startswith(FREE_PAGES) or is_loopback(config.listen.host)
            if not free and not admission.knows_admin(request, config):
                admission.client_of(request, state, "")
            return await page(request)
        except Refused as refused:
            return await _refuse(request, visit, refused)


def _framed(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """The same. Where no length was told, a client of HTTP/1.0 sees its end by that of the connection, which aiohttp
    would keep for one that asked for it."""
    if request.version < HttpVersion11 and response.content_length is None:
        response.force_close()
    return response


async def _refuse(request: web.BaseRequest, visit: Visit, refused: Refused) -> web.StreamResponse:
    if visit.begun is not None:
        return await relay.end(request, visit, visit.begun, refused)
    headers = visit.headers()
    headers.update(refused.headers)
    body = visit.dialect.write_error(refused.status, refused.code, refused.message)
    response = web.Response(status=refused.status, body=body, content_type="application/json", headers=headers)
    if not request.content.is_eof():
        response.force_close()  # the rest of a body that nobody wants would be read as the next request
    return await relay.send_whole(request, visit, response)
