"""Where a store's data lies, in words for people, and what its user does when it goes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


async def _stay() -> None:
    """Nothing is to be left: the server is somebody else's."""


@dataclass(frozen=True, slots=True)
class Home:
    """A store's place. Of a server named by a URL nothing is said: its URL may hold a password."""

    told: str = ""  # such as `redis-server 7.0.15 in /home/ada/.local/state/sidecar/redis`
    warning: str = ""  # who does not share the budgets, or what forgets them, and what to do
    private: bool = False  # in this process's memory, where no other can read it
    leave: Callable[[], Awaitable[None]] = _stay  # awaited once, after the last call
