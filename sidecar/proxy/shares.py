"""In which order a request tries the targets of its route: those of a group take turns, by their weights."""

from __future__ import annotations

from itertools import groupby
from random import Random

from sidecar.model import shares
from sidecar.model.configured import Route, Target

MOST_WALKS = 4096  # groups whose turns are known; with reloads there may be any number
MOST_BEGUN = 1000  # turns that are taken before the first, which a request waits for: some milliseconds

_Group = tuple[str, int, tuple[tuple[str, int], ...]]  # its route, its number there, and each pool with its weight


class Shares:
    """Of one replica, which asks nobody: each group of each route has turns of its own, and begins anywhere in them.

    So each replica alone keeps the shares, and those that were started together do not all begin with the same target.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._walks: dict[_Group, shares.Behind] = {}

    def order(self, route: Route, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """These of the route's targets as they are to be tried; it takes the turn of each group among them."""
        if not any(target.group for target in targets):
            return targets
        ordered: list[Target] = []
        for group, found in groupby(targets, key=lambda target: target.group):
            members = list(found)
            ordered += self._turn(route.name, members) if group else members
        return tuple(ordered)

    def _turn(self, route: str, members: list[Target]) -> list[Target]:
        if len(members) == 1:
            return members
        weights = [target.weight for target in members]
        name = route, members[0].group, tuple((target.pool, target.weight) for target in members)
        walk = self._walks.get(name)
        places, after = shares.turn(weights, self._begun(weights) if walk is None else walk)
        if walk is None and len(self._walks) >= MOST_WALKS:
            self._walks.clear()
        self._walks[name] = after
        return [members[at] for at in places]

    def _begun(self, weights: list[int]) -> shares.Behind:
        behind = shares.start(weights)
        for _ in range(self._random.randrange(min(MOST_BEGUN, shares.period(weights)))):
            _, behind = shares.turn(weights, behind)
        return behind
