"""The admin plane: `/admin/v1/...`, what it answers and what it does, in the words of the command line."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from sidecar.model.configured import Config
from sidecar.model.hosts import is_loopback
from sidecar.ops import clients, keys, shown, status, usage
from sidecar.ops.health import answer
from sidecar.ops.keys import Deed
from sidecar.ops.stream import Stream
from sidecar.replica import Replica


class Wrong(Exception):
    """A request that ends with an error, which says what to do. `more`: what the error has beside code and message."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"code": code, "message": message, **more}}


def check_token(request: web.BaseRequest, config: Config) -> None:
    """Raises Wrong unless the caller may do anything: who is on this machine, or where a token is set who has it.

    A token is wanted on the loopback too: the containers of a pod share one, and only the operator's is trusted.
    """
    if config.admin_token is None:
        if is_loopback(config.ops_listen.host):
            return
        told = f"{config.ops_listen} is open to other machines: set `admin_token` or SIDECAR_ADMIN_TOKEN to use this."
        raise Wrong(403, "no_admin_token", told)
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    wanted = config.admin_token.reveal().encode()
    given = token.strip().encode(errors="replace")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
        told = "Send the `admin_token` as Authorization: Bearer TOKEN."
        raise Wrong(401, "invalid_admin_token", told, {"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True, slots=True)
class Admin:
    """What can be asked of a replica, and done through it."""

    replica: Replica
    stream: Stream

    async def pools(self, _: web.BaseRequest) -> web.StreamResponse:
        """As `sidecar status --json`."""
        await self.replica.counting.flush()
        return answer(200, await status.read(self.replica.state.config, self.replica.store))

    async def keys(self, _: web.BaseRequest) -> web.StreamResponse:
        """As `sidecar keys list --json`."""
        return answer(200, {"keys": await status.keys(self.replica.state.config, self.replica.store)})

    async def clients(self, _: web.BaseRequest) -> web.StreamResponse:
        """As `sidecar clients list --json`."""
        return answer(200, await clients.read(self.replica.state.config, self.replica.store))

    async def usage(self, request: web.BaseRequest) -> web.StreamResponse:
        """As `sidecar usage --json`, or `--csv`."""
        try:
            return await usage.page(self.replica, request)
        except usage.BadQuestion as bad:
            raise Wrong(400, "invalid_request", str(bad)) from None

    async def config(self, _: web.BaseRequest) -> web.StreamResponse:
        place = self.replica.place
        return answer(200, shown.config(self.replica.state.config) | {"place": place and str(place)})

    async def events(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self.stream.serve(request)

    async def reload(self, request: web.BaseRequest) -> web.StreamResponse:
        told = await self.replica.reload("admin", self._by(request))
        if told.problems:
            first = "The config is rejected, and what ran before runs on. Mend what `problems` names."
            raise Wrong(422, "config_rejected", first, problems=told.problems)
        body = {"status": "reloaded" if told.changes else "unchanged", "changes": told.changes}
        return answer(200, body | {"needs_restart": told.needs_restart, "warnings": told.warnings})

    async def do(self, deed: Deed, request: web.BaseRequest, name: str) -> web.StreamResponse:
        """`name`: `id`, or `pool/id`."""
        budgets = _flag(request, "budgets") if deed == "reset" else False
        config, store = self.replica.state.config, self.replica.store
        try:
            done, changed = await keys.do(deed, config, store, name, self._by(request), budgets)
        except keys.NoSuchKey as error:
            raise Wrong(404, "no_such_key", str(error)) from None
        except keys.Ambiguous as error:
            raise Wrong(409, "ambiguous_key", str(error), choices=error.choices) from None
        for event in keys.in_all_pools(config, done) if changed else ():
            self.replica.emit(event)
        return answer(200, keys.told(done, changed))

    def _by(self, request: web.BaseRequest) -> str:
        who = request.headers.get(keys.BY, "admin api")
        return keys.signed(self.replica.state.config, who, request.remote or "")


def _flag(request: web.BaseRequest, name: str) -> bool:
    text = request.query.get(name, "false").lower()
    if text not in {"true", "false", "1", "0", ""}:
        raise Wrong(400, "invalid_request", f"{name} is true or false.")
    return text not in {"false", "0"}
