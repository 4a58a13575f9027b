"""One running sidecar: what it was told, what it holds, and whether it can serve."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import sidecar
from sidecar.model.configured import Config
from sidecar.model.events import Emit
from sidecar.pool.pool import Pools
from sidecar.pool.running import EVERY_S, Running
from sidecar.store.commands import Store
from sidecar.store.connect import StoreAway, StoreUnable

BEAT_S = EVERY_S  # between two signs of life, of the replica and of its requests in flight
SILENCE_US = 20_000_000  # after which the others count a replica as gone


@dataclass(frozen=True, slots=True)
class State:
    """What a request keeps from its beginning to its end."""

    config: Config
    pools: Pools


class Replica:
    """Config, pools and store of one process, and how it is."""

    def __init__(self, config: Config, store: Store, emit: Emit) -> None:
        self.id = secrets.token_hex(6)
        self.store, self.emit = store, emit
        self.running = Running(store)
        self.state = State(config, Pools(config, store, emit, self.running))
        self.inflight = 0
        self.alive = 0  # replicas that share the store, this one included; 0: not known
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reaches the store, or leaves it to be reached; then tells it now and then that this replica lives."""
        with suppress(StoreAway, StoreUnable):
            self.alive = await self.store.beat(self.id, SILENCE_US)
        self._beating = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            self.running.renew()
            with suppress(StoreAway, StoreUnable):
                self.alive = await self.store.beat(self.id, SILENCE_US)

    async def close(self) -> None:
        """Sends what is queued and ends."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        await self.store.close()

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
            usable = [await self.state.pools.sight.usable(name) for name in self.state.config.pools]
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
        }
        if config.redis == "memory":
            body["warning"] = "budgets are in this process's memory only"
        return (False, body | {"reason": reason}) if reason else (True, body)
