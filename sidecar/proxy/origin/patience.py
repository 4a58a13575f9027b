"""How long is waited for an answer that was asked for: never ended by a silence of this process itself."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

STOPPED_S = 0.2  # by which a timer is late where the process was stopped, or its machine slept


def over_at(until: float, set_for: float, now: float) -> float:
    """Until when is waited, by a timer that was set for `set_for` and is looked at `now`; all on the loop's clock.

    Timers come before sockets: where it is late, what came meanwhile is still to be read.
    """
    return now + STOPPED_S if now - set_for > STOPPED_S else until


class Timer:
    """Tells when a time is over. The time may be put off without setting the timer anew: it looks, when it fires."""

    def __init__(self) -> None:
        self._until = math.inf  # on the loop's clock; inf: nothing is waited for
        self._timer: asyncio.TimerHandle | None = None

    def _over(self, now: float) -> None:
        raise NotImplementedError

    @property
    def _is_set(self) -> bool:
        return self._timer is not None

    def _set(self, at: float) -> None:
        self._forget()
        self._timer = asyncio.get_running_loop().call_at(at, self._look)

    def _forget(self) -> None:
        """A timer holds all that it may speak of, for as long as it was set."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        assert self._timer is not None
        set_for, self._timer = self._timer.when(), None
        if self._until == math.inf:
            return
        now = asyncio.get_running_loop().time()
        until = over_at(self._until, set_for, now)
        if now < until:
            self._set(until)
        else:
            self._over(now)


class Patience(Timer):
    """Ends what is done within it by a TimeoutError, once it was bounded; the earliest bound holds."""

    def __init__(self) -> None:
        super().__init__()
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def expired(self) -> bool:
        """Whether it ended what was done."""
        return self._timeout.expired()

    def at_most(self, seconds: float) -> None:
        """From now on it lasts no longer than this."""
        until = asyncio.get_running_loop().time() + seconds
        if until < self._until:
            self._until = until
            self._set(until)

    def _over(self, now: float) -> None:
        self._timeout.reschedule(now)
