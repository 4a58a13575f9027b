"""The requests of this replica that are in flight, where that is counted: their leases are renewed while they run."""

from __future__ import annotations

from sidecar.model.words import Grant
from sidecar.store.commands import Store

EVERY_S = 5.0  # a third of a lease, so that two signs of life may be lost
AT_ONCE = 100  # leases a call: each takes Redis some microseconds, in which nobody else is served


class Running:
    """Of all configs: a request keeps that which it began with."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._grants: dict[int, Grant] = {}  # by identity, for who holds one may trade it
        store.in_flight = self._batches

    def began(self, grant: Grant) -> None:
        if grant.has_lease:
            self._grants[id(grant)] = grant

    def ended(self, grant: Grant) -> bool:
        """Whether it was counted."""
        return self._grants.pop(id(grant), None) is not None

    def renew(self) -> None:
        """Says of all that they are still in flight; queued."""
        for grants in self._batches():
            self._store.renew(grants)

    def _batches(self) -> list[list[Grant]]:
        grants = list(self._grants.values())
        return [grants[start : start + AT_ONCE] for start in range(0, len(grants), AT_ONCE)]
