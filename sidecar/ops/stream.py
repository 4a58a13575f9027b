"""Changes of state as they happen, to whoever listens: server-sent events, which nobody can slow down."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from dataclasses import dataclass, field, fields

import orjson
from aiohttp import web

from sidecar.model.configured import Limit
from sidecar.model.events import Answered, Attempted, Event, LimitsNamed
from sidecar.model.outcomes import NamedLimit
from sidecar.ops.log import OURS, now
from sidecar.ops.redact import Redact
from sidecar.ops.status import of_limit

HEARTBEAT_S = 15.0  # between two comments, so that proxies keep the connection and a lost listener is noticed
MOST_QUEUED = 256  # events that a listener may be behind
SLOWEST_S = 30.0  # that a listener may take to accept what is written
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(slots=True)
class _Listener:
    """Who is behind by more than MOST_QUEUED is told so and dropped: memory must not wait for it."""

    queue: deque[bytes] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    last: bytes | None = None  # what it is told before it is left

    def tell(self, text: bytes) -> None:
        self.queue.append(text)
        if len(self.queue) > MOST_QUEUED:
            self.queue.clear()
            self.leave(_frame("dropped", {"message": "You read too slowly: events were lost. Connect again."}))
        self.news.set()

    def leave(self, last: bytes) -> None:
        self.last = self.last or last
        self.news.set()


class Stream:
    """Tells every listener of each change; requests, attempts and the limits that successes name are none."""

    def __init__(self, redact: Redact) -> None:
        self.redact = redact  # of the config that runs
        self._listeners: list[_Listener] = []
        self._ended = False

    def __call__(self, event: Event) -> None:
        """Listens itself."""
        if not self._listeners or isinstance(event, Answered | Attempted | LimitsNamed):
            return
        text = _frame(_name(event), {one.name: self._told(one.name, getattr(event, one.name)) for one in fields(event)})
        for listener in self._listeners:
            listener.tell(text)

    def _told(self, name: str, value: object) -> object:
        if isinstance(value, Limit | NamedLimit):
            return {name: self._told(name, one) for name, one in of_limit(value).items()}
        if isinstance(value, tuple):
            return [self._told(name, one) for one in value]
        return self.redact(value) if isinstance(value, str) and name not in OURS else value

    def end(self) -> None:
        """All listeners, and those who come later, are told that this replica ends."""
        self._ended = True
        for listener in self._listeners:
            listener.leave(_frame("ended", {"message": "This replica is shutting down."}))

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /admin/v1/events`. It lasts until the listener goes, is too slow, or the replica ends.

        Who goes while nothing happens is noticed by the server, which cancels this.
        """
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        if request.method == "HEAD":
            return response
        listener = _Listener()
        if self._ended:
            listener.leave(_frame("ended", {"message": "This replica is shutting down."}))
        self._listeners.append(listener)
        try:
            await response.prepare(request)
            await response.write(b": sidecar events\n\n")
            while listener.last is None:
                await _write(response, listener)
            async with asyncio.timeout(SLOWEST_S):
                await response.write(b"".join(listener.queue) + listener.last)
                await response.write_eof()
        except ConnectionError:  # it went while something was written
            pass
        except TimeoutError:
            response.force_close()
        finally:
            self._listeners.remove(listener)
        return response


async def _write(response: web.StreamResponse, listener: _Listener) -> None:
    """What is new, or after HEARTBEAT_S without any a comment."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await listener.news.wait()
        told = b""
    except TimeoutError:
        told = b": heartbeat\n\n"
    listener.news.clear()
    told += b"".join(listener.queue)
    listener.queue.clear()
    if told:
        async with asyncio.timeout(SLOWEST_S):
            await response.write(told)


def _name(event: Event) -> str:
    """`key_changed` of KeyChanged."""
    return _WORD.sub("_", type(event).__name__).lower()


def _frame(name: str, fields: dict[str, object]) -> bytes:
    data = orjson.dumps({"event": name, "time": now(), **fields})
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
