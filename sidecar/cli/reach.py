"""What commands ask of the running sidecar over its admin plane, or do in Redis where none answers."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn, Protocol, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from sidecar.cli import given
from sidecar.model.configured import Address, Config
from sidecar.ops import keys, shown, status, usage
from sidecar.ops.keys import Deed
from sidecar.ops.redact import redactor
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

ANSWER_S = 10.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - bound by a sidecar, reached here

Told = dict[str, Any]  # was JSON, or becomes it
T = TypeVar("T")


class Place(Protocol):
    """What knows the keys and changes them; `how` says in words which one it is."""

    how: str

    async def pools(self) -> Told: ...

    async def usage(self, days: int, by: str) -> Told: ...

    async def keys(self) -> Told: ...

    async def do(self, deed: Deed, key: str, budgets: bool) -> Told: ...

    async def reload(self) -> Told: ...


def ask(config: Config, what: Callable[[Place], Awaitable[T]]) -> tuple[T, str]:
    """What came of it, and where. Ends the command with one message where it cannot be done."""

    async def asked() -> tuple[T, str]:
        async with _reached(config) as place:
            return await what(place), place.how

    try:
        return asyncio.run(asked())
    except (keys.NoSuchKey, keys.Ambiguous) as error:
        given.fail(str(error))
    except (StoreAway, StoreUnable) as error:
        given.fail(f"The store cannot be used: {redactor(config)(str(error)).rstrip('.')}. Start it, or set `redis`.")
    except (aiohttp.ClientError, TimeoutError) as error:
        given.fail(f"The sidecar at {config.ops_listen} did not answer ({type(error).__name__}). Try again.")


@asynccontextmanager
async def _reached(config: Config) -> AsyncIterator[Place]:
    """The sidecar that runs with this config, else its store."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http:
        running = _Running(config, http)
        why_not = await running.why_not()
        if not why_not:
            yield running
            return
    store = given.store(config)
    if store.home.private:
        given.fail(f"{why_not}, and no other process can read a replica's own memory: {store.home.warning}")
    try:
        yield _Direct(config, store, why_not)
    finally:
        await store.close()


class _Running:
    """A sidecar's admin plane. An error that it answers with ends the command."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        plane = config.ops_listen
        self._at = str(Address(_EVERYWHERE.get(plane.host, plane.host), plane.port))
        self.how = f"by the sidecar at {self._at}"

    async def why_not(self) -> str:
        """Why it cannot be asked, or "". One with another store or namespace has other keys, if by the same ids."""
        try:
            code, told = await self._send("GET", "/config")
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return f"no sidecar answers at {self._at}"
        if _error(told).get("code") == "no_admin_token":
            return (
                f"the sidecar at {self._at} is open to other machines and has no token for this: "
                "set `admin_token`, or SIDECAR_ADMIN_TOKEN for it and for this command"
            )
        if code in {401, 403, 503} and _error(told):
            _fail(self._at, told)
        same = (told.get("namespace"), told.get("redis")) == (self._config.namespace, shown.redis(self._config.redis))
        return "" if same else f"what answers at {self._at} has another store or namespace"

    async def pools(self) -> Told:
        return await self._done("GET", "/pools")

    async def usage(self, days: int, by: str) -> Told:
        return await self._done("GET", f"/usage?{urlencode({'days': days, 'by': by})}")

    async def keys(self) -> Told:
        return await self._done("GET", "/keys")

    async def do(self, deed: Deed, key: str, budgets: bool) -> Told:
        return await self._done("POST", f"/keys/{quote(key, safe='')}/{deed}{'?budgets=true' if budgets else ''}")

    async def reload(self) -> Told:
        return await self._done("POST", "/reload")

    async def _done(self, method: str, path: str) -> Told:
        code, told = await self._send(method, path)
        if code >= 400:
            _fail(self._at, told)
        return told

    async def _send(self, method: str, path: str) -> tuple[int, Told]:
        token = self._config.admin_token
        headers = {keys.BY: keys.named(self._config, _user())}
        if token:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        url = URL(f"http://{self._at}/admin/v1{path}", encoded=True)
        async with self._http.request(method, url, headers=headers, allow_redirects=False) as answer:
            told = await answer.json()
            if not isinstance(told, dict):
                raise ValueError("no sidecar answers so")  # noqa: TRY004 - what was received is wrong, not our types
            return answer.status, told


class _Direct:
    """The store that the replicas share."""

    def __init__(self, config: Config, store: Store, why: str) -> None:
        self._config, self._store, self._why = config, store, why
        self.how = f"in Redis: {why}"

    async def pools(self) -> Told:
        return await status.read(self._config, self._store)

    async def usage(self, days: int, by: str) -> Told:
        return await usage.usage(self._store, days, by)

    async def keys(self) -> Told:
        return {"keys": await status.keys(self._config, self._store)}

    async def do(self, deed: Deed, key: str, budgets: bool) -> Told:
        by = keys.signed(self._config, _user(), socket.gethostname())
        done, changed = await keys.do(deed, self._config, self._store, key, by, budgets)
        return keys.told(done, changed)

    async def reload(self) -> Told:
        given.fail(f"Not reloaded: {self._why}.")


def _fail(place: str, told: Told) -> NoReturn:
    """Ends the command with the error of the sidecar there."""
    error = _error(told)
    given.fail("\n".join((f"The sidecar at {place}: {error.get('message', told)}", *error.get("problems", ()))))


def _error(told: Told) -> Told:
    """The error of a sidecar; what else answers there may call anything so."""
    error = told.get("error")
    return error if isinstance(error, dict) else {}


def _user() -> str:
    """Who calls, as far as the system tells."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return ""
