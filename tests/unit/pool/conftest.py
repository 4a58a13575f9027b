"""Pools over the memory store and over a real Redis, with what they emitted, and a Store whose steps can be watched."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

import pytest

from sidecar.model.configured import SECOND_US, Config
from sidecar.model.events import Event, StoreChanged
from sidecar.model.words import Ask, Confirmed, Exhausted, Grant, NotYet, Refusal, Report, Rotation, Withdrawn
from sidecar.pool.pool import Pools
from sidecar.store import calls, connect, memory
from sidecar.store.commands import Store
from sidecar.store.connect import Opener

Answer = Grant | Refusal | Exhausted
Renewal = Confirmed | NotYet | Withdrawn


class WatchedStore(Store):
    """Says when a request has its grant, asks for a confirm, or finds Redis gone; may answer a confirm itself."""

    def __init__(self, opener: Opener, namespace: str, emit: Callable[[Event], None]) -> None:
        def told(event: Event) -> None:
            if isinstance(event, StoreChanged) and not event.up:
                self.gone.set()
            emit(event)

        super().__init__(opener, namespace, told)
        self.answered, self.confirming, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.answers: list[Answer] = []
        self.renewals: list[Renewal] = []  # what confirm says instead of asking
        self.asked: list[Ask] = []

    async def acquire(self, ask: Ask, orphaned: Callable[[Grant], None]) -> Answer:
        self.asked.append(ask)
        answer = await super().acquire(ask, orphaned)
        self.answers.append(answer)
        self.answered.set()
        return answer

    async def confirm(self, grant: Grant, pools: Iterable[str], orphaned: Callable[[Grant], None]) -> Renewal:
        self.confirming.set()
        if self.renewals:
            answer = self.renewals.pop(0)
            return replace(answer, moment_us=grant.moment_us) if isinstance(answer, NotYet) else answer
        return await super().confirm(grant, pools, orphaned)

    async def settled(self) -> None:
        """Returns when all that was queued before has been done, on both connections."""
        front: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.report(Report(""), (), front.set_result)
        await front
        await self.inspect(())

    async def skip(self, seconds: float) -> None:
        """From now on Redis's clock is so much later, for all replicas."""
        later_us = (await self.inspect(())).now_us + round(seconds * SECOND_US)
        await self._lanes.back.call(calls.report(self.names, Report(""), (), now=str(later_us)))

    async def number(self, rotation: Rotation) -> int | None:
        """The number of the rotation's next grant."""
        return (await self.inspect((), [rotation])).numbers[0]


async def standing(pools: Pools, count: int) -> None:
    """So many wait."""
    async with asyncio.timeout(60):
        while pools.waiting.count < count:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


class World:
    """Replicas of a config on one store, and the events of them all."""

    def __init__(self, opener: Opener) -> None:
        self.opener, self.namespace = opener, secrets.token_hex(6)
        self.events: list[Event] = []
        self.stores: list[WatchedStore] = []

    def pools(self, config: Config) -> tuple[Pools, WatchedStore]:
        """A new replica's pools, and its store."""
        store = WatchedStore(self.opener, self.namespace, self.events.append)
        self.stores.append(store)
        return Pools(config, store, self.events.append), store

    async def close(self) -> None:
        for store in self.stores:
            await store.close()


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """On each kind of store; afterwards no task of theirs is left."""
    url = None if request.param == "memory" else request.getfixturevalue("redis_url")
    before = asyncio.all_tasks()
    made = World(memory.opener() if url is None else connect.opener(url))
    yield made
    await made.close()
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}
