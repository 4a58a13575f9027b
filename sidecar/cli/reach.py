"""What commands ask of the running sidecar over its admin plane, or do in Redis where none answers."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import click
import msgspec
from yarl import URL

from sidecar.cli import given
from sidecar.model.configured import Address, Config
from sidecar.ops import clients, keys, shown, status, usage
from sidecar.ops.keys import Deed
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

ANSWER_S = 10.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - bound by a sidecar, reached here

Told = dict[str, Any]  # was JSON, or becomes it
T = TypeVar("T")


class Place(Protocol):
    """What knows the keys and what they have spent."""

    async def pools(self) -> Told: ...

    async def usage(self, days: int, by: str) -> Told: ...

    async def keys(self) -> Told: ...

    async def clients(self) -> Told: ...


def ask(config_file: Path | None, what: Callable[[Place], Awaitable[T]]) -> T:
    """What came of a question. Where another config's sidecar has the address the store is asked, and that is said."""
    ours = _Ours.of(config_file)

    async def asked() -> T:
        async with _met(ours) as running:
            doubt = None if running.why_not else running.stranger()
            if not running.why_not and not doubt:
                return await what(running)
            async with _direct(ours.config, doubt.why if doubt else running.why_not) as store:
                if doubt:
                    click.echo(f"Read from this config's own store: {doubt}", err=True)
                return await what(store)

    return _ended(ours.config, asked())


def look(config_file: Path | None, what: Callable[[Place], Awaitable[T]]) -> T | None:
    """What came of a question that need not be answered: None where neither this config's sidecar nor Redis does."""
    ours = _Ours.of(config_file)

    async def looked() -> T | None:
        async with _met(ours) as running:
            if not running.why_not and not running.stranger():
                return await what(running)
        store = given.store(ours.config)
        try:
            return None if store.home.private else await what(_Direct(ours.config, store))
        finally:
            await store.close()

    try:
        return asyncio.run(looked())
    except (StoreAway, StoreUnable, aiohttp.ClientError, TimeoutError):
        return None


def do(config_file: Path | None, deed: Deed, name: str, budgets: bool) -> tuple[Told, str]:
    """What was done to a key, and where. Ends the command where a sidecar answers that has not this very key: neither
    is anything done to another's, nor in a store that is not that sidecar's."""
    ours = _Ours.of(config_file)

    async def done() -> tuple[Told, str]:
        pool, key = keys.find(ours.config, name)
        async with _met(ours) as running:
            if running.why_not:
                async with _direct(ours.config, running.why_not) as store:
                    return await store.do(deed, name, budgets), f"in Redis: {running.why_not}"
            if doubt := running.stranger() or running.lacks(f"{pool.name}/{key.id}", key.fingerprint):
                given.fail(f"Nothing was changed: {doubt}")
            return await running.do(deed, f"{pool.name}/{key.id}", budgets), f"by the sidecar at {running.at}"

    return _ended(ours.config, done())


def reload(config_file: Path | None) -> tuple[Told, str]:
    """What the sidecar of this config made of it, and where that one is."""
    ours = _Ours.of(config_file)

    async def reloaded() -> tuple[Told, str]:
        async with _met(ours) as running:
            if running.why_not:
                given.fail(f"Not reloaded: {running.why_not}.")
            if doubt := running.stranger():
                given.fail(f"Not reloaded: {doubt}")
            return await running.reload(), f"by the sidecar at {running.at}"

    return _ended(ours.config, reloaded())


def _ended(config: Config, answer: Coroutine[Any, Any, T]) -> T:
    """What comes of it. Ends the command with one message where it cannot be done."""
    try:
        return asyncio.run(answer)
    except (keys.NoSuchKey, keys.Ambiguous) as error:
        given.fail(str(error))
    except (StoreAway, StoreUnable) as error:
        given.fail(f"The store {given.store_fault(config, str(error))}")
    except (aiohttp.ClientError, TimeoutError) as error:
        given.fail(f"The sidecar at {config.ops_listen} did not answer ({type(error).__name__}). Try again.")


@asynccontextmanager
async def _met(ours: _Ours) -> AsyncIterator[_Running]:
    """Whatever answers where this config's sidecar would."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as http:
        running = _Running(ours, http)
        await running.meet()
        yield running


@asynccontextmanager
async def _direct(config: Config, why: str) -> AsyncIterator[_Direct]:
    """The config's store. Ends the command where that is some process's own memory."""
    store = given.store(config)
    if store.home.private:
        given.fail(f"{why}, and no other process can read a replica's own memory: {store.home.warning}")
    try:
        yield _Direct(config, store)
    finally:
        await store.close()


@dataclass(frozen=True, slots=True)
class _Ours:
    """The config of this call, and where it is from, as a sidecar says it of its own."""

    config: Config
    place: str

    @classmethod
    def of(cls, config_file: Path | None) -> _Ours:
        source, config = given.source(config_file, {})
        return cls(config, str(source.place))


class _Doubt(NamedTuple):
    """Why a sidecar is not meant, and what to do."""

    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.why}. {self.remedy}"


class _Theirs(msgspec.Struct):
    """What a sidecar's `/config` says that tells whose it is."""

    namespace: str
    redis: str
    pools: dict[str, _Pool]
    place: str | None = None

    def fingerprints(self) -> dict[str, str]:
        """Each key's, by `pool/id`."""
        return {f"{name}/{key.id}": key.fingerprint for name, pool in self.pools.items() for key in pool.keys}


