"""One running sidecar: what it was told, what it holds, and whether it can serve."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

import sidecar
from sidecar.config.changes import changes, same
from sidecar.config.problems import ConfigError
from sidecar.config.secrets import telling
from sidecar.config.watch import LOOK_S, Source
from sidecar.model.configured import Client, Config, Route, Secret, Token
from sidecar.model.events import ELSEWHERE, Emit, Event, KeyManaged, Reloaded, StoreAtRisk
from sidecar.pool.lasting import Lasting
from sidecar.pool.pool import Pools
from sidecar.pool.running import EVERY_S
from sidecar.pool.usage import Counting
from sidecar.store.cache import Cache
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

BEAT_S = EVERY_S  # between two signs of life, of the replica and of its requests in flight
SILENCE_US = 20_000_000  # after which the others count a replica as gone

log = logging.getLogger(__name__)

# Told of a config before anything uses it, with those that requests under way still use.
Follow = Callable[[Config, Sequence[Config]], None]

# What targets are found by: the pool where a path names it, else None; dialect; model, or None for a call without one.
Asked = tuple[str | None, str, str | None]


@dataclass(frozen=True, slots=True)
class State:
    """What a request keeps from its beginning to its end."""

    config: Config
    pools: Pools
    tells_secret: Callable[[str], bool]  # whether a name is, or holds, a secret of the config
    # As far as they were looked for, and for secrets in the name: both takes longer the more pools there are.
    found: dict[Asked, Route] = field(default_factory=dict)
    clients: Mapping[str, tuple[Client, Token]] = field(default_factory=dict)  # by the digest of what is presented

    @classmethod
    def of(cls, pools: Pools) -> State:
        config = pools.config
        clients = {token.digest: (client, token) for client in config.clients for token in client.tokens}
        return cls(config, pools, telling(_secrets(config)), clients=clients)


def _secrets(config: Config) -> Iterator[Secret]:
    for pool in config.pools.values():
        yield from (key.secret for key in pool.keys)
    for client in config.clients:
        yield from client.secrets
    if config.admin_token is not None:
        yield config.admin_token


class Replica:
    """Config, pools and store of one process, and how it is."""

    def __init__(
        self,
        config: Config,
        store: Store,
        emit: Emit,
        source: Source | None = None,
        follow: Follow = lambda *_: None,
    ) -> None:
        """`source`: where the config came from; None: it is that of this process alone and never changes."""
        self.id = secrets.token_hex(6)
        self.store, self._emit = store, emit
        self.cache = Cache.at(config.cache_redis, config.redis, store.open_connection, store.names, emit)
        self.at_risk = ""  # why Redis may evict budgets
        self._lasting = Lasting(store)
        self.state = State.of(Pools(config, store, emit, self._lasting))
        self.reloaded = Reloaded("start")  # what came of the latest reading of the config
        self._source, self._follow = source, follow
        self._reloading = asyncio.Lock()
        self._former: WeakSet[Pools] = WeakSet()  # of configs that requests under way still use
        self.counting = Counting(config, store, self.id)
        self.inflight = 0
        self.alive = 0  # replicas that share the store, this one included; 0: not known
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reaches the store, or leaves it to be reached; then tells it now and then that this replica lives."""
        await self._show_life()
        self._tasks.append(asyncio.create_task(self._beat()))
        if self._source is not None:
            self._tasks.append(asyncio.create_task(self._watch(self._source)))
        self.counting.start()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self._lasting.running.renew()
            await self._show_life()

    async def _show_life(self) -> None:
        with suppress(StoreAway, StoreUnable):
            self.alive = await self.store.beat(self.id, SILENCE_US)
            await self._notice()
            await self._look_at_memory()

    async def _notice(self) -> None:
        """Tells what operators did through another replica or in Redis; what they do here is told there."""
        keys = [(pool.name, key) for pool in self.state.config.pools.values() for key in pool.keys]
        changed = await self.store.others_disabled({key.fingerprint for _, key in keys})
        for pool, key in keys:
            if key.fingerprint in changed:
                told = changed[key.fingerprint]
                change: Literal["disabled", "enabled"] = "disabled" if told else "enabled"
                self.emit(KeyManaged(pool, key.id, change, told.by if told else ELSEWHERE, elsewhere=True))

    async def _look_at_memory(self) -> None:
        memory = await self.store.memory()
        self.store.made.heed(memory)
        before, self.at_risk = self.at_risk, memory.risk
        if bool(before) != bool(self.at_risk):
            self.emit(StoreAtRisk(self.at_risk))

    async def close(self) -> None:
        """Sends what is queued, signs off and ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.counting.close()
        if self.alive:  # else the others do not know of it
            with suppress(StoreAway, StoreUnable):
                await self.store.beat(self.id, SILENCE_US, leaves=True)
        await self.cache.close()
        await self.store.close()

    def emit(self, event: Event) -> None:
        """What has happened to a request: counted, then told to the listeners."""
        self.counting(event)
        self._emit(event)

    # --- another config -----------------------------------------------------------------------------

    @property
    def place(self) -> Path | None:
        """Where the config was read from: a file, or a folder whose environment was read alone."""
        return None if self._source is None else self._source.place

    async def _watch(self, source: Source) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if await asyncio.to_thread(source.changed):
                await self.reload("file")

    async def reload(self, cause: str, by: str = "") -> Reloaded:
        """Reads the config anew and swaps it in whole; one that cannot be used changes nothing.

        A request goes on with the State that it began with. What Redis keeps is named after accounts, fingerprints and
        limits, so of what stays nothing is lost, and what an account has spent moves with its keys to another name; a
        rotation with other members or limits is another one.
        """
        async with self._reloading:
            before, told = self.reloaded, replace(await self._reread(cause), by=by)
            self.reloaded = told
        # Files that are touched, or swapped for the same, are no event; a reading that was asked for, or mends, is one.
        news = told.problems or told.changes or told.warnings or told.needs_restart != before.needs_restart
        if cause != "file" or news or before.problems:
            self.emit(told)
        return told

    async def _reread(self, cause: str) -> Reloaded:
        if self._source is None:
            return Reloaded(cause, problems=("this config was not read from files: there is nothing to read again.",))
        running = self.state.config
        try:
            config, fixed = await asyncio.to_thread(self._source.reload, running)
        except ConfigError as error:
            return Reloaded(cause, problems=error.problems, warnings=error.warnings)
        except Exception:
            log.exception("the config cannot be read")
            return Reloaded(cause, problems=("it cannot be read; the log says why.",))
        if same(running, config):
            return Reloaded(cause, needs_restart=fixed)
        self._swap(config)
        warnings = tuple(warning for warning in config.warnings if warning not in running.warnings)
        return Reloaded(cause, changes(running, config), fixed, warnings)

    def _swap(self, config: Config) -> None:
        self._former.add(self.state.pools)
        self.counting.follow(config)
        self._follow(config, [pools.config for pools in self._former])
        self.state = State.of(Pools(config, self.store, self.emit, self._lasting))
        self.store.adopt()

    # --- requests under way -------------------------------------------------------------------------

    def entered(self) -> None:
        self.inflight += 1
        self.idle.clear()

    def left(self) -> None:
        self.inflight -= 1
        if not self.inflight:
            self.idle.set()

    # --- health -------------------------------------------------------------------------------------

    async def unready(self) -> str:
        """Why it cannot serve, or "" if it can."""
        if self.draining:
            return "shutting down"
        if not self.store.up.is_set():
            return f"the store is away: {self.store.reason or 'not reached yet'}"
        try:
            pools = self.state.pools
            usable = [await pools.sight.usable(name) for name in pools.config.pools]
        except (StoreAway, StoreUnable) as error:
            return f"the store is away: {error}"
        return "" if any(usable) else "no pool has a usable key"

    async def health(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can serve, and what `/health` says."""
        reason = await self.unready()
        config = self.state.config
        body: dict[str, Any] = {
            "status": "unhealthy" if reason else "healthy",
            "version": sidecar.__version__,
            "replica": self.id,
            "replicas": self.alive,
            "store": "up" if self.store.up.is_set() else "away",
            "pools": {
                pool.name: {"provider": pool.provider.name, "keys": len(pool.keys)} for pool in config.pools.values()
            },
            "config": self._config_health(),
        }
        if warning := " ".join(filter(None, (self.store.home.warning, self.at_risk))):
            body["warning"] = warning
        return (False, body | {"reason": reason}) if reason else (True, body)

    def _config_health(self) -> dict[str, Any]:
        """A config that was rejected is no reason to serve nobody: what ran before runs on."""
        told = self.reloaded
        body: dict[str, Any] = {"status": "rejected" if told.problems else "ok"}
        if told.problems:
            body["error"] = "\n".join(told.problems)
        if told.needs_restart:
            body["needs_restart"] = list(told.needs_restart)
        return body
