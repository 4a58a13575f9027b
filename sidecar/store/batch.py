"""Concurrent calls share round trips: while a pipeline is in flight the next one gathers. No timer, no pool.

One connection each, in the order of the calls. A call costs a replica some 100 us of CPU alone and 30 in a
full pipeline. What was sent and not answered is never sent again: its effect is unknown, and a grant
entered twice would be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.asyncio.connection import Connection

from sidecar.store import scripts
from sidecar.store.calls import Call
from sidecar.store.connect import CALL_S, Opener, StoreAway, StoreUnable, connect, deadline_errors

MOST = 256  # calls in one pipeline: more would only make the first of them wait for the last


class Lane:
    """One connection and the calls that wait for it."""

    def __init__(self, open_connection: Opener, away: Callable[[StoreAway], None]) -> None:
        self._open = open_connection
        self._away = away  # told of every failure of the connection
        self._connection: Connection | None = None
        self._waiting: list[tuple[Call, asyncio.Future[Any]]] = []
        self._gathered = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    async def call(self, call: Call, orphaned: Callable[[Any], None] | None = None) -> Any:
        """The script's reply. Raises StoreAway, or StoreUnable where Redis answered with an error.

        A caller that is cancelled meanwhile does not stop the call; its reply goes to `orphaned`.
        """
        future = self.submit(call)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if orphaned is not None:
                future.add_done_callback(lambda done: done.cancelled() or done.exception() or orphaned(done.result()))
            raise

    def submit(self, call: Call) -> asyncio.Future[Any]:
        """Queues the call behind those before it; the future has its reply or its error."""
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        self._gathered.set()
        return future

    async def _run(self) -> None:
        while True:
            await self._gathered.wait()
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if not self._waiting:
                self._gathered.clear()
            await self._serve(batch)

    async def _serve(self, batch: Sequence[tuple[Call, asyncio.Future[Any]]]) -> None:
        try:
            replies = await self._round_trip([call for call, _ in batch])
        except StoreAway as away:
            await self._drop()
            self._away(away)
            replies = [away] * len(batch)
        except BaseException:
            for _, future in batch:
                future.cancel()
            await self._drop()
            raise
        for (_, future), reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                future.set_exception(reply)
            else:
                future.set_result(reply)

    async def _round_trip(self, calls: Sequence[Call]) -> list[Any]:
        with deadline_errors():
            async with asyncio.timeout(CALL_S):
                if self._connection is None:
                    self._connection = await connect(self._open)
                replies = await self._exchange([(b"EVALSHA", scripts.load(call.script).sha, call) for call in calls])
                unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
                if unknown:
                    texts = [(b"EVAL", scripts.load(calls[i].script).text, calls[i]) for i in unknown]
                    for i, reply in zip(unknown, await self._exchange(texts), strict=True):
                        replies[i] = reply
        return [_told(call, reply) for call, reply in zip(calls, replies, strict=True)]

    async def _exchange(self, commands: Sequence[tuple[bytes, str, Call]]) -> list[Any]:
        connection = self._connection
        assert connection is not None
        packed = connection.pack_commands(
            [(verb, script, len(call.keys), *call.keys, *call.args) for verb, script, call in commands]
        )
        await connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        for _ in commands:
            try:
                replies.append(await connection.read_response())
            except redis.ResponseError as error:
                replies.append(error)
        return replies

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Ends the connection; calls that still wait are cancelled."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None
        for _, future in self._waiting:
            future.cancel()
        self._waiting = []
        await self._drop()


def _told(call: Call, reply: Any) -> Any:
    """A script's error with the Lua file and line that it came from."""
    if not isinstance(reply, redis.ResponseError):
        return reply
    script = scripts.load(call.script)
    return StoreUnable(f"{call.script}: {script.locate(str(reply))}")
