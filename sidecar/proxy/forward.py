"""The way of one request, from its first line to its last byte: read, routed, attempted, relayed."""

from __future__ import annotations

import random
from functools import partial
from time import monotonic
from urllib.parse import unquote

from aiohttp import web

from sidecar.model.amounts import amounts
from sidecar.model.configured import Client, Config, Route
from sidecar.model.rotations import of_client
from sidecar.model.words import NOBODY
from sidecar.pool.search import Search
from sidecar.proxy import admission, keepalive, relay, sameness
from sidecar.proxy import call as calls
from sidecar.proxy import route as routes
from sidecar.proxy.attempt import Answer, Attempts
from sidecar.proxy.belonging import Belonging, Belongs, uploader
from sidecar.proxy.cache import Caching, Copy
from sidecar.proxy.call import Call, Place
from sidecar.proxy.clients import check_models
from sidecar.proxy.errors import STOPPED, Refused, bad_request, store_away
from sidecar.proxy.naming import Naming
from sidecar.proxy.passing import Delivery
from sidecar.proxy.shares import Shares
from sidecar.proxy.upstream import Upstream
from sidecar.proxy.visit import Visit
from sidecar.replica import Asked, Replica, State
from sidecar.store.connect import StoreAway, StoreUnable

MOST_FOUND = 4096  # models whose targets are remembered; clients name any


class Forward:
    """Forwards the requests of one replica."""

    def __init__(self, replica: Replica, upstream: Upstream) -> None:
        self._replica, self._upstream = replica, upstream
        self._naming, self._caching = Naming(replica.emit), Caching(replica.cache)
        self._shares = Shares(random.Random())  # noqa: S311 - no secrets
        self._belonging = Belonging()

    async def __call__(self, request: web.BaseRequest, state: State, visit: Visit) -> web.StreamResponse:
        """Answers it, or raises Refused, or BadCall for what cannot be read."""
        path, query = admission.split(request.raw_path)
        visit.path = path
        where = calls.place(state.config, request.method, path, request.headers, query)
        if isinstance(where, Place):
            visit.operation = where.operation
            visit.dialect = where.judge  # before anything is refused, so that the client can read why
        admission.check_path(path)
        admission.admit(request, state.config)
        if isinstance(where, Refused):
            raise where
        client = await self._client(request, state, query)
        visit.client = client.id
        admission.check_method(request)
        if where.lists:
            return await _list(request, state.config, where, visit, client)
        call = await calls.read(request, state.config, visit.request_id, where, query, visit.body)
        asked = _asked(state, call)
        visit.model = call.reading.model or ""
        if client.models:
            check_models(client, call.names(), where.pool)
        visit.attempts = self._attempts(state, call, asked, client)
        use = sameness.use(state.config, call, visit.attempts.search.route, visit.client)
        if use is None:
            return await self._answer(request, visit)
        return await self._caching.serve(request, visit, use, partial(self._answer, request, visit))

    async def _answer(self, request: web.BaseRequest, visit: Visit, copy: Copy | None = None) -> web.StreamResponse:
        """A provider's answer; `copy` hears what of it the client gets."""
        assert visit.attempts is not None
        attempts = visit.attempts
        belongs = await self._belongs(attempts)
        search = attempts.search
        search.targets = self._shares.order(search.route, search.targets)  # here: what the cache answers takes no turn
        run = _run(attempts, belongs)
        visit.answer = answer = await keepalive.signing(request, visit, run, lambda lost: lost.reply.incoming.close())
        visit.status = answer.reply.status
        tee = copy and copy.of(answer)
        try:
            await belongs.keep(answer, attempts)
            called = visit.model if attempts.search.route.mask_model else ""
            to = Delivery(request, visit, attempts.call, attempts.search.deadline, called, tee)
            return await relay.send(to, answer, visit.headers())
        finally:
            came_to = attempts.finished(answer).kind
            visit.outcome = STOPPED if visit.stopped else came_to  # of a part of an answer nothing is kept
            self._naming.see(answer)

    async def _client(self, request: web.BaseRequest, state: State, query: str) -> Client:
        """The calling client. Raises Refused (401)."""
        try:
            return admission.client_of(request, state, query)
        except Refused:
            if client := await uploader(request, state.config, self._replica.store.made):
                return client
            raise

    async def _belongs(self, attempts: Attempts) -> Belongs:
        """What the call names, and may be sent to for it. Raises Refused."""
        try:
            return await self._belonging.of(attempts.call, attempts.pools, attempts.search, attempts.client)
        except (StoreAway, StoreUnable) as error:
            raise store_away(str(error)) from None

    def _attempts(self, state: State, call: Call, asked: Asked, client: Client) -> Attempts:
        route = _route(state, asked)
        targets = route.targets
        call.to(targets[0])  # what cannot be rewritten is refused before it takes a grant
        timeout_s = max(state.config.pools[target.pool].timeout_s for target in targets)
        deadline = monotonic() + timeout_s
        if call.max_wait_s is not None and call.max_wait_s > timeout_s:
            raise bad_request(f"x-sidecar-max-wait: at most the pool's timeout, {timeout_s:g} s.")
        search = Search(
            call.request_id,
            targets,
            deadline,
            call.max_wait_s,
            expects=lambda: amounts(None, call.estimate(targets)),
            route=route,
            batch=call.batch or client.batch,
            client=of_client(client, call.reading.model) if client.limits else NOBODY,
        )
        return Attempts(call, state.pools, self._upstream, self._replica.emit, search, client.id)


async def _run(attempts: Attempts, belongs: Belongs) -> Answer:
    """The answer for the client. Raises Refused."""
    try:
        return await attempts.run()
    except Refused as refused:
        raise belongs.told(refused) from None


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


def _route(state: State, asked: Asked) -> Route:
    route = state.found.get(asked)
    if route is None:
        if len(state.found) >= MOST_FOUND:
            state.found.clear()
        route = state.found[asked] = _found(state.config, *asked)
    return route


def _found(config: Config, pool: str | None, dialect: str, model: str | None) -> Route:
    return routes.find(config, dialect, model) if pool is None else routes.in_pool(config, pool, model)


async def _list(
    request: web.BaseRequest, config: Config, where: Place, visit: Visit, client: Client
) -> web.StreamResponse:
    visit.status, visit.outcome = 200, "listed"
    body = where.dialect.write_models(routes.named(config, where.dialect.name, client))
    response = web.Response(body=body, content_type="application/json", headers=visit.headers())
    return await relay.send_whole(request, visit, response)
