"""The requests of this replica that are in flight, where that is counted: their leases are renewed while they run."""

from __future__ import annotations

from sidecar.model.words import Grant
from sidecar.pool.search import Held
from sidecar.store.commands import Store

EVERY_S = 5.0  # a third of a lease, so that two signs of life may be lost
AT_ONCE = 100  # leases a call: each takes Redis some microseconds, in which nobody else is served


class Running:
    """Of all configs: a request keeps that which it began with."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: set[Held] = set()
        store.in_flight = self._batches

    def began(self, held: Held) -> None:
        if held.grant.has_lease:
            self._held.add(held)

    def ended(self, held: Held) -> bool:
        """Whether it was counted."""
        if held not in self._held:
            return False
        self._held.remove(held)
        return True

    def renew(self) -> None:
        """Says of all that they are still in flight; queued."""
        for grants in self._batches():
            self._store.renew(grants)

    def _batches(self) -> list[list[Grant]]:
        grants = [held.grant for held in self._held]
        return [grants[start : start + AT_ONCE] for start in range(0, len(grants), AT_ONCE)]
