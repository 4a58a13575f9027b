"""How much of what a provider is asked may be asked again: a storm of retries keeps down who is down.

What counts are retries after a fault of the provider, at its own door and for the same model. A move to another key
after a 429 is none: the provider refuses it cheaply, each rests a key, and so the keys bound them. Nor is a move to
another provider, or to another model, which may well be served: they overload one at a time.

Each replica counts for itself, and needs no Redis for it: where each keeps to a share of its own traffic, all do.
The two counts forget alike, at the same pace; so over any time retries are at most the share of the requests, and
FLOOR more and FLOOR a minute: at each retry `retries <= FLOOR + share * requests`, and the difference only decays.
(Finagle's RetryBudget, with decay instead of deposits that expire; its floor is 10 a second.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

FLOOR = 10  # retries that traffic may have however slow it is
MEMORY_S = 60.0  # in which a count falls to 1/e


@dataclass(slots=True)
class _Counts:
    requests: float = 0.0
    retries: float = 0.0
    at: float = 0.0  # on the loop's clock

    def age(self, now: float) -> None:
        kept = exp((self.at - now) / MEMORY_S)
        self.requests, self.retries, self.at = self.requests * kept, self.retries * kept, now


class Retries:
    """Of one replica, by door (`Provider.door`)."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def asked(self, door: str, now: float) -> None:
        """A request came to the door, for the first time."""
        counts = self._counts.get(door)
        if counts is None:
            counts = self._counts[door] = _Counts(at=now)
        counts.age(now)
        counts.requests += 1

    def allow(self, door: str, share: float, now: float) -> bool:
        """Whether one that was asked may be asked again; it counts, then. `share` 0: never, inf: always."""
        counts = self._counts[door]
        counts.age(now)
        if not share or counts.retries + 1 > FLOOR + share * counts.requests:
            return False
        counts.retries += 1
        return True
