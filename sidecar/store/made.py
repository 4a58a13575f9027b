"""Which account made what, over all replicas: what is named in one call was often made by another.

Answers that show new ids add to Redis for as long as their providers keep what they name, so the last quarter of it is
left to the budgets. The cache leaves half: else what may be asked for again would keep out what cannot be found again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.model.events import Emit, KeptChanged
from sidecar.store.calls import Call
from sidecar.store.evicting import Memory
from sidecar.store.names import Names

FULL, ROOM = 3 / 4, 2 / 3  # of Redis's maxmemory: above the one nothing more is remembered, until it is below the other


class Maker(NamedTuple):
    """Who made a thing: a key by its fingerprint, and its account, either of which a later config may still know."""

    key: str
    account: str
    client: str = ""  # the id of the client for whom it was made, where that matters
    model: str = ""  # upstream's, which alone can use it; "": any


class Made:
    """The things of a namespace. Its methods raise what `call` raises: StoreAway or StoreUnable."""

    def __init__(self, names: Names, call: Callable[[Call], Awaitable[Any]], emit: Emit) -> None:
        self._names, self._call, self._emit = names, call, emit
        self._is_full = False

    def heed(self, memory: Memory) -> None:
        """Told now and then how full Redis is, it remembers nothing more, or again."""
        was, self._is_full = self._is_full, memory.above(ROOM if self._is_full else FULL)
        if was != self._is_full:
            why_not = f"{memory.told}, of which they leave a quarter" if self._is_full else ""
            self._emit(KeptChanged("ids", not self._is_full, why_not))

    async def add(self, maker: Maker, things: Mapping[str, int], takes: bool = False) -> dict[str, Maker]:
        """Remembers that these are the maker's: each thing's id, and for how many seconds; 0: it is no more.

        What is known to be another's, by key and by account, stays so unless the maker `takes` it; it is returned. A
        client and a model that were known stay where the maker says neither.
        While Redis is too full they are forgotten only.
        """
        if self._is_full:
            things = {thing: seconds for thing, seconds in things.items() if not seconds}
        if not things:
            return {}
        seconds = map(str, things.values())
        args = ("|".join(maker).rstrip("|"), "1" if takes else "0", *seconds)
        return _told(things, await self._call(Call("made", self._keys(things), args)))

    async def makers(self, things: Mapping[str, int]) -> dict[str, Maker]:
        """Who made each of these, as far as it is known.

        What is found is kept for so many seconds from now on; 0: as long as it was to be.
        """
        return _told(things, await self._call(Call("makers", self._keys(things), tuple(map(str, things.values())))))

    def _keys(self, things: Mapping[str, int]) -> tuple[str, ...]:
        return tuple(map(self._names.made, things))


def _told(things: Iterable[str], found: Sequence[bytes | None]) -> dict[str, Maker]:
    return {thing: Maker(*text.decode().split("|", 3)) for thing, text in zip(things, found, strict=True) if text}
