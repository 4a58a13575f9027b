"""The body of one answer as it comes: nobody waits for its next bytes longer than its pool allows."""

from __future__ import annotations

import asyncio
import math

import aiohttp

from sidecar.model.outcomes import BROKEN, TIMED_OUT
from sidecar.proxy.origin.patience import Timer


class Lost(Exception):
    """The connection broke after the request was sent, before its answer was whole."""

    outcome = BROKEN


class Stalled(Lost):
    """Nothing came for too long."""

    outcome = TIMED_OUT


class Incoming(Timer):
    """One body. Its timer is not moved with each wait. A wait that is given up and begun anew is the same silence."""

    def __init__(self, response: aiohttp.ClientResponse, idle_s: float) -> None:
        super().__init__()
        self._response, self._idle_s = response, idle_s
        self._loop = asyncio.get_running_loop()
        self._stalls_at = math.inf  # as long as nothing comes, whether it is waited for or not

    @property
    def has_begun(self) -> bool:
        """Whether its first `chunk` is there: mostly it has come with the head."""
        content = self._response.content
        return content.total_bytes > 0 or content.is_eof()

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
        self._stalls_at = math.inf
        if self.at_end:
            self._forget()
        return data

    async def _next(self, content: aiohttp.StreamReader) -> bytes:
        self._until = self._stalls_at = min(self._stalls_at, self._loop.time() + self._idle_s)
        if not self._is_set:
            self._set(self._until)
        try:
            return await content.readany()
        finally:
            self._until = math.inf

    def _over(self, now: float) -> None:
        self._response.content.set_exception(Stalled(f"nothing came for {self._idle_s:g} s"))

    def close(self) -> None:
        """Nobody wants the rest."""
        self._forget()
        self._response.close()
