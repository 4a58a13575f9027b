"""The body of one answer as it comes: nobody waits for its next bytes longer than its pool allows."""

from __future__ import annotations

import asyncio

import aiohttp

from sidecar.model.outcomes import BROKEN, TIMED_OUT
from sidecar.proxy.origin.patience import over_at


class Lost(Exception):
    """The connection broke after the request was sent, before its answer was whole."""

    outcome = BROKEN


class Stalled(Lost):
    """Nothing came for too long."""

    outcome = TIMED_OUT


class Incoming:
    """One body. Its timer is not moved with each wait: it looks, when it fires, how long the one of then has lasted."""

    def __init__(self, response: aiohttp.ClientResponse, idle_s: float) -> None:
        self._response, self._idle_s = response, idle_s
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None  # on the loop's clock; None: nobody waits
        self._timer: asyncio.TimerHandle | None = None

    @property
    def at_end(self) -> bool:
        """Whether all of it has come and was taken."""
        return self._response.content.at_eof()

    async def chunk(self) -> bytes:
        """What has come, b"" at the end. Raises Lost."""
        content = self._response.content
        try:
            data = content.read_nowait()  # mostly the beginning has come with the head, and needs no timer
            if not data and not content.at_eof():
                data = await self._next(content)
        except (aiohttp.ClientError, OSError) as error:
            error.__traceback__ = None  # it holds the reader, which holds it: both would wait for the collector
            raise Lost(type(error).__name__) from None
        if self.at_end:
            self._forget()
        return data

    async def _next(self, content: aiohttp.StreamReader) -> bytes:
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + self._idle_s, self._look)
        try:
            return await content.readany()
        finally:
            self._since = None

    def _forget(self) -> None:
        """A timer holds all that it may speak of, for as long as it was set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._timer is not None
        set_for, self._timer = self._timer.when(), None
        if self._since is None:
            return
        now = self._loop.time()
        until = over_at(self._since + self._idle_s, set_for, now)
        if now < until:
            self._timer = self._loop.call_at(until, self._look)
        else:
            self._response.content.set_exception(Stalled(f"nothing came for {self._idle_s:g} s"))

    def close(self) -> None:
        """Nobody wants the rest."""
        self._forget()
        self._response.close()
