"""Requests in flight as ascending pairs (end of lease, moment of grant): the twin of `lua/parts/window_leases.lua`.

Of those that have ended the last is kept: it tells when a place was last given back.
"""

from __future__ import annotations

from sidecar.model.configured import Limit

Leases = tuple[tuple[int, int], ...]


def _live(leases: Leases, now: int) -> Leases:
    return tuple(lease for lease in leases if lease[0] > now)


def _last_ended(leases: Leases, now: int) -> Leases:
    return tuple(lease for lease in leases if lease[0] <= now)[-1:]


def free_at(limit: Limit, leases: Leases, t: int, need: int) -> int:
    """When so many leases will have ended, unless they are renewed, that `need` more have a place."""
    live = _live(leases, t)
    over = len(live) + need - limit.max
    return t if over <= 0 else live[over - 1][0]


def freed_at(leases: Leases, now: int) -> int:
    """When a place was last given back; 0: nobody knows."""
    return max((ends for ends, _ in _last_ended(leases, now)), default=0)


def enter(limit: Limit, leases: Leases, moment: int, now: int) -> Leases:
    """With the lease of a grant that runs from now on; a reservation has none before its moment."""
    if moment > now:
        return leases
    return (*_last_ended(leases, now), *_live(leases, now), (now + limit.window_us, moment))


def leave(leases: Leases, moment: int, now: int) -> tuple[Leases, bool]:
    """With a lease of this moment ended, and whether one ran."""
    live = _live(leases, now)
    for at, (_, granted) in enumerate(live):
        if granted == moment:
            return ((now, moment), *live[:at], *live[at + 1 :]), True
    return leases, False


def renew(limit: Limit, leases: Leases, moment: int, now: int) -> Leases:
    """With every lease of this moment renewed; one that had ended runs again."""
    live = _live(leases, now)
    others = [lease for lease in live if lease[1] != moment]
    renewed = [(now + limit.window_us, moment)] * max(1, len(live) - len(others))
    return (*_last_ended(leases, now), *others, *renewed)


def read(text: str) -> Leases:
    """The pairs of the text as Redis holds it."""
    return tuple((int(text[i : i + 16]), int(text[i + 16 : i + 32])) for i in range(0, len(text), 32))


def used(leases: Leases, now: int) -> int:
    """How many requests are in flight."""
    return len(_live(leases, now))
