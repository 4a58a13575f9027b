"""The rotations of one config, each made when its model is first asked for. Apart from Pools, whose parts share it:
were it a method of theirs, they would be held in a circle, and an old config in memory after a reload.
"""

from __future__ import annotations

from collections import OrderedDict

from sidecar.model import lines
from sidecar.model.configured import Config, Target
from sidecar.model.rotations import rotation
from sidecar.model.words import Rotation

KEPT = 4096  # by pool and model: the names come from clients


class Rotations:
    """Called with a target, it is its rotation."""

    def __init__(self, config: Config) -> None:
        self._config, self._lines = config, lines.names(config.pools)
        self._known: OrderedDict[tuple[str, str], Rotation] = OrderedDict()

    def __call__(self, target: Target) -> Rotation:
        name = target.pool, target.model or ""
        found = self._known.get(name)
        if found is None:
            pool, line = self._config.pools[target.pool], self._lines[target.pool]
            found = rotation(pool, self._config.budgets, name[1], line)
            self._known[name] = found
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(name)
        return found
