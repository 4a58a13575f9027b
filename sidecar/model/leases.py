"""Requests in flight as ascending pairs (end of lease, moment of grant): the twin of `lua/parts/window_leases.lua`."""

from __future__ import annotations

from sidecar.model.configured import Limit

Leases = tuple[tuple[int, int], ...]


def free_at(limit: Limit, leases: Leases, t: int) -> int:
    """When so many leases will have ended, unless they are renewed, that one more has a place."""
    live = [ends for ends, _ in leases if ends > t]
    return t if len(live) < limit.max else live[len(live) - limit.max]


def enter(limit: Limit, leases: Leases, moment: int, now: int) -> Leases:
    """With the lease of a grant that runs from now on; a reservation has none before its moment."""
    if moment > now:
        return leases
    return (*(lease for lease in leases if lease[0] > now), (now + limit.window_us, moment))


def leave(leases: Leases, moment: int) -> tuple[Leases, bool]:
    """Without a lease of this moment, and whether there was one."""
    for at, (_, granted) in enumerate(leases):
        if granted == moment:
            return leases[:at] + leases[at + 1 :], True
    return leases, False


def renew(limit: Limit, leases: Leases, moment: int, now: int) -> Leases:
    """With every lease of this moment renewed; one that had ended runs again."""
    live = [lease for lease in leases if lease[0] > now]
    others = [lease for lease in live if lease[1] != moment]
    return (*others, *[(now + limit.window_us, moment)] * max(1, len(live) - len(others)))


def read(text: str) -> Leases:
    """The pairs of the text as Redis holds it."""
    return tuple((int(text[i : i + 16]), int(text[i + 16 : i + 32])) for i in range(0, len(text), 32))


def used(leases: Leases, now: int) -> int:
    """How many requests are in flight."""
    return sum(ends > now for ends, _ in leases)
