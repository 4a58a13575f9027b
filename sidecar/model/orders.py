"""A key's place in the turn order: the twin of `lua/parts/order_*.lua`.

Round robin gives a key the places n + 1/2 for n = 0, 1, ...; ties go by the order of the config.
"""

from __future__ import annotations

import math


def round_robin(place: float) -> float:
    """A key's first place above `place`."""
    return math.floor(place + 0.5) + 0.5
