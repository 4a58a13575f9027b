"""The rotations of one config, each made when its model, or a client for it, is first asked for.

Apart from Pools, whose parts share it: were it a method of theirs, they would be held in a circle, and an old config in
memory after a reload.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from weakref import WeakValueDictionary

from sidecar.model import lines
from sidecar.model.configured import Config, Target
from sidecar.model.rotations import rotation
from sidecar.model.words import NOBODY, Rotation, Total

KEPT = 4096  # by pool, model, account and client: the names come from clients


class Rotations:
    """Called with a target, it is its rotation; with a client, the same, that says what they may spend too."""

    def __init__(self, config: Config) -> None:
        self._config, self._lines = config, lines.names(config.pools)
        self._known: OrderedDict[tuple[str, str, str, Total], Rotation] = OrderedDict()
        # By pool and digest, the latest: a pool may have a thousand keys, and clients name any number of models.
        self._alike: WeakValueDictionary[tuple[str, str], Rotation] = WeakValueDictionary()

    def __call__(self, target: Target, client: Total = NOBODY) -> Rotation:
        name = target.pool, target.model or "", target.account, client
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = self._made(target, client)
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return found

    def _made(self, target: Target, client: Total) -> Rotation:
        """One account's keys turn in a rotation of their own, over the same budgets and rests."""
        if client.limits:
            return replace(self(target), client=client)
        pool = self._config.pools[target.pool]
        if target.account:
            pool = replace(pool, keys=tuple(key for key in pool.keys if key.account == target.account))
        made = rotation(pool, self._config.budgets, target.model or "", self._lines[target.pool])
        alike = self._alike.get((made.pool, made.digest), made)
        made = replace(made, members=alike.members, limits=alike.limits, total=alike.total)
        self._alike[made.pool, made.digest] = made
        return made