class _Pool(msgspec.Struct):
    keys: list[_Key]


class _Key(msgspec.Struct):
    id: str
    fingerprint: str


class _Running:
    """What answers at this config's `ops_listen`. An error that a sidecar answers with ends the command.

    `why_not`: why it cannot be asked for anything, or "".
    """

    def __init__(self, ours: _Ours, http: aiohttp.ClientSession) -> None:
        self._ours, self._config, self._http = ours, ours.config, http
        plane = ours.config.ops_listen
        self.at = str(Address(_EVERYWHERE.get(plane.host, plane.host), plane.port))
        self.why_not = f"no sidecar answers at {self.at}"

    async def meet(self) -> None:
        """Finds out who answers."""
        try:
            code, told = await self._send("GET", "/config")
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return
        if _error(told).get("code") == "no_admin_token":
            self.why_not = (
                f"the sidecar at {self.at} is open to other machines and has no token for this: "
                "set `admin_token`, or SIDECAR_ADMIN_TOKEN for it and for this command"
            )
        elif code in {401, 403, 503} and _error(told):
            _fail(self.at, told)
        else:
            with suppress(msgspec.ValidationError):  # else it is another program
                self._theirs = msgspec.convert(told, _Theirs)
                self.why_not = ""

    def stranger(self) -> _Doubt | None:
        """Why it is not this config's. By the same ids it may have other keys; where a key of both has one fingerprint,
        the same file may be called otherwise, as in a container."""
        config, theirs = self._config, self._theirs
        where = f"Run this where that sidecar's config is{f' ({theirs.place})' if theirs.place else ''}"
        own = "or set `ops_listen` to where this config's own sidecar listens."
        if (theirs.namespace, theirs.redis) != (config.namespace, shown.redis(config.redis)):
            other = f"{theirs.redis}, namespace {theirs.namespace}"
            return _Doubt(
                f"the sidecar at {self.at} has another store or namespace ({other}) than this config",
                f"{where}, with its store as SIDECAR_REDIS and SIDECAR_NAMESPACE, {own}",
            )
        ours = {key.fingerprint for pool in config.pools.values() for key in pool.keys}
        if theirs.place != self._ours.place and ours.isdisjoint(theirs.fingerprints().values()):
            return _Doubt(f"the sidecar at {self.at} has none of this config's keys", f"{where}, {own}")
        return None

    def lacks(self, name: str, fingerprint: str) -> _Doubt | None:
        """Why a key of this config, called `pool/id`, is not the one that it calls so."""
        if self._theirs.fingerprints().get(name) == fingerprint:
            return None
        return _Doubt(
            f"the sidecar at {self.at} has not the key that this config calls {name}",
            "`sidecar reload` says whether it can use this config.",
        )

    async def pools(self) -> Told:
        return await self._done("GET", "/pools")

    async def usage(self, days: int, by: str) -> Told:
        return await self._done("GET", f"/usage?{urlencode({'days': days, 'by': by})}")

    async def keys(self) -> Told:
        return await self._done("GET", "/keys")

    async def clients(self) -> Told:
        return await self._done("GET", "/clients")

    async def do(self, deed: Deed, key: str, budgets: bool) -> Told:
        return await self._done("POST", f"/keys/{quote(key, safe='')}/{deed}{'?budgets=true' if budgets else ''}")

    async def reload(self) -> Told:
        return await self._done("POST", "/reload")

    async def _done(self, method: str, path: str) -> Told:
        code, told = await self._send(method, path)
        if code >= 400:
            _fail(self.at, told)
        return told

    async def _send(self, method: str, path: str) -> tuple[int, Told]:
        token = self._config.admin_token
        headers = {keys.BY: keys.named(self._config, _user())}
        if token:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        url = URL(f"http://{self.at}/admin/v1{path}", encoded=True)
        async with self._http.request(method, url, headers=headers, allow_redirects=False) as answer:
            told = await answer.json()
            if not isinstance(told, dict):
                raise ValueError("no sidecar answers so")  # noqa: TRY004 - what was received is wrong, not our types
            return answer.status, told


class _Direct:
    """The store that the replicas share."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store

    async def pools(self) -> Told:
        return await status.read(self._config, self._store)

    async def usage(self, days: int, by: str) -> Told:
        return await usage.usage(self._config, self._store, days, by)

    async def keys(self) -> Told:
        return {"keys": await status.keys(self._config, self._store)}

    async def clients(self) -> Told:
        return await clients.read(self._config, self._store)

    async def do(self, deed: Deed, key: str, budgets: bool) -> Told:
        by = keys.signed(self._config, _user(), socket.gethostname())
        done, changed = await keys.do(deed, self._config, self._store, key, by, budgets)
        return keys.told(done, changed)


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
