"""What is counted of a request: each event adds to one row of usage, and nothing is counted twice.

| kind | counts |
| --- | --- |
| `requests` | requests of clients that came as far as asking for a key, in the row of the one that they held last |
| a value of Class, `cancelled` | sends to a provider, by what they came to |
| `unserved/CODE` | of the requests, those that the sidecar answered itself with an error, or whose client was gone |
| `hits`, `misses` | of the requests, those that a cached answer served (they held no key), those that found none |
| `saved_input`, `saved_output` | tokens that a cached answer had cost, for each request that it served |
| `input`, `output` | tokens, as the provider counts them and budgets do: output is all that it wrote, thoughts too |
| `cached`, `reasoning` | of the input, what its cache had; of the output, what it says it thought |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sidecar.model.classes import Class
from sidecar.model.configured import Config
from sidecar.model.events import CANCELLED, Answered, Attempted, Event
from sidecar.model.labels import OTHER, ModelLabels

REQUESTS = "requests"
UNSERVED = "unserved/"
HITS, MISSES = "hits", "misses"
SAVED = ("saved_input", "saved_output")
TOKENS = ("input", "output", "cached", "reasoning")
_CLASSES = frozenset(Class)
_OF = "~"  # between a key's id and its fingerprint; neither can hold one
OUTCOMES = (*Class, CANCELLED)  # of a send


class Row(NamedTuple):
    """Whose usage: each "" where there was none, as of a request that no key was found for."""

    pool: str
    key: str  # ID~FINGERPRINT: an id may be another key's tomorrow, the fingerprint tells whose usage it is
    client: str  # the id
    model: str  # or `other`

    @property
    def spare(self) -> Row:
        """The row that counts for it where there are too many."""
        return self._replace(model=OTHER)

    def key_now(self, ids: Mapping[tuple[str, str], str]) -> str:
        """The id that its key has now, by pool and fingerprint; as it stands here where it has none any more."""
        return ids.get((self.pool, self.key.partition(_OF)[2]), self.key)


Counts = dict[str, int]  # by kind


def ids(config: Config) -> dict[tuple[str, str], str]:
    """That of each key, by pool and fingerprint."""
    return {(pool.name, key.fingerprint): key.id for pool in config.pools.values() for key in pool.keys}


def counted(event: Event, label: ModelLabels) -> tuple[Row, Counts] | None:
    """The row that an event adds to, and what; None for one that is not counted."""
    match event:
        case Attempted():
            counts = {str(event.outcome): 1}
            if event.usage is not None:
                counts |= event.usage.kinds
        case Answered() if event.pool:  # else it asked for no key: a list of models, a bad path, an unknown client
            counts = {REQUESTS: 1}
            if event.status >= 400 and event.outcome not in _CLASSES:
                counts[UNSERVED + event.outcome] = 1
            if event.cache:
                counts |= _cached(event)
        case _:
            return None
    key = f"{event.key}{_OF}{event.fingerprint}" if event.fingerprint else event.key
    return Row(event.pool, key, event.client, label(event.pool, event.model, event.status)), counts


def _cached(event: Answered) -> Counts:
    if event.cache not in {"hit", "waited"}:
        return {MISSES: 1} if event.cache == "miss" else {}
    saved = event.saved.kinds if event.saved is not None else ()
    return {HITS: 1} | {f"saved_{kind}": count for kind, count in saved if f"saved_{kind}" in SAVED}


def add(rows: dict[Row, Counts], row: Row, counts: Counts) -> None:
    """Adds to a row, which is made where there is none."""
    into = rows.setdefault(row, {})
    for kind, count in counts.items():
        into[kind] = into.get(kind, 0) + count
