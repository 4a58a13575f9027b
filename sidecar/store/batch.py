"""Concurrent calls share round trips: while a pipeline is in flight the next one gathers. No timer, no pool.

One connection each, in the order of the calls. A call costs a replica some 100 us of CPU alone and 30 in a
full pipeline. What was sent and not answered is never sent again: its effect is unknown, and a grant
entered twice would be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import hiredis
import redis
from redis.asyncio.connection import AbstractConnection

from sidecar.store import connect, scripts
from sidecar.store.calls import Call
from sidecar.store.connect import Opener, StoreAway

MOST = 256  # calls in one pipeline: more would only make the first of them wait for the last

Command = tuple[str | bytes | int, ...]


class _Waiting(NamedTuple):
    """A call until it is answered. Where who waited for its future is gone, the reply goes to `orphaned`."""

    call: Call
    future: asyncio.Future[Any]
    orphaned: Callable[[Any], None] | None


class Lane:
    """One connection and the calls that wait for it."""

    def __init__(self, open_connection: Opener, away: Callable[[StoreAway], None]) -> None:
        self._open = open_connection
        self._away = away  # told of every failure of the connection
        self._connection: AbstractConnection | None = None
        self._waiting: list[_Waiting] = []
        self._gathered = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, call: Call, orphaned: Callable[[Any], None] | None = None) -> Any:
        """The script's reply. Raises StoreAway, or StoreUnable where Redis answered with an error.

        A caller that is cancelled meanwhile does not stop the call; its reply, or error, goes to `orphaned`.
        """
        future = self.submit(call, orphaned)
        try:
            return await future
        except asyncio.CancelledError:
            if orphaned is not None and not future.cancelled():  # the cancel came behind the reply
                orphaned(future.exception() or future.result())
            raise
        finally:
            del future  # its error's traceback holds this frame: together they would wait for the collector

    def submit(self, call: Call, orphaned: Callable[[Any], None] | None = None) -> asyncio.Future[Any]:
        """Queues the call behind those before it; the future has its reply or its error."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(_closed())
            return future
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())
        self._waiting.append(_Waiting(call, future, orphaned))
        self._gathered.set()
        return future

    async def _run(self) -> None:
        while not self._closed:  # a cancel can be lost: asyncio's wait_for drops one that comes as it ends
            await self._gathered.wait()
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if not self._waiting:
                self._gathered.clear()
            await self._serve(batch)
            del batch  # until the next comes: who waited for it may have ended

    async def _serve(self, batch: Sequence[_Waiting]) -> None:
        """Answers every call of the batch, whatever happens: nobody may wait for ever."""
        try:
            replies = await self._round_trip([waiting.call for waiting in batch])
        except asyncio.CancelledError:
            _answer(batch, [StoreAway("the store is closed")] * len(batch))
            raise
        except Exception as error:  # a mistake of ours goes to those who called, and the lane lives on
            await self._drop()
            replies = [error] * len(batch)
        away = next((reply for reply in replies if isinstance(reply, StoreAway)), None)
        if away is not None:
            away = away.with_traceback(None)  # which holds this frame, and so all that wait
            await self._drop()  # the next connection may reach a server that can serve
            self._away(away)
            # Those that gathered meanwhile fail with it: one deadline after the other, the last would wait for minutes.
            gathered, self._waiting = self._waiting, []
            self._gathered.clear()
            _answer(gathered, [StoreAway(str(away), sent=False)] * len(gathered))
        _answer(batch, replies)

    async def _round_trip(self, calls: Sequence[Call]) -> list[Any]:
        commands: list[Command] = [
            ("EVALSHA", scripts.load(call.script).sha, len(call.keys), *call.keys, *call.args) for call in calls
        ]
        sent = False
        try:
            with connect.deadline_errors():
                async with asyncio.timeout(connect.CALL_S):
                    connection = await self._connected()
                    sent = True
                    replies = await _run_all(connection, commands)
        except StoreAway as away:
            away.sent = sent
            raise
        return [_told(call, reply) for call, reply in zip(calls, replies, strict=True)]

    async def _connected(self) -> AbstractConnection:
        """The connection, with all scripts loaded.

        Were each loaded when it is first missed, a report could be missed where the acquire behind it is known,
        and run after it.
        """
        if self._connection is not None and connect.is_over(self._connection):
            await self._drop()
        if self._connection is None:
            self._connection = await connect.connect(self._open)
            await _exchange(self._connection, _loads())
        return self._connection

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def close(self) -> None:
        """Ends the connection; calls that still wait, or come later, are StoreAway."""
        self._closed = True
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        _answer(self._waiting, [_closed()] * len(self._waiting))
        self._waiting = []
        if self._connection is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(connect.CALL_S):
                    await self._connection.disconnect()
        self._connection = None


async def _run_all(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """The reply to each script; those that Redis has forgotten meanwhile are loaded and run in their order."""
    replies = await _exchange(connection, commands)
    unknown = [i for i, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
    if unknown:
        again = await _exchange(connection, [*_loads(), *(commands[i] for i in unknown)])
        for i, reply in zip(unknown, again[len(_loads()) :], strict=True):
            replies[i] = reply
    return replies


async def _exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """The reply to each command; one that is an error is that error."""
    # hiredis itself: the library's own way to it takes 10 us an acquire, this 2.
    packed = b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]
    await connection.send_packed_command(packed, check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except redis.ResponseError as error:
            replies.append(error)
    return replies


@cache
def _loads() -> tuple[Command, ...]:
    return tuple(("SCRIPT", "LOAD", scripts.load(name).text) for name in scripts.NAMES)


def _answer(batch: Sequence[_Waiting], replies: Sequence[Any]) -> None:
    for (_, future, orphaned), reply in zip(batch, replies, strict=True):
        if future.cancelled():
            if orphaned is not None:
                asyncio.get_running_loop().call_soon(orphaned, reply)  # so that a mistake in it costs nobody an answer
        elif isinstance(reply, Exception):
            future.set_exception(reply)
        else:
            future.set_result(reply)


def _closed() -> StoreAway:
    return StoreAway("the store is closed", sent=False)


def _told(call: Call, reply: Any) -> Any:
    """A script's error with the Lua file and line that it came from."""
    if not isinstance(reply, redis.ResponseError):
        return reply
    return connect.told(reply, f"{call.script}: {scripts.load(call.script).locate(str(reply))}")
